"""The router's answers: an event stream, or one JSON text (``wire/h2o.md`` sections 4 and 5).

Laws of the stream:
* the end is the frame whose ``generated_text`` is not null, empty or not; a body that ends without
  one is cut, however it ends (rule 19);
* that frame has a token of its own, which is text like any other unless it ends the answer
  (h2o-default-20-tokens);
* tokens flagged special are never text, and empty ones are none;
* a frame with ``error`` has no token and is the end (rule 1);
* the finish is ``details.finish_reason`` where it was asked for, else what the last token shows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.errors import ProtocolError
from penstock.providers.h2o.dialect.errors import frame_error
from penstock.types import Event, Finished, Text, Usage
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload
from penstock.wire.sse import SSEDecoder

END_OF_TEXT = "<|endoftext|>"
"""The end token that some tokenizers do not flag as special."""

MAX_ANSWER = 16 << 20
"""Largest answer in one JSON text."""

_REASONS = {"eos_token": "stop", "stop_sequence": "stop"}


class _Token(msgspec.Struct, gc=False):
    text: str
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: int | None = None


class _Frame(msgspec.Struct):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None
    error_type: str | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_WHOLE = msgspec.json.Decoder(list[_Frame] | _Frame)


class RouterDecoder(AnswerDecoder):
    """The event stream of text-generation-inference to events.

    Args:
        provider: name for errors.
        stop: the stop strings that were sent.
        full_text: the prompt was asked for too (``return_full_text``); it comes with the end only.
    """

    def __init__(
        self, provider: str, *, stop: tuple[str, ...] = (), full_text: bool = False
    ) -> None:
        super().__init__()
        self._provider = provider
        self._stop = stop
        self._full_text = full_text
        self._events = SSEDecoder()

    def _decode(self, data: bytes, events: list[Event]) -> None:
        decode = _FRAME.decode
        for event in self._events.feed(data):
            try:
                frame = decode(event.data)
            except JSON_ERRORS as error:
                raise bad_payload(error, event.data) from None
            token = frame.token
            if token is None or frame.generated_text is not None or frame.error is not None:
                self._last(frame, event.data, events)
                return
            if token.text and not token.special:
                events.append(Text(token.text))

    def _end(self, events: list[Event]) -> None:
        # A last frame without its blank line is whole all the same (rule 6); anything else left
        # over is a cut frame and no part of the answer.
        event = self._events.eof()
        if event is None:
            return
        try:
            frame = _FRAME.decode(event.data)
        except JSON_ERRORS:
            return
        if frame.generated_text is not None or frame.error is not None:
            self._last(frame, event.data, events)

    def _last(self, frame: _Frame, data: bytes, events: list[Event]) -> None:
        if frame.error is not None:
            raise frame_error(frame.error_type, data, self._provider)
        if frame.generated_text is None:
            raise ProtocolError("the server sent a frame without token, text or error")
        token = frame.token
        reason = frame.details.finish_reason if frame.details else None
        ends = token is not None and (
            token.special or token.text == END_OF_TEXT or reason == "eos_token"
        )
        if token is not None and token.text and not ends:
            events.append(Text(token.text))
        if reason is not None:
            finish: str | None = _REASONS.get(reason, reason)
        elif token is None:
            finish = None
        else:
            stopped = ends or frame.generated_text.endswith(self._stop)
            finish = "stop" if stopped else "length"
        events.append(
            Finished(
                finish,
                _usage(frame.details),
                final_text=frame.generated_text,
                final_counts=self._full_text,
            )
        )
        self.done = True


class WholeDecoder(AnswerDecoder):
    """One JSON text, as the router's root route answers ``stream: false`` (h2o-non-stream-json)."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self._provider = provider
        self._parts: list[bytes] = []
        self._size = 0

    def _decode(self, data: bytes, events: list[Event]) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise ProtocolError(f"the answer is longer than {MAX_ANSWER} bytes")

    def _end(self, events: list[Event]) -> None:
        data = b"".join(self._parts)
        if not data.strip():
            return
        try:
            decoded = _WHOLE.decode(data)
        except JSON_ERRORS as error:
            raise bad_payload(error, data) from None
        answers = decoded if isinstance(decoded, list) else [decoded]
        for frame in answers[:1]:
            self._answer(frame, data, events)
        if not self.done:
            raise ProtocolError("the server sent a list without an answer")

    def _answer(self, frame: _Frame, data: bytes, events: list[Event]) -> None:
        if frame.error is not None:
            raise frame_error(frame.error_type, data, self._provider)
        if frame.generated_text is None:
            raise ProtocolError("the server sent an answer without its text")
        text = frame.generated_text.removesuffix(END_OF_TEXT)
        if text:
            events.append(Text(text))
        reason = frame.details.finish_reason if frame.details else None
        finish = None if reason is None else _REASONS.get(reason, reason)
        events.append(
            Finished(
                finish,
                _usage(frame.details),
                final_text=frame.generated_text,
                final_counts=False,
            )
        )
        self.done = True


def _usage(details: _Details | None) -> Usage | None:
    if details is None or details.generated_tokens is None:
        return None
    return Usage(completion_tokens=details.generated_tokens)


def decoder_for(
    content_type: str, provider: str, *, stop: tuple[str, ...], full_text: bool
) -> AnswerDecoder:
    """The decoder for an answer of that media type."""
    if content_type == "application/json":
        return WholeDecoder(provider)
    return RouterDecoder(provider, stop=stop, full_text=full_text)
