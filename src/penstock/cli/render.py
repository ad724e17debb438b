"""What the commands share: where words go, and how an answer is shown.

The answer goes to stdout exactly as it came. Everything else goes to stderr; colour and a line
that is overwritten are used only where stderr is a terminal.
"""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

import msgspec

from penstock.config import no_color
from penstock.config.surroundings import plain_terminal
from penstock.errors import PenstockError
from penstock.types import (
    Event,
    Finished,
    Notice,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    Waiting,
)

if TYPE_CHECKING:
    from rich.console import Console

_NOTICES = {
    "text_differs": "the server's final text differs from what it streamed",
    "history_lost": "the server lost the earlier turns of this conversation",
    "parameter_dropped": "a parameter was dropped",
    "usage_estimated": "the token counts are estimates",
}


def console(*, err: bool = False) -> Console:
    """A rich console on stdout or stderr."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, soft_wrap=False)


def waiting_words(event: Waiting) -> str:
    """A sentence for a wait."""
    if event.reason == "queue":
        place = f"place {event.position}" if event.position else "waiting"
        size = f" of {event.size}" if event.size else ""
        return f"in the queue: {place}{size}"
    words = {"cold_start": "the model is starting", "loading": "the model is loading"}
    return words.get(event.reason, "the model is at work")


_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if code not in (0x09, 0x0A)
}


def harmless(text: str) -> str:
    """Text of a server as a terminal may show it: a control sequence in it is data, no order."""
    return text.translate(_CONTROLS)


def folded(text: str, *, err: bool = False) -> str:
    """A sentence as its stream shows it: on a terminal broken between words, else one line."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        return text
    return "\n".join(
        fill(line, columns(), break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def columns() -> int:
    """The width of the terminal."""
    return get_terminal_size().columns


class Screen:
    """Shows one answer after another.

    Args:
        as_json: events as JSON, one a line, instead of text.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._watched = sys.stderr.isatty()
        self._overwrites = self._watched and not plain_terminal()
        self._colour = self._overwrites and not no_color()
        self._terminal = sys.stdout.isatty()
        self._status = False
        self._told = ""
        self._open_line = False
        self._open_note = False

    def event(self, event: Event) -> None:
        """Show one event."""
        if self._as_json:
            self._write(msgspec.json.encode(_plain(event)).decode() + "\n")
        elif isinstance(event, Text):
            self._clear()
            self._write(event.text)
        elif isinstance(event, Reasoning):
            self._aside(event.text)
        elif isinstance(event, ToolCall):
            self._aside(f"{event.name or ''}{event.arguments}")
        elif isinstance(event, Waiting):
            self._wait(waiting_words(event))
        elif isinstance(event, Finished):
            self._finished(event)

    def reply(self, reply: Reply) -> None:
        """Show a whole answer."""
        if self._as_json:
            self._write(msgspec.json.encode(_plain(reply)).decode() + "\n")
            return
        self._aside(reply.reasoning)
        self._clear()
        self._write(reply.text)
        self.end()
        self._facts(reply.finish_reason, reply.warnings)

    def failed(self, error: PenstockError) -> None:
        """End what was shown of an answer that failed; as JSON the failure is the last line."""
        self.end()
        if self._as_json:
            self._write(msgspec.json.encode(_failure(error)).decode() + "\n")

    def end(self) -> None:
        """End the line of the answer."""
        self._clear()
        if self._open_line:
            self._write("\n")

    def say(self, text: str) -> None:
        """A line for the user."""
        self._clear()
        self._note(harmless(text) + "\n")

    def _finished(self, event: Finished) -> None:
        self.end()
        self._facts(event.finish_reason, event.warnings)

    def _facts(self, reason: str | None, warnings: tuple[Notice, ...]) -> None:
        if reason not in ("stop", None):
            self._note(f"[finish: {reason}]\n", dim=True)
        for notice in warnings:
            detail = f": {notice.detail}" if notice.detail else ""
            self._note(f"[note: {_NOTICES[notice.code]}{detail}]\n", dim=True)

    def _aside(self, text: str) -> None:
        """What belongs to the answer, but not to its text."""
        if text:
            self._clear(keep_note=True)
            self._note(harmless(text), dim=True)
            self._open_note = not text.endswith("\n")

    def _wait(self, words: str) -> None:
        if self._overwrites:
            self._note(f"\r\x1b[2K{words}", dim=True)
            self._status = True
        elif self._watched and words != self._told:
            self._told = words
            self._note(f"{words}\n")

    def _clear(self, *, keep_note: bool = False) -> None:
        """Make room on the terminal for the next text."""
        if self._status:
            self._note("\r\x1b[2K")
            self._status = False
        if self._open_note and not keep_note:
            self._note("\n")
            self._open_note = False

    def _note(self, text: str, *, dim: bool = False) -> None:
        sys.stderr.write(f"\x1b[2m{text}\x1b[0m" if dim and self._colour else text)
        sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stdout.write(harmless(text) if self._terminal else text)
        sys.stdout.flush()
        if text:
            self._open_line = not text.endswith("\n")


def _plain(value: Event | Reply) -> object:
    """What is told as JSON: all that is set, and the finish reason even where it is unknown."""
    told = {}
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if name == "finish_reason" or (name != "conversation" and item not in (None, "", ())):
            told[name] = item
    return {"type": value.__struct_config__.tag or "reply", **told}


def _failure(error: PenstockError) -> object:
    """A failure as JSON: its kind, the sentence, and the facts that are known."""
    names = ("provider", "model", "status", "retry_after", "param")
    facts = {name: getattr(error, name) for name in names}
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {"type": "error", "kind": error.kind, "message": str(error), **known}


def warn(warnings: tuple[str, ...]) -> None:
    """Tell what is not wrong, but should be known."""
    for warning in warnings:
        sys.stderr.write(folded(f"Warning: {warning}", err=True) + "\n")
