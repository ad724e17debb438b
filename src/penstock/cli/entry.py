"""What is typed or pasted in a conversation: one entry, of one line or several.

Laws:
* a paste is one entry, whatever lines it has. A terminal that brackets pastes says where one ends;
  on any other, lines that are there already when one has been read belong to it;
* a line that ends in a backslash goes on in the next one; so does Alt-Enter, where GNU readline is;
* nothing but the answer goes to stdout: where that is no terminal, the prompt is on stderr;
* what is typed while an answer comes is not mixed with it: it stands at the next prompt.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.cli.history import History
from penstock.config.surroundings import plain_terminal

if TYPE_CHECKING:
    from types import ModuleType

PROMPT, MORE = "> ", ". "
_REST_OF_A_PASTE = 0.03
"""Seconds in which the next line of a paste is there."""

_ECHO_FLAGS = 3
"""Where the flags that hold ECHO stand in what ``termios.tcgetattr`` gives."""

Complete = Callable[[str], Sequence[str]]


class Entries:
    """Reads one entry after another.

    Args:
        history: offered with the arrow keys.
        complete: an entry so far -> what it may become, for Tab.
    """

    def __init__(self, history: History, complete: Complete) -> None:
        self._history = history
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # a key that is no character is no crash
        self._edits = sys.stdin.isatty() and sys.stdout.isatty()
        self._brackets = False
        readline = _readline() if self._edits else None
        if readline is not None:
            self._brackets = _set_up(readline, complete)
            for entry in history.entries:
                readline.add_history(entry)
        self._editor = readline

    @property
    def ends_line(self) -> bool:
        """Whether the editor itself ends the line of the prompt at the end of input."""
        return self._brackets

    def read(self) -> str:
        """The next entry, without the line end; it may be blank.

        Raises:
            EOFError: there is no more.
            KeyboardInterrupt: what was typed is thrown away.
        """
        entry = self._whole(self._line(PROMPT))
        while _continues(entry):
            entry = f"{entry[:-1]}\n{self._whole(self._line(MORE))}"
        return entry

    def remember(self, entry: str) -> None:
        """Offer ``entry`` from now on.

        Raises:
            OSError: the file of the history cannot be written.
        """
        if self._editor is not None and self._history.entries[-1:] != [entry]:
            self._editor.add_history(entry)
        self._history.add(entry)

    def _whole(self, line: str) -> str:
        """A line with the rest of the paste that it began."""
        lines = [line]
        while not self._brackets and not line.startswith("/") and _is_waiting():
            try:
                lines.append(self._line(""))
            except EOFError:
                break
        return "\n".join(lines)

    def _line(self, prompt: str) -> str:
        if self._edits:
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")


@contextmanager
def unseen_keys() -> Iterator[None]:
    """Keys are not shown meanwhile; Ctrl-C works as ever."""
    if os.name != "posix" or not sys.stdin.isatty():
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    quiet = [*before]
    quiet[_ECHO_FLAGS] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _continues(entry: str) -> bool:
    """Whether the last backslash is one by itself; two of them are one that is meant."""
    return (len(entry) - len(entry.rstrip("\\"))) % 2 == 1


def _is_waiting() -> bool:
    try:
        return bool(select.select([sys.stdin], [], [], _REST_OF_A_PASTE)[0])
    except (OSError, ValueError):  # not every system can wait for a terminal
        return False


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:
        return None  # not on every platform; input() works without
    return readline


def _set_up(readline: ModuleType, complete: Complete) -> bool:
    """Settings of the editor; True if it tells pastes from what is typed."""
    readline.set_auto_history(False)
    if "libedit" in (readline.__doc__ or "") or plain_terminal():
        return False

    def state_of(text: str, state: int) -> str | None:
        found = complete(readline.get_line_buffer())
        whole = readline.get_begidx()
        offers = [offer[whole:] for offer in found]
        return offers[state] if state < len(offers) else None

    readline.set_completer(state_of)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    # The interpreter switches this off, because its own prompt cannot take several lines.
    readline.parse_and_bind("set enable-bracketed-paste on")
    readline.parse_and_bind(r'"\e\C-m": "\C-v\C-j"')
    return True
