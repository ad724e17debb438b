from __future__ import annotations

import pytest

from tests.docs.blocks import Block, blocks_of, commands_of, shows


def test_blocks_come_in_order_with_their_marks_and_lines() -> None:
    page = (
        "# A page\n\n<!-- test: file a.toml -->\n```toml\nx = 1\n```\n\ntext\n"
        "1. item\n\n   <!-- test: exit 2 -->\n   ```console\n   $ false\n   ```\n"
    )
    assert list(blocks_of(page)) == [
        Block("toml", "x = 1\n", 5, {"file": "a.toml"}),
        Block("console", "$ false\n", 13, {"exit": "2"}),
    ]


def test_longer_fence_holds_a_shorter_one() -> None:
    (block,) = blocks_of("````text\n```python\n```\n````\n")
    assert block.text == "```python\n```\n"


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```\nx\n```\n", "needs a language"),
        ("```pyhton\nx\n```\n", "needs a language"),
        ("```python\nx\n", "not closed"),
        ("<!-- test: skp it -->\n```python\n```\n", "no such mark"),
        ("<!-- test: skip it -->\ntext\n", "right before its block"),
    ],
)
def test_mistakes_are_named(page: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        list(blocks_of(page))


def test_commands_have_the_output_below_them() -> None:
    block = Block("console", "$ one \\\n> --more\nout\n\n$ two\n", 1, {})
    assert commands_of(block) == [("one \\\n--more", "out"), ("two", "")]


@pytest.mark.parametrize("text", ["out\n$ one\n", "\n"])
def test_console_block_without_a_command_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="console block"):
        commands_of(Block("console", text, 1, {}))


@pytest.mark.parametrize(
    ("page", "said", "same"),
    [
        ("a b", "a  b\n", True),
        ("a", "b", False),
        ("a", "a b", False),
        ("a ... z", "a\nb c\nz", True),
        ("a ... z", "a z", True),
        ("a ...", "a", True),
        ("...", "", True),
        ("a.b", "axb", False),
        ("... b", "a c", False),
    ],
)
def test_a_page_shows_what_was_said(page: str, said: str, same: bool) -> None:
    assert shows(page, said) is same
