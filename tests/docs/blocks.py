"""The code blocks of a Markdown page, and what each of them needs.

The words of the comments before a fence are explained in CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\S*)[^`]*$")
MARK = re.compile(r"^ *<!-- test: (?P<word>\w+) ?(?P<rest>.*?) -->$")
WORDS = frozenset({"sandbox", "file", "exit", "skip", "client"})
SHOWN_ONLY = frozenset({"text", "http"})
OF_CLIENTS = frozenset({"yaml", "javascript"})
LANGUAGES = frozenset({"python", "console", "toml", "json"}) | OF_CLIENTS | SHOWN_ONLY


class Block(msgspec.Struct, frozen=True):
    """One fenced block.

    Attributes:
        line: where its content begins, counted from 1.
        marks: the words of the comments right before it, with what follows each.
    """

    language: str
    text: str
    line: int
    marks: dict[str, str]


def blocks_of(page: str) -> Iterator[Block]:
    """The blocks of a page in order.

    Raises:
        ValueError: a block has no known language, a mark is unknown, or a fence is not closed.
    """
    marks: dict[str, str] = {}
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        if mark := MARK.match(line):
            if mark["word"] not in WORDS:
                raise ValueError(f"line {number}: no such mark: {mark['word']}")
            marks[mark["word"]] = mark["rest"]
        elif fence := FENCE.match(line):
            if fence["language"] not in LANGUAGES:
                raise ValueError(f"line {number}: a block needs a language of {sorted(LANGUAGES)}")
            body = list(until_closed(lines, fence["ticks"], len(fence["indent"]), number))
            yield Block(fence["language"], "\n".join(body) + "\n", number + 1, marks)
            marks = {}
        elif line.strip() and marks.keys() - {"sandbox"}:
            raise ValueError(f"line {number}: a mark stands right before its block")


def until_closed(
    lines: Iterator[tuple[int, str]], ticks: str, indent: int, opened: int
) -> Iterator[str]:
    """The lines up to the closing fence."""
    for _, line in lines:
        if line.strip() == ticks:
            return
        yield line[indent:] if line[:indent].isspace() else line
    raise ValueError(f"line {opened}: the block is not closed")


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output the page shows for it.

    Raises:
        ValueError: there is no command in it, or text before the first.
    """
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"line {block.line}: a console block begins with '$ '")
    if not found:
        raise ValueError(f"line {block.line}: a console block holds a command")
    return [(command, "\n".join(output).strip()) for command, output in found]


def shows(page: str, said: str) -> bool:
    """Whether a page shows what a command said: ``...`` stands for anything, blanks are equal."""
    parts = [re.escape(" ".join(part.split())) for part in page.split("...")]
    return re.fullmatch(" ?.*? ?".join(parts), " ".join(said.split()), re.DOTALL) is not None


def pages(root: Path) -> list[Path]:
    """Every page whose blocks are executed."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
