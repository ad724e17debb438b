"""``POST /v1/messages`` (Anthropic's): events to named server-sent events, replies to bodies. Pure.

Source: ``openai-surface.md`` section 4: the ``event:`` line is mandatory, content comes in blocks
that are opened and closed, and errors have a shape of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.gateway.errors import Failure
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


def stop_reason_of(reason: str | None) -> str:
    """Anthropic's word for why the answer ended."""
    return _REASONS.get(reason or "", "end_turn")


class MessagesWriter:
    """The events, or the one body, of a message.

    Args:
        id: ``msg_...``.
        model: the name that was asked for.
        request_id: goes into error bodies.
    """

    def __init__(self, id: str, model: str, request_id: str) -> None:
        self._id = id
        self._model = model
        self._request_id = request_id
        self._index = -1
        self._block: str | None = None
        self._head = b""

    def opening(self) -> bytes:
        """The message, still empty."""
        return frame({"type": "message_start", "message": self._message([], None, None)})

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """A delta for each piece, blocks opened and closed around them."""
        if len(events) == 1 and type(events[0]) is Text and self._block == "text":
            return self._head + _encode(events[0].text) + _TEXT_TAIL
        return b"".join(self._event(event) for event in events)

    def _event(self, event: Event) -> bytes:
        if isinstance(event, Text):
            opened = self._open("text", {"type": "text", "text": ""})
            return opened + self._head + _encode(event.text) + _TEXT_TAIL
        if isinstance(event, Reasoning):
            opened = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            return opened + self._delta({"type": "thinking_delta", "thinking": event.text})
        if isinstance(event, ToolCall):
            block = {
                "type": "tool_use",
                "id": event.id or "",
                "name": event.name or "",
                "input": {},
            }
            opened = self._open(f"tool {event.index}", block)
            if not event.arguments:
                return opened
            return opened + self._delta(
                {"type": "input_json_delta", "partial_json": event.arguments}
            )
        return comment(event) if isinstance(event, Waiting) else b""

    def _open(self, block: str, content: dict[str, Any]) -> bytes:
        if self._block == block:
            return b""
        closed = self._close()
        self._block = block
        self._index += 1
        self._head = _TEXT_HEAD % self._index
        start = {"type": "content_block_start", "index": self._index, "content_block": content}
        return closed + frame(start)

    def _close(self) -> bytes:
        if self._block is None:
            return b""
        self._block = None
        return frame({"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def finished(self, end: Finished, choice: int) -> bytes:
        """The last block closed, and why it ended."""
        notes = b"".join(warning(notice.code, notice.detail) for notice in end.warnings)
        delta = {"stop_reason": stop_reason_of(end.finish_reason), "stop_sequence": None}
        return (
            notes
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
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
            for call in reply.tool_calls
        ]
        reason = stop_reason_of(reply.finish_reason)
        return _encode(self._message(content, reason, reply.usage))

    def refused(self, failure: Failure) -> bytes:
        """Anthropic's error body."""
        return error_body(failure, self._request_id)

    def _message(
        self, content: list[dict[str, Any]], reason: str | None, usage: Usage | None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": _usage(usage),
        }


def _usage(usage: Usage | None) -> dict[str, Any]:
    """The counts; null where nobody counted."""
    counts = usage or Usage()
    return {"input_tokens": counts.prompt_tokens, "output_tokens": counts.completion_tokens}


def _input(arguments: str) -> Any:
    try:
        return _decode(arguments) if arguments else {}
    except msgspec.DecodeError:
        return {"arguments": arguments}
