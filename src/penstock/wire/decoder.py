"""The frame of every dialect's decoder: bytes of one answer to events.

The events of one read may be followed by a failure in the same read. They come first, and the
failure waits in ``failure``: so partial text is never lost, and the outcome is the same however
the bytes are cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from penstock.errors import PenstockError, ProtocolError, TruncatedError, one_sentence
from penstock.types import Event


class AnswerDecoder(ABC):
    """Bytes of one answer to events, ended by exactly one ``Finished`` or one ``failure``.

    Attributes:
        done: True after ``Finished``; what follows on the wire no longer matters.
        whole: True once the answer is known to be whole although more may follow (usage, a title).
            A connection that breaks then has broken nothing: ``eof`` ends the answer.
        failure: how the answer failed; its events before it have been returned.
    """

    def __init__(self) -> None:
        self.done = False
        self.whole = False
        self.failure: PenstockError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Look at ``failure`` afterwards."""
        events: list[Event] = []
        if not self.done and self.failure is None:
            try:
                self._decode(data, events)
            except PenstockError as error:
                self.failure = error
        return events

    def eof(self) -> list[Event]:
        """The body ended in order. Without an end mark this sets ``failure``."""
        events: list[Event] = []
        if not self.done and self.failure is None:
            try:
                self._end(events)
            except PenstockError as error:
                self.failure = error
            if not self.done and self.failure is None:
                self.failure = TruncatedError("the stream ended without its end mark")
        return events

    @abstractmethod
    def _decode(self, data: bytes, events: list[Event]) -> None:
        """Append the events of ``data``; set ``done`` with ``Finished``; raise a failure."""

    @abstractmethod
    def _end(self, events: list[Event]) -> None:
        """Look at what is left at the end of the body; leave ``done`` False if it is cut."""


def bad_payload(error: Exception, data: bytes) -> ProtocolError:
    """The one error for JSON that is not what it should be."""
    snippet = one_sentence(data[:80].decode("utf-8", "replace"), 80)
    reason = type(error).__name__ if isinstance(error, RecursionError) else str(error)
    return ProtocolError(f"the server sent what its protocol does not know: {reason}: {snippet}")


JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
"""What ``msgspec`` raises on hostile input (``faults.md`` row 71)."""


def refuse_constant(constant: str) -> None:
    """What ``json`` is to do with NaN and Infinity, which the grammar of JSON does not have.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{constant} is no JSON")
