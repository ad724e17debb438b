"""The objects of ``POST /v1/responses``: the response, its items, their parts. Pure.

Source: ``openai-surface.md`` section 4; members as OpenAI's published schema requires them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from penstock.gateway.surfaces.chat import reason_of, usage_of
from penstock.types import Reply, ToolCall, Usage

Kind = Literal["message", "reasoning", "function_call"]
_MARKS: dict[Kind, str] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
"""Beginnings of ids, by which clients and servers tell items apart."""
_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of an answer that is not complete -> OpenAI's word for it here."""


class Item(msgspec.Struct):
    """One item of the output while it is written.

    Attributes:
        call: the first piece of a tool call.
        pieces: text, reasoning or arguments as they came.
    """

    kind: Kind
    id: str
    number: int
    call: ToolCall | None = None
    pieces: list[str] = []

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self.pieces)

    def shown(self, status: str) -> dict[str, Any]:
        """The item as the client sees it."""
        made: dict[str, Any] = {"id": self.id, "type": self.kind}
        if self.kind == "reasoning":
            made["summary"] = [summary(self.text)] if self.pieces else []
            return made
        made["status"] = status
        if self.kind == "message":
            made |= {"role": "assistant", "content": [text_part(self.text)]}
            if status == "in_progress":
                made["content"] = []
            return made
        call = self.call or ToolCall()
        facts = {"call_id": call.id or f"call_{self.id}", "name": call.name or ""}
        return {**made, **facts, "arguments": self.text}


def item_of(kind: Kind, number: int, response_id: str, call: ToolCall | None = None) -> Item:
    """A new item with an id of its own."""
    rest = response_id.removeprefix("resp_")
    return Item(kind, f"{_MARKS[kind]}_{rest}{number:02d}", number, call)


def items_of(reply: Reply, response_id: str) -> list[dict[str, Any]]:
    """The items of a whole answer."""
    items: list[Item] = []
    if reply.reasoning:
        items.append(item_of("reasoning", 0, response_id))
        items[-1].pieces = [reply.reasoning]
    if reply.text or not reply.tool_calls:
        items.append(item_of("message", len(items), response_id))
        items[-1].pieces = [reply.text]
    for call in reply.tool_calls:
        part = ToolCall(id=call.id, name=call.name)
        items.append(item_of("function_call", len(items), response_id, part))
        items[-1].pieces = [call.arguments]
    return [item.shown("completed") for item in items]


def text_part(text: str) -> dict[str, Any]:
    """The one part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def summary(text: str) -> dict[str, Any]:
    """The one part of a reasoning item."""
    return {"type": "summary_text", "text": text}


def status_of(reason: str | None) -> str:
    """``incomplete`` where the answer was cut short, else ``completed``."""
    return "incomplete" if reason_of(reason) in _SHORT else "completed"


def response_of(
    facts: dict[str, Any],
    asked: dict[str, Any],
    status: str,
    items: Sequence[dict[str, Any]] = (),
    *,
    usage: Usage | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The response.

    Args:
        facts: id, model and instant.
        asked: members of the request that are repeated.
        reason: why the answer ended.
    """
    short = _SHORT.get(reason_of(reason)) if status == "incomplete" else None
    return {
        "object": "response",
        "error": None,
        "incomplete_details": None if short is None else {"reason": short},
        "instructions": None,
        "metadata": {},
        "max_output_tokens": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        **asked,
        **facts,
        "status": status,
        "output": list(items),
        "store": False,
        "usage": _usage(usage_of(usage)),
    }


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
