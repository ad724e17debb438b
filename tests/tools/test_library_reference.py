"""The page of the library names what is public, in the words of the code."""

from __future__ import annotations

import inspect
from pathlib import Path

import penstock
from tools.library_reference import library

PAGE = library("", Path("docs/reference/library.md"))


def test_every_public_class_has_its_part() -> None:
    for name in penstock.__all__:
        if inspect.isclass(getattr(penstock, name)):
            assert f"## `{name}`\n" in PAGE


def test_a_method_is_shown_as_it_is_called() -> None:
    assert "### `Client.complete`\n\n```text\nawait complete(" in PAGE
    assert "    *,\n    system: str | None = None,\n" in PAGE
    assert "self" not in PAGE.split("### `Client.stream`")[1].split("```")[1]


def test_a_property_is_no_call() -> None:
    assert "partial()" not in PAGE


def test_what_is_raised_is_listed() -> None:
    part = PAGE.split("### `AnswerStream.reply`")[1].split("###")[0]
    assert "Raises:\n\n- PenstockError: " in part
