"""The event stream of one answer (``wire/openassistant.md`` section 6), the same in both dialects.

Laws of this file:
* white space is text, empty tokens are nothing;
* two halves of a surrogate pair in two tokens are joined before they are handed out;
* a trailing run of U+FFFD is held back, for a character made of several byte tokens arrives so and
  only the final message has it. The final message then says what stood there, if what was sent is
  a prefix of it; else the run is handed out and the answer is marked as differing;
* only ``message`` is a good end. ``error`` is a failure, and so is an end without either.

The reader of a cut stream may learn the final text by other means and end the answer with
``complete``; or it gives up and takes what is held back with ``flush``.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TypeVar

import msgspec

from penstock.errors import one_sentence
from penstock.providers.openassistant.dialect.answers import Message, reported_error
from penstock.types import Event, Finished, Notice, Text, Waiting
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload, refuse_constant
from penstock.wire.sse import SSEDecoder

T = TypeVar("T")

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_HALF = re.compile("[\ud800-\udfff]")
_TOGETHER = 50
"""Pieces that go into the digest at once."""


class _Frame(msgspec.Struct, gc=False):
    """Any event; which fields are there depends on ``event_type``."""

    event_type: str
    text: str | None = None
    queue_position: int | None = None
    queue_size: int | None = None
    error: str | None = None
    message: Message | None = None
    current_plugin_action_taken: str | None = None


_decode_frame = msgspec.json.Decoder(_Frame).decode


class EventDecoder(AnswerDecoder):
    """Bytes of the event stream to events.

    Attributes:
        started: a worker has taken the message, which has so left the queue.
        final: the server has said how the message ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started = False
        self.final = False
        self._events = SSEDecoder()
        self._held: list[str] = []
        self._half = ""
        self._digest = hashlib.blake2b()
        self._sent = 0
        self._told: list[str] = []  # what of it the digest does not know yet

    def complete(self, content: str | None) -> list[Event]:
        """The good end: ``content`` is the whole text. Sends what of it is missing."""
        events: list[Event] = []
        self._finish(content, events)
        return events

    def flush(self) -> list[Event]:
        """What is held back, as it came: there will be no final text."""
        events: list[Event] = []
        self._release(events)
        return events

    def _decode(self, data: bytes, events: list[Event]) -> None:
        for event in self._events.feed(data):
            if event.event == "message":  # other names are heartbeats (section 6)
                self._read(event.data, events)
                if self.done:
                    return

    def _end(self, events: list[Event]) -> None:
        """No end of the body is a good one; only an event is (section 7)."""

    def _read(self, data: bytes, events: list[Event]) -> None:
        try:
            frame = _decode_frame(data)
        except JSON_ERRORS as error:
            frame = _with_halves(data, error)
        kind = frame.event_type
        if kind == "token":
            self.started = True
            self._token(_needed(frame.text, data), events)
        elif kind == "pending":
            events.append(
                Waiting(reason="queue", position=frame.queue_position, size=frame.queue_size)
            )
        elif kind == "message":
            self._finish(_needed(frame.message, data).content, events)
        elif kind == "error":
            self.started = self.final = True
            self._release(events)
            raise reported_error(frame.error or "")
        elif kind == "plugin_intermediate":
            self.started = True
            action = one_sentence(frame.current_plugin_action_taken or "", 80)
            events.append(Waiting(reason="running", detail=f"plugin: {action}"))

    def _token(self, text: str, events: list[Event]) -> None:
        if self._half or not text.isascii():
            text = self._joined(text)
        if not text:
            return
        if text[-1] == _UNKNOWN:
            whole = text.rstrip(_UNKNOWN)
            if whole:
                self._release(events)
                self._tell(whole, events)
            self._held.append(text[len(whole) :])
            return
        if self._held:
            self._release(events)
        self._tell(text, events)

    def _joined(self, text: str) -> str:
        """``text`` after the half that waits; a last high half waits for the next token."""
        text, self._half = self._half + text, ""
        if _HALF.search(text):
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._half = text[:-1], text[-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _release(self, events: list[Event]) -> None:
        if self._half:  # its other half will not come any more
            self._held.append(_UNKNOWN)
            self._half = ""
        for run in self._held:
            self._tell(run, events)
        self._held.clear()

    def _finish(self, content: str | None, events: list[Event]) -> None:
        self.started = self.final = self.done = True
        text = whole_text(content)
        self._absorb()
        warnings: tuple[Notice, ...] = ()
        if self._digest.digest() == _digest_of(text[: self._sent]):
            self._held.clear()
            if missing := text[self._sent :]:
                events.append(Text(missing))
        else:
            self._release(events)
            warnings = (Notice("text_differs", "the final text is not what was streamed"),)
        events.append(Finished(finish_reason="stop", final_text=text, warnings=warnings))

    def _tell(self, text: str, events: list[Event]) -> None:
        events.append(Text(text))
        self._told.append(text)
        if len(self._told) >= _TOGETHER:
            self._absorb()

    def _absorb(self) -> None:
        """Take what was sent into the digest: all that is ever asked is whether it is a prefix."""
        sent = "".join(self._told)
        self._told.clear()
        self._sent += len(sent)
        self._digest.update(sent.encode())


def whole_text(content: str | None) -> str:
    """The content of a finished message; null and lone halves of a pair do no harm."""
    text = content or ""
    if _HALF.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _digest_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode()).digest()


def _needed(value: T | None, data: bytes) -> T:
    if value is None:
        raise bad_payload(ValueError("an event without its content"), data)
    return value


def _with_halves(data: bytes, error: Exception) -> _Frame:
    """A frame whose text holds half of a surrogate pair, which the fast decoder refuses."""
    if b"\\ud" not in data.lower():
        raise bad_payload(error, data) from None
    try:
        return msgspec.convert(json.loads(data, parse_constant=refuse_constant), _Frame)
    except (ValueError, RecursionError) as second:
        raise bad_payload(second, data) from None
