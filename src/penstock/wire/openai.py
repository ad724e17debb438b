"""OpenAI's chat completions on the wire: streams of chunks, whole answers, error bodies.

Source: ``openai-surface.md`` sections 1 to 3, and what compatible servers are known to do: an end
without ``[DONE]`` after a finish reason, usage in the finish chunk, ``reasoning`` beside
``reasoning_content``, errors as a string.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, error_of, one_sentence
from penstock.types import (
    Event,
    Finished,
    Reasoning,
    Started,
    Text,
    ToolCall,
    Usage,
)
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload
from penstock.wire.lines import MAX_LINE
from penstock.wire.sse import SSEDecoder
from penstock.wire.status import kind_of_status, status_error, words_of


class _Frame(msgspec.Struct, gc=False):
    """Base of what is decoded: unknown members are ignored."""


class _Function(_Frame):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(_Frame):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(_Frame):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(_Frame):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Usage(_Frame):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class _Chunk(_Frame):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_PARAM = 100
"""Characters that are kept of what a server calls the parameter at fault."""

_CODES: dict[str, Kind] = {
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "insufficient_quota": "payment",
    "billing_hard_limit_reached": "payment",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "model_not_found": "unknown_model",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "permission_error": "forbidden",
    "content_filter": "moderation",
    "content_policy_violation": "moderation",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "engine_overloaded": "overloaded",
    "server_error": "server",
    "api_error": "server",
    "invalid_request_error": "bad_request",
    "not_found_error": "not_found",
}


class ChatDecoder(AnswerDecoder):
    """A stream of ``chat.completion.chunk`` events (choice 0 alone) to events.

    A finish reason makes the answer whole; ``[DONE]`` or the end of the body then ends it, with
    the usage that came between. An end without either is a cut.
    """

    def __init__(self, provider: str, *, limit: int = MAX_LINE) -> None:
        super().__init__()
        self._provider = provider
        self._sse = SSEDecoder(limit=limit)
        self._started = False
        self._finish: str | None = None
        self._usage: Usage | None = None

    def _decode(self, data: bytes, events: list[Event]) -> None:
        only = self._sse.only(data)
        if only is not None:
            self._chunk(only, events)
            return
        for event in self._sse.feed(data):
            self._chunk(event.data, events)
            if self.done:
                return

    def _end(self, events: list[Event]) -> None:
        rest = self._sse.eof()
        if self.whole or (rest is not None and rest.data == b"[DONE]"):
            self._finished(events)

    def _finished(self, events: list[Event]) -> None:
        self.done = True
        events.append(Finished(finish_reason=self._finish, usage=self._usage))

    def _chunk(self, data: bytes, events: list[Event]) -> None:
        try:
            chunk = _decode(data)
        except JSON_ERRORS as error:
            if data == b"[DONE]":
                self._finished(events)
            elif data.strip():
                raise bad_payload(error, data) from None
            return
        if chunk.error is not None:
            raise stream_error(chunk.error, self._provider)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        if not self._started and chunk.id is not None:
            self._started = True
            events.append(Started(id=chunk.id, model=chunk.model))
        for choice in chunk.choices or ():
            if choice.index == 0:
                delta = choice.delta
                if delta is not None:
                    _pieces(delta, events)
                if choice.finish_reason:
                    self._finish = choice.finish_reason
                    self.whole = True


def decode_completion(body: bytes, provider: str) -> list[Event]:
    """The events of a whole ``chat.completion`` answer.

    Raises:
        ProtocolError: it is something else. PenstockError: it is an error object.
    """
    try:
        chunk = _decode(body)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    if chunk.error is not None:
        raise stream_error(chunk.error, provider)
    if not chunk.choices:
        raise bad_payload(ValueError("there are no choices"), body)
    choice = chunk.choices[0]
    if choice.message is None and choice.finish_reason is None:
        raise bad_payload(ValueError("there is neither a message nor an end"), body)
    events: list[Event] = [Started(id=chunk.id, model=chunk.model)]
    if choice.message is not None:
        _pieces(choice.message, events)
    usage = _usage(chunk.usage) if chunk.usage else None
    events.append(Finished(finish_reason=choice.finish_reason, usage=usage))
    return events


def stream_error(value: Any, provider: str) -> PenstockError:
    """The error that an ``error`` member inside a 200 answer reports."""
    fields: dict[str, Any] = value if isinstance(value, dict) else {"message": value}
    status = fields.get("code") if isinstance(fields.get("code"), int) else None
    kind = _kind_of(fields) or (kind_of_status(status) if status else "model")
    said = one_sentence(str(fields.get("message") or "no reason given"))
    return error_of(
        kind, f"the server reported a failure: {said}", provider=provider, status=200, detail=said
    )


def response_error(
    status: int, headers: dict[str, str], body: bytes, *, provider: str, secrets: tuple[str, ...]
) -> PenstockError:
    """The error for an HTTP status with a body in OpenAI's shape, or any other."""
    kind: Kind | None = None
    error = _error_in(body)
    if error is not None:
        kind = _kind_of(error)
        if kind in ("bad_request", "server", "not_found"):
            kind = None  # the status says it better
    detail = words_of(body)
    if kind is None and status == 404 and "model" in detail.lower():
        kind = "unknown_model"
    if kind is None and status in (400, 413) and "context length" in detail.lower():
        kind = "context_length"
    made = status_error(
        status, headers, body, provider=provider, kind=kind, detail=detail, secrets=secrets
    )
    param = None if error is None else error.get("param")
    if made.param is None and isinstance(param, str) and status < 500:
        made.param = param[:_PARAM]
    return made


def is_error(body: bytes) -> bool:
    """Whether a body is an error as servers of this protocol tell it; others know no ``type``."""
    error = _error_in(body)
    return error is not None and isinstance(error.get("message"), str) and "type" in error


def _error_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(body)
    except JSON_ERRORS:
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def _kind_of(error: dict[str, Any]) -> Kind | None:
    for key in ("code", "type"):
        word = error.get(key)
        if isinstance(word, str) and word in _CODES:
            return _CODES[word]
    return None


def _pieces(delta: _Delta, events: list[Event]) -> None:
    if reasoning := delta.reasoning_content or delta.reasoning:
        events.append(Reasoning(reasoning))
    if delta.content:
        events.append(Text(delta.content))
    if delta.refusal:
        events.append(Text(delta.refusal))
    if not delta.tool_calls:
        return
    for position, call in enumerate(delta.tool_calls):
        function = call.function or _Function()
        events.append(
            ToolCall(
                index=position if call.index is None else call.index,
                id=call.id,
                name=function.name,
                arguments=function.arguments or "",
            )
        )


def _usage(usage: _Usage) -> Usage:
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )
