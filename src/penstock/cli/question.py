"""What is asked: the words of the command line, standard input, files and parameters."""

from __future__ import annotations

import mimetypes
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock.errors import BadRequestError
from penstock.types import Value


class Question(Value, frozen=True):
    """One question.

    Attributes:
        text: all that is text, files first.
        media: the images, as (bytes, file name).
    """

    text: str
    media: tuple[tuple[bytes, str], ...] = ()


def read_question(words: str, files: Sequence[Path]) -> Question | None:
    """The question; None where nothing was given and a terminal is there to talk.

    ``-`` for the words means standard input, which is read, too, where words or nothing are given
    and a pipe or a file stands there.

    Raises:
        BadRequestError: there is nothing to ask, or a text is not UTF-8.
    """
    texts, media = _read(files)
    terminal = sys.stdin.isatty()
    if words == "-" or (not words and not texts and not media and not terminal):
        words = _text(sys.stdin.buffer.read(), "standard input")
    elif _is_piped():
        texts.append(_text(sys.stdin.buffer.read(), "standard input"))
    if not words and not texts and not media and terminal:
        return None
    text = "\n\n".join(part for part in (*texts, words) if part).strip("\n")
    if not text.strip() and not media:
        raise BadRequestError("the question is empty", param="question")
    return Question(text, tuple(media))


def read_parameters(params: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` each, the value JSON or else text.

    Raises:
        click.UsageError: one of them is not so written.
    """
    import msgspec

    extra: dict[str, Any] = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p wants NAME=VALUE, not {param!r}")
        try:
            extra[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            extra[name] = value
    return extra


def _is_piped() -> bool:
    """Whether a pipe or a file stands at standard input, and not a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read(files: Sequence[Path]) -> tuple[list[str], list[tuple[bytes, str]]]:
    texts: list[str] = []
    media: list[tuple[bytes, str]] = []
    for file in files:
        data = file.read_bytes()
        if (mimetypes.guess_type(file.name)[0] or "").startswith("image/"):
            media.append((data, file.name))
        else:
            texts.append(_text(data, str(file)))
    return texts, media


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequestError(f"{name} is not UTF-8 text", param="question") from None
