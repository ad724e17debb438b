"""``POST /v1/responses``: events to the ordered events of a response, replies to bodies. Pure.

Source: ``openai-surface.md`` section 4: helpers need created, item added, part added, deltas and
completed in this order, each with its ``sequence_number``.

Laws: an item is opened by its first piece and closed before one of another kind is opened; only
tool calls may be open beside each other, for their pieces may come in turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.responses_items import (
    Item,
    Kind,
    item_of,
    items_of,
    response_of,
    status_of,
    summary,
    text_part,
)
from penstock.gateway.surfaces.surface import comment, warning
from penstock.types import Event, Finished, Reasoning, Reply, Text, ToolCall, Usage, Waiting

_encode = msgspec.json.Encoder().encode

REPEATED = (
    "instructions",
    "metadata",
    "max_output_tokens",
    "parallel_tool_calls",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
"""Members of a request that the response repeats."""

_TEXT_HEAD = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,'
)


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
        self._facts = {"id": id, "model": model, "created_at": created}
        self._asked = asked
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._open: dict[str, Item] = {}
        self._text_place = b""

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
            return self._text(event.text)
        if isinstance(event, Reasoning):
            opened, item = self._to("reasoning")
            name = "response.reasoning_summary_text.delta"
            return opened + self._delta(name, item, event.text, summary_index=0)
        if isinstance(event, ToolCall):
            opened, item = self._to("function_call", event)
            if not event.arguments:
                return opened
            name = "response.function_call_arguments.delta"
            return opened + self._delta(name, item, event.arguments)
        return comment(event) if isinstance(event, Waiting) else b""

    def _text(self, text: str) -> bytes:
        """The frame of most events, at the price of encoding its text."""
        item, opened = self._open.get("message"), b""
        if item is None:
            opened, item = self._to("message")
            place = {"item_id": item.id, "output_index": item.number, "content_index": 0}
            self._text_place = _encode({**place, "logprobs": []})[1:-1] + b',"delta":'
        item.pieces.append(text)
        number, self._number = self._number, self._number + 1
        return opened + _TEXT_HEAD % number + self._text_place + _encode(text) + b"}\n\n"

    def _delta(self, name: str, item: Item, text: str, **place: int) -> bytes:
        item.pieces.append(text)
        return self._of(name, item, **place, delta=text)

    def _to(self, kind: Kind, call: ToolCall | None = None) -> tuple[bytes, Item]:
        """Go on in the item of that kind, or of that call; others are closed first."""
        key = kind if call is None else f"{kind} {call.index}"
        item = self._open.get(key)
        if item is not None:
            return b"", item
        apart = call is None or any(other.kind != kind for other in self._open.values())
        closed = self._close() if apart else b""
        item = self._open[key] = item_of(kind, len(self._items), self._id, call)
        shown = item.shown("in_progress")
        self._items.append(shown)
        added = "response.output_item.added"
        opened = closed + self._frame(added, output_index=item.number, item=shown)
        if kind == "message":
            part = {"content_index": 0, "part": text_part("")}
            opened += self._of("response.content_part.added", item, **part)
        elif kind == "reasoning":
            part = {"summary_index": 0, "part": summary("")}
            opened += self._of("response.reasoning_summary_part.added", item, **part)
        return opened, item

    def _close(self) -> bytes:
        return b"".join(self._closed(self._open.pop(key)) for key in list(self._open))

    def _closed(self, item: Item) -> bytes:
        text = item.text
        shown = self._items[item.number] = item.shown("completed")
        if item.kind == "message":
            place = {"content_index": 0}
            done = self._of("response.output_text.done", item, **place, text=text, logprobs=[])
            done += self._of("response.content_part.done", item, **place, part=text_part(text))
        elif item.kind == "reasoning":
            name, place = "response.reasoning_summary_text.done", {"summary_index": 0}
            done = self._of(name, item, **place, text=text)
            name = "response.reasoning_summary_part.done"
            done += self._of(name, item, **place, part=summary(text))
        else:
            name = "response.function_call_arguments.done"
            done = self._of(name, item, name=shown["name"], arguments=text)
        return done + self._frame("response.output_item.done", output_index=item.number, item=shown)

    def finished(self, end: Finished, choice: int) -> bytes:
        """The last item closed."""
        notes = b"".join(warning(notice.code, notice.detail) for notice in end.warnings)
        return notes + (b"" if self._items else self._to("message")[0]) + self._close()

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """The whole response once more, as it ended."""
        (end,) = ends
        status = status_of(end.finish_reason)
        response = self._response(status, end.usage, end.finish_reason)
        return self._frame(f"response.{status}", response=response)

    def failed(self, failure: Failure) -> bytes:
        """The failed response, then an error that every client raises; nothing follows."""
        for item in self._open.values():
            self._items[item.number] = item.shown("incomplete")
        error = {"code": failure.code or failure.type, "message": failure.message}
        response = {**self._response("failed"), "error": error}
        told = msgspec.json.decode(failure.body())["error"]
        return self._frame("response.failed", response=response) + self._frame(
            "error", **error, param=failure.param, error=told
        )

    def _of(self, event: str, item: Item, /, **members: Any) -> bytes:
        place = {"item_id": item.id, "output_index": item.number}
        return self._frame(event, **place, **members)

    def _frame(self, event: str, /, **members: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        told = {"type": event, "sequence_number": number, **members}
        return b"event: " + event.encode() + b"\ndata: " + _encode(told) + b"\n\n"

    # -- whole ---------------------------------------------------------------------------------

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The response."""
        (reply,) = replies
        self._items = items_of(reply, self._id)
        status = status_of(reply.finish_reason)
        return _encode(self._response(status, reply.usage, reply.finish_reason))

    def refused(self, failure: Failure) -> bytes:
        """OpenAI's error body."""
        return failure.body()

    def _response(
        self, status: str, usage: Usage | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        return response_of(
            self._facts, self._asked, status, self._items, usage=usage, reason=reason
        )
