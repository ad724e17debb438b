"""``POST /v1/responses``: events to the ordered events of a response, replies to bodies. Pure.

Source: ``openai-surface.md`` section 4: helpers need created, item added, part added, deltas and
completed in this order, each with its ``sequence_number``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.chat import usage_of
from penstock.gateway.surfaces.surface import comment, warning
from penstock.types import Event, Finished, Reasoning, Reply, Text, ToolCall, Usage, Waiting

_encode = msgspec.json.Encoder().encode

REPEATED = (
    "instructions",
    "metadata",
    "max_output_tokens",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
"""Members of a request that the response repeats."""


class ResponsesWriter:
    """The events, or the one body, of a response.

    Args:
        id: ``resp_...``; the ids of its items are made from it.
        model: the name that was asked for.
        created: seconds since 1970.
        asked: members of the request that the answer repeats.
    """

    def __init__(self, id: str, model: str, created: int, asked: dict[str, Any]) -> None:
        self._id = id
        self._model = model
        self._created = created
        self._asked = asked
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._open: str | None = None
        self._pieces: list[str] = []

    # -- streamed ------------------------------------------------------------------------------

    def opening(self) -> bytes:
        """The response, still empty."""
        empty = self._response("in_progress")
        return self._frame("response.created", response=empty) + self._frame(
            "response.in_progress", response=empty
        )

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """A delta for each piece, items opened and closed around them."""
        return b"".join(self._event(event) for event in events)

    def _event(self, event: Event) -> bytes:
        if isinstance(event, Text):
            return self._to("message") + self._delta("response.output_text.delta", event.text)
        if isinstance(event, Reasoning):
            return self._to("reasoning") + self._delta(
                "response.reasoning_summary_text.delta", event.text
            )
        if isinstance(event, ToolCall):
            opened = self._to(f"function_call {event.index}", event)
            if not event.arguments:
                return opened
            return opened + self._delta("response.function_call_arguments.delta", event.arguments)
        return comment(event) if isinstance(event, Waiting) else b""

    def _delta(self, name: str, text: str) -> bytes:
        self._pieces.append(text)
        return self._frame(name, **self._place(name), delta=text)

    def _place(self, name: str) -> dict[str, Any]:
        place: dict[str, Any] = {
            "item_id": self._items[-1]["id"],
            "output_index": len(self._items) - 1,
        }
        if "summary" in name:
            place["summary_index"] = 0
        elif "text" in name or "content_part" in name:
            place["content_index"] = 0
        return place

    def _to(self, item: str, call: ToolCall | None = None) -> bytes:
        """Go on in ``item``; another one that is open is closed first."""
        if self._open == item:
            return b""
        closed = self._close()
        self._open, self._pieces = item, []
        kind = item.partition(" ")[0]
        number = len(self._items)
        added = _item(kind, f"{kind[:3]}_{number}_{self._id}", "in_progress", call)
        self._items.append(added)
        opened = self._frame("response.output_item.added", output_index=number, item=added)
        if kind == "message":
            name = "response.content_part.added"
            opened += self._frame(name, **self._place(name), part=_text_part(""))
        elif kind == "reasoning":
            name = "response.reasoning_summary_part.added"
            opened += self._frame(name, **self._place(name), part=_summary(""))
        return closed + opened

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        kind, text = self._open.partition(" ")[0], "".join(self._pieces)
        self._open = None
        item = self._items[-1]
        item = {**item, "status": "completed"} if kind != "reasoning" else dict(item)
        if kind == "message":
            item["content"] = [_text_part(text)]
            frames = self._done("response.output_text.done", text=text, logprobs=[])
            frames += self._done("response.content_part.done", part=_text_part(text))
        elif kind == "reasoning":
            item["summary"] = [_summary(text)]
            frames = self._done("response.reasoning_summary_text.done", text=text)
            frames += self._done("response.reasoning_summary_part.done", part=_summary(text))
        else:
            item["arguments"] = text
            frames = self._done("response.function_call_arguments.done", arguments=text)
        self._items[-1] = item
        number = len(self._items) - 1
        return frames + self._frame("response.output_item.done", output_index=number, item=item)

    def _done(self, name: str, **members: Any) -> bytes:
        return self._frame(name, **self._place(name), **members)

    def finished(self, end: Finished, choice: int) -> bytes:
        """The last item closed."""
        notes = b"".join(warning(notice.code, notice.detail) for notice in end.warnings)
        return notes + (b"" if self._items else self._to("message")) + self._close()

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """The whole response once more, as it ended."""
        (end,) = ends
        status = _status(end.finish_reason)
        response = self._response(status, self._items, end.usage)
        return self._frame(f"response.{status}", response=response)

    def failed(self, failure: Failure) -> bytes:
        """The failed response, then an error that every client raises; nothing follows."""
        error = {"code": failure.code or failure.type, "message": failure.message}
        response = {**self._response("failed", self._items), "error": error}
        told = msgspec.json.decode(failure.body())["error"]
        return self._frame("response.failed", response=response) + self._frame(
            "error",
            **error,
            param=failure.param,
            error=told,
        )

    def _frame(self, name: str, **members: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        event = {"type": name, "sequence_number": number, **members}
        return b"event: " + name.encode() + b"\ndata: " + _encode(event) + b"\n\n"

    # -- whole ---------------------------------------------------------------------------------

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The response."""
        (reply,) = replies
        items: list[dict[str, Any]] = []
        if reply.reasoning:
            items.append(_item("reasoning", f"rea_0_{self._id}", "completed"))
            items[-1]["summary"] = [_summary(reply.reasoning)]
        if reply.text or not reply.tool_calls:
            items.append(_item("message", f"mes_{len(items)}_{self._id}", "completed"))
            items[-1]["content"] = [_text_part(reply.text)]
        for call in reply.tool_calls:
            part = ToolCall(id=call.id, name=call.name)
            id = f"fun_{len(items)}_{self._id}"
            items.append(_item("function_call", id, "completed", part))
            items[-1]["arguments"] = call.arguments
        return _encode(self._response(_status(reply.finish_reason), items, reply.usage))

    def refused(self, failure: Failure) -> bytes:
        """OpenAI's error body."""
        return failure.body()

    def _response(
        self, status: str, items: Sequence[dict[str, Any]] = (), usage: Usage | None = None
    ) -> dict[str, Any]:
        counts = usage_of(usage)
        short = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": short,
            "instructions": None,
            "metadata": {},
            "max_output_tokens": None,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            **self._asked,
            "model": self._model,
            "output": list(items),
            "store": False,
            "usage": _usage(counts),
        }


def _status(reason: str | None) -> str:
    return "incomplete" if reason == "length" else "completed"


def _usage(counts: dict[str, Any] | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    made = {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts["total_tokens"],
    }
    return {**made, "estimated": True} if counts.get("estimated") else made


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _item(kind: str, id: str, status: str, call: ToolCall | None = None) -> dict[str, Any]:
    if kind == "message":
        return {"id": id, "type": kind, "role": "assistant", "status": status, "content": []}
    if kind == "reasoning":
        return {"id": id, "type": kind, "summary": []}
    assert call is not None
    return {
        "id": id,
        "type": kind,
        "status": status,
        "call_id": call.id or id,
        "name": call.name or "",
        "arguments": "",
    }
