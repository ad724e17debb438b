"""What the shell (``gateway.answer``) asks of a face. Pure.

A *writer* makes the bytes of one answer, choice by choice. It knows nothing of sockets: the shell
sends what it returns. Instants and ids are given to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.errors import BadRequestError
from penstock.gateway.errors import Failure
from penstock.types import ChatRequest, Event, Finished, Reply, Value, Waiting

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment that says: the line lives."""


class Writer(Protocol):
    """The bytes of one answer."""

    def opening(self) -> bytes:
        """What goes out before the first event, once."""

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """The frames of the output events of one network read; ``Finished`` is not among them."""

    def finished(self, end: Finished, choice: int) -> bytes:
        """The frames that end one choice."""

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """What goes out after all choices have ended well."""

    def failed(self, failure: Failure) -> bytes:
        """The last frame of an answer that broke after its first byte."""

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The body of an answer that was not to be streamed."""

    def refused(self, failure: Failure) -> bytes:
        """The body of an answer that never began."""


class Asked(Value, frozen=True, kw_only=True):
    """What a body asks for, in our words.

    Attributes:
        request: the question; its model is the name that the caller used.
        stream: as events, or whole.
        copies: choices asked for; each is a request of its own.
        stops: texts at which the answer is cut here, for the back end cannot.
        dropped: parameters that were left out, for the caller allowed it.
    """

    request: ChatRequest
    stream: bool = False
    copies: int = 1
    stops: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def comment(event: Waiting) -> bytes:
    """A waiting event as a comment: ``: waiting queue position=3 size=10``."""
    words = [f": waiting {event.reason}"]
    if event.position:
        words.append(f"position={event.position}")
    if event.size is not None:
        words.append(f"size={event.size}")
    if event.detail:
        words.append(f'detail="{_one_line(event.detail)}"')
    return " ".join(words).encode() + b"\n\n"


def warning(code: str, detail: str) -> bytes:
    """What to know about an answer that is whole all the same, as a comment."""
    return f": warning {code} {_one_line(detail)}".rstrip().encode() + b"\n\n"


def _one_line(text: str) -> str:
    return " ".join(text.replace('"', "'").split())


def wrong(message: str, param: str | None) -> BadRequestError:
    """A body that cannot be understood or honoured."""
    return BadRequestError(message, param=param)
