"""A program on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAM = [sys.executable, "-m", "penstock"]
DEADLINE = 20.0
_OWN_TERMINAL = 'exec "$@" <"$0" >"$0" 2>&1'
"""The first of a new session that opens a terminal has it as its own, with Ctrl-C and Ctrl-D."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """``penstock`` with arguments, typed at and looked at.

    Args:
        term: what kind it says it is; "dumb" knows no control sequences.
        state: folder for what the program remembers.
    """

    def __init__(
        self, *arguments: str, state: Path, term: str = "dumb", size: tuple[int, int] = (24, 80)
    ) -> None:
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in _SIZE}
        self.program = subprocess.Popen(
            ["/bin/sh", "-c", _OWN_TERMINAL, os.ttyname(side), *PROGRAM, *arguments],
            env={**kept, "TERM": term, "NO_COLOR": "1", "XDG_STATE_HOME": str(state)},
            start_new_session=True,
        )
        self._side = side  # open, so that the terminal is there before the program is
        self.raw = b""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.program.poll() is None:
            self.program.terminate()  # what it has opened on a server is removed
            with suppress(subprocess.TimeoutExpired):
                self.program.wait(3)
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        os.close(self._main)
        os.close(self._side)

    @property
    def shown(self) -> str:
        """All that was shown, without control sequences."""
        return _CONTROL.sub("", self.raw.decode(errors="replace")).replace("\r", "")

    def expect(self, words: str) -> str:
        """Read until ``words`` are shown; what came before them, and is looked at no more."""
        assert self.shows(words, DEADLINE), f"{words!r} was not shown: {self.shown!r}"
        at = self.shown.find(words, self._seen)
        before = self.shown[self._seen : at]
        self._seen = at + len(words)
        return before

    def shows(self, words: str, seconds: float) -> bool:
        """Whether ``words`` are shown, after what was expected so far, within some seconds."""
        deadline = time.monotonic() + seconds
        while self.shown.find(words, self._seen) < 0:
            left = deadline - time.monotonic()
            if not select.select([self._main], [], [], max(0.0, left))[0] or not self._read():
                return False
        return True

    def interrupt_prompt(self, words: str) -> None:
        """Ctrl-C at the prompt, until ``words`` are shown.

        The interpreter misses one that comes in the moment in which it begins to wait for a key.
        """
        for _ in range(5):
            self.press("\x03")
            if self.shows(words, 2.0):
                break
        self.expect(words)

    def _read(self) -> bool:
        try:
            data = os.read(self._main, 65536)
        except OSError:  # the program has ended
            return False
        self.raw += data
        return bool(data)

    def type(self, line: str) -> None:
        """A line and Enter."""
        self.press(line + "\n")

    def enter(self, line: str, words: str) -> str:
        """A line and Enter, and what came before ``words`` were shown."""
        self.type(line)
        return self.expect(words)

    def press(self, keys: str) -> None:
        """Keys as they are."""
        os.write(self._main, keys.encode())

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        deadline = time.monotonic() + DEADLINE
        while self.program.poll() is None and time.monotonic() < deadline:
            if select.select([self._main], [], [], 0.02)[0]:
                self._read()
        return self.program.wait(0)


_SIZE = ("COLUMNS", "LINES")
