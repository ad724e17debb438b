"""``POST /v1/messages`` (Anthropic's): events to named server-sent events, replies to bodies. Pure.

Source: ``openai-surface.md`` section 4: the ``event:`` line is mandatory, content comes in blocks
that are opened and closed, and errors have a shape of their own. Only blocks of tool calls may be
open beside each other, for their pieces may come in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.gateway.errors import Failure
from penstock.gateway.stops import StoppedAt
from penstock.gateway.surfaces.chat import reason_of
from penstock.gateway.surfaces.surface import comment, warning
from penstock.types import Event, Finished, Reasoning, Reply, Text, ToolCall, Usage, Waiting

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_ALONE = frozenset({"text", "thinking"})
"""Blocks that are closed before another one begins."""
_TEXT_HEAD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":'
)
_TEXT_TAIL = b"}}\n\n"


def frame(event: dict[str, Any]) -> bytes:
    """One event with its mandatory name."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + _encode(event) + b"\n\n"


def error_body(failure: Failure, request_id: str) -> bytes:
    """Anthropic's error body."""
    return _encode(
        {
            "type": "error",
            "error": {"type": _type_of(failure.status), "message": failure.message},
            "request_id": request_id,
        }
    )


def _type_of(status: int) -> str:
    return _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def stop_reason_of(reason: str | None, *, called: bool = False) -> dict[str, str | None]:
    """Why the answer ended, in Anthropic's words."""
    if isinstance(reason, StoppedAt):
        return {"stop_reason": "stop_sequence", "stop_sequence": reason.text}
    word = _REASONS.get(reason_of(reason, called=called), "end_turn")
    return {"stop_reason": word, "stop_sequence": None}


class MessagesWriter:
    """The events, or the one body, of a message.

    Args:
        id: ``msg_...``.
        model: the name that was asked for.
        request_id: goes into error bodies.
        asked: the estimated tokens of the question, told at the beginning of a stream.
    """

    def __init__(self, id: str, model: str, request_id: str, asked: Usage | None = None) -> None:
        self._id = id
        self._model = model
        self._request_id = request_id
        self._asked = asked
        self._blocks = 0
        self._called = False
        self._open: dict[str, int] = {}
        self._head = b""

    def opening(self) -> bytes:
        """The message, still empty."""
        return frame({"type": "message_start", "message": self._message([], {}, self._asked)})

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """A delta for each piece, blocks opened and closed around them."""
        if len(events) == 1 and type(events[0]) is Text and "text" in self._open:
            return self._head + _encode(events[0].text) + _TEXT_TAIL
        return b"".join(self._event(event) for event in events)

    def _event(self, event: Event) -> bytes:
        if isinstance(event, Text):
            opened = self._to("text", {"type": "text", "text": ""})
            return opened + self._head + _encode(event.text) + _TEXT_TAIL
        if isinstance(event, Reasoning):
            opened = self._to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            delta = {"type": "thinking_delta", "thinking": event.text}
            return opened + self._delta("thinking", delta)
        if isinstance(event, ToolCall):
            return self._call(event)
        return comment(event) if isinstance(event, Waiting) else b""

    def _call(self, event: ToolCall) -> bytes:
        self._called = True
        block = f"tool {event.index}"
        id = event.id or _call_id(self._id, event.index)
        content = {"type": "tool_use", "id": id, "name": event.name or "", "input": {}}
        opened = self._to(block, content)
        if not event.arguments:
            return opened
        delta = {"type": "input_json_delta", "partial_json": event.arguments}
        return opened + self._delta(block, delta)

    def _to(self, block: str, content: dict[str, Any]) -> bytes:
        """Go on in ``block``; others are closed first, but for tool calls beside each other."""
        if block in self._open:
            return b""
        beside = content["type"] == "tool_use" and self._open.keys().isdisjoint(_ALONE)
        closed = b"" if beside else self._close()
        index = self._open[block] = self._blocks
        self._blocks += 1
        self._head = _TEXT_HEAD % index
        start = {"type": "content_block_start", "index": index, "content_block": content}
        return closed + frame(start)

    def _close(self) -> bytes:
        opened, self._open = self._open, {}
        return b"".join(
            frame({"type": "content_block_stop", "index": index}) for index in opened.values()
        )

    def _delta(self, block: str, delta: dict[str, Any]) -> bytes:
        index = self._open[block]
        return frame({"type": "content_block_delta", "index": index, "delta": delta})

    def finished(self, end: Finished, choice: int) -> bytes:
        """The last block closed, and why it ended."""
        notes = b"".join(warning(notice.code, notice.detail) for notice in end.warnings)
        delta = stop_reason_of(end.finish_reason, called=self._called)
        empty = b"" if self._blocks else self._to("text", {"type": "text", "text": ""})
        return (
            notes
            + empty
            + self._close()
            + frame({"type": "message_delta", "delta": delta, "usage": _usage(end.usage)})
        )

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """The end mark."""
        return frame({"type": "message_stop"})

    def failed(self, failure: Failure) -> bytes:
        """The error event; no end mark follows."""
        return b"event: error\ndata: " + self.refused(failure) + b"\n\n"

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The message."""
        (reply,) = replies
        content: list[dict[str, Any]] = []
        if reply.reasoning:
            content.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
        if reply.text or not reply.tool_calls:
            content.append({"type": "text", "text": reply.text})
        content += [
            {
                "type": "tool_use",
                "id": call.id or _call_id(self._id, number),
                "name": call.name,
                "input": _input(call.arguments),
            }
            for number, call in enumerate(reply.tool_calls)
        ]
        reason = stop_reason_of(reply.finish_reason, called=bool(reply.tool_calls))
        return _encode(self._message(content, reason, reply.usage))

    def refused(self, failure: Failure) -> bytes:
        """Anthropic's error body."""
        return error_body(failure, self._request_id)

    def _message(
        self,
        content: list[dict[str, Any]],
        reason: dict[str, str | None],
        usage: Usage | None,
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            **reason,
            "usage": _usage(usage),
        }


def _usage(usage: Usage | None) -> dict[str, Any]:
    """The counts; null where nobody counted."""
    counts = usage or Usage()
    made = {"input_tokens": counts.prompt_tokens, "output_tokens": counts.completion_tokens}
    return {**made, "estimated": True} if counts.estimated else made


def _call_id(id: str, index: int) -> str:
    """An id for a tool call that came without one: its result must be able to name it."""
    return f"toolu_{index}_{id.removeprefix('msg_')}"


def _input(arguments: str) -> dict[str, Any]:
    """The arguments as the object that clients expect; what is none is kept as text."""
    try:
        value = _decode(arguments) if arguments else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}
