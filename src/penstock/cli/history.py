"""The lines that were entered in earlier chats, in a file that only its owner can read.

One JSON string a line, so that a question of several lines is one entry in every editor of lines.
Chats that run side by side append to the same file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

KEPT = 1000
"""Entries that are offered; the file is cut back to these when it holds twice as many."""
LONGEST = 100_000
"""Bytes of an entry that is remembered; a longer one was a paste nobody looks for."""


def decoded(data: bytes) -> list[str]:
    """The entries of a file; a line that is none is left out."""
    entries: list[str] = []
    for line in data.splitlines():
        try:
            entries.append(msgspec.json.decode(line, type=str))
        except msgspec.DecodeError:
            continue
    return entries


def encoded(entries: Sequence[str]) -> bytes:
    """``entries`` as lines of the file."""
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)


class History:
    """The entries of one file, or of this chat alone.

    Args:
        file: made at the first entry, with its folder; None keeps nothing.

    Attributes:
        entries: oldest first.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.entries: list[str] = []

    def load(self) -> None:
        """Read the file, and cut it back if it has grown long.

        Raises:
            OSError: it cannot be read or written. What could be read is there.
        """
        if self._file is None or not self._file.exists():
            return
        found = decoded(self._file.read_bytes())
        self.entries = found[-KEPT:]
        if len(found) > 2 * KEPT:
            shorter = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            _write(shorter, encoded(self.entries))
            shorter.replace(self._file)

    def add(self, entry: str) -> None:
        """Remember an entry, unless it is the last one again.

        Raises:
            OSError: the file cannot be written; this chat remembers it all the same.
        """
        data = encoded([entry])
        if len(data) > LONGEST or self.entries[-1:] == [entry]:
            return
        self.entries.append(entry)
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._file, data)

    def forget_file(self) -> None:
        """Go on without the file."""
        self._file = None


def _write(file: Path, data: bytes) -> None:
    """Append, in one write, to a file that is the owner's alone."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(number, 0o600)
        os.write(number, data)
    finally:
        os.close(number)
