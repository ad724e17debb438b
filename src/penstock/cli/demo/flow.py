"""An answer written to the terminal while it arrives: wrapped between words, indented.

A word is held back until the blank after it has come, so that it is never torn at the end of a
line; everything else is written as it comes. Line ends and blanks of the answer are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rich.cells import cell_len

Write = Callable[[str, str], None]
"""Takes a text and the style it is to have."""

_RUN = re.compile(r"\n|[^\S\n]+|\S+")


class Flow:
    """One block of text.

    Args:
        write: where it goes.
        width: columns of a line.
        indent: columns in front of the first line.
        hang: columns in front of the others; as the first by default.

    Attributes:
        style: how what is written from now on looks.
    """

    def __init__(
        self,
        write: Write,
        *,
        width: int,
        indent: int = 2,
        hang: int | None = None,
        style: str = "",
    ) -> None:
        self.style = style
        self._write = write
        self._width = max(width, indent + 8)
        self._indent = indent
        self._hang = indent if hang is None else hang
        self._column = 0
        self._blank = ""
        self._word = ""

    def feed(self, text: str) -> None:
        """Write a piece."""
        for run in _RUN.findall(text):
            if run == "\n":
                self._put_word()
                self._break()
            elif run.isspace():
                self._put_word()
                self._blank += run
            else:
                self._word += run

    def end(self) -> None:
        """Write what was held back and end the line."""
        self._put_word()
        if self._column:
            self._break()

    def _put_word(self) -> None:
        word, self._word = self._word, ""
        if not word:
            return
        if self._column and self._column + cell_len(self._blank) + cell_len(word) > self._width:
            self._break()
        if not self._column:
            self._emit(" " * self._indent)
        self._emit(self._blank)
        self._blank = ""
        for part in self._cut(word):
            if self._column + cell_len(part) > self._width:
                self._break()
                self._emit(" " * self._indent)
            self._emit(part)

    def _cut(self, word: str) -> list[str]:
        """A word that is longer than a line, as characters."""
        return [word] if cell_len(word) <= self._width - self._indent else list(word)

    def _emit(self, text: str) -> None:
        if text:
            self._write(text, self.style)
            self._column += cell_len(text)

    def _break(self) -> None:
        self._write("\n", "")
        self._column = 0
        self._blank = ""
        self._indent = self._hang
