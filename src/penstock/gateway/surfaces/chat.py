"""``POST /v1/chat/completions``: bodies to questions, events to chunks. Pure.

Source: ``openai-surface.md`` sections 1 and 2. A frame of the stream is one precomputed head, the
JSON string of the piece, and one precomputed tail: the stream is written at the price of encoding
its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.surface import comment, warning
from penstock.types import (
    Event,
    Finished,
    Reasoning,
    Reply,
    Text,
    ToolCall,
    ToolCallPart,
    Usage,
    Waiting,
)

_encode = msgspec.json.Encoder().encode
_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_NEAREST = {
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
}
"""Words of other servers -> OpenAI's."""
DONE = b"data: [DONE]\n\n"


def reason_of(reason: str | None, *, called: bool = False) -> str:
    """The nearest of OpenAI's finish reasons; ``stop`` where the back end has another word.

    Args:
        called: the answer holds tool calls, which is the reason where the back end names none.
    """
    if reason in _REASONS:
        return str(reason)
    if reason is None and called:
        return "tool_calls"
    return _NEAREST.get((reason or "").lower(), "stop")


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """OpenAI's ``usage``; None where one of the counts is not known: a 0 would be made up."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    made: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.total_tokens or prompt + completion,
    }
    if usage.estimated:
        made["estimated"] = True
    return made


def joined_usage(usages: Sequence[Usage | None]) -> Usage | None:
    """The usage of several choices; unknown as soon as one is."""
    if len(usages) == 1:
        return usages[0]
    known = [usage for usage in usages if usage is not None]
    prompts = [usage.prompt_tokens for usage in known if usage.prompt_tokens is not None]
    completions = [u.completion_tokens for u in known if u.completion_tokens is not None]
    if not len(prompts) == len(completions) == len(usages):
        return None
    return Usage(
        prompt_tokens=sum(prompts),
        completion_tokens=sum(completions),
        estimated=any(usage.estimated for usage in known),
    )


class ChatWriter:
    """The chunks, or the one body, of a chat completion.

    Args:
        id: ``chatcmpl-...``.
        model: the name that was asked for.
        created: seconds since 1970.
        usage: the caller asked for ``stream_options.include_usage``.
        copies: choices of the answer.
    """

    def __init__(self, id: str, model: str, created: int, *, usage: bool, copies: int = 1) -> None:
        self._usage = usage
        self._id, self._model, self._created = id, model, created
        self._named: dict[tuple[int, int], bool] = {}
        self._copies = copies

    def opening(self) -> bytes:
        """The role of each choice, once."""
        facts = {"id": self._id, "object": "chat.completion.chunk", "created": self._created}
        model = _encode(self._model)
        self._front = b"data: " + _encode(facts)[:-1] + b',"model":' + model + b',"choices":['
        unknown = b',"usage":null}\n\n' if self._usage else b"}\n\n"
        self._close = b"]" + unknown
        indexes = range(self._copies)
        self._heads = [self._front + b'{"index":%d,"delta":' % index for index in indexes]
        self._tail = b',"logprobs":null,"finish_reason":null}' + self._close
        self._text_heads = [head + b'{"content":' for head in self._heads]
        self._text_tail = b"}" + self._tail
        return b"".join(
            head + b'{"role":"assistant","content":""}' + self._tail for head in self._heads
        )

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """One chunk for each piece."""
        head, tail = self._text_heads[choice], self._text_tail
        if len(events) == 1 and type(events[0]) is Text:
            return head + _encode(events[0].text) + tail
        parts: list[bytes] = []
        for event in events:
            if type(event) is Text:
                parts += (head, _encode(event.text), tail)
            else:
                parts.append(self._other(event, choice))
        return b"".join(parts)

    def _other(self, event: Event, choice: int) -> bytes:
        if isinstance(event, Reasoning):
            return self._delta({"reasoning_content": event.text}, choice)
        if isinstance(event, ToolCall):
            return self._delta({"tool_calls": [self._tool_delta(event, choice)]}, choice)
        if isinstance(event, Waiting):
            return comment(event)
        return b""

    def _delta(self, delta: dict[str, Any], choice: int) -> bytes:
        return self._heads[choice] + _encode(delta) + self._tail

    def _tool_delta(self, event: ToolCall, choice: int) -> dict[str, Any]:
        """Id, type and name once for each call, whatever the back end repeats or leaves out."""
        place = choice, event.index
        function: dict[str, Any] = {"arguments": event.arguments}
        named = self._named.get(place)
        self._named[place] = bool(named or event.name)
        if event.name and not named:
            function = {"name": event.name, **function}
        made: dict[str, Any] = {"index": event.index}
        if named is None:
            made |= {"id": event.id or _call_id(self._id, choice, event.index), "type": "function"}
        return {**made, "function": function}

    def finished(self, end: Finished, choice: int) -> bytes:
        """An empty delta with the finish reason."""
        notes = b"".join(warning(notice.code, notice.detail) for notice in end.warnings)
        called = any(place[0] == choice for place in self._named)
        reason = _encode(reason_of(end.finish_reason, called=called))
        return (
            notes
            + self._heads[choice]
            + b'{},"logprobs":null,"finish_reason":'
            + reason
            + b"}"
            + self._close
        )

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """The usage, if it was asked for, and the end mark."""
        if not self._usage:
            return DONE
        usage = usage_of(joined_usage([end.usage for end in ends]))
        return self._front + b'],"usage":' + _encode(usage) + b"}\n\n" + DONE

    def failed(self, failure: Failure) -> bytes:
        """The error event; no end mark follows."""
        return b"data: " + failure.body() + b"\n\n"

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The ``chat.completion`` object."""
        return _encode(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model,
                "choices": [_choice(reply, at, self._id) for at, reply in enumerate(replies)],
                "usage": usage_of(joined_usage([reply.usage for reply in replies])),
            }
        )

    def refused(self, failure: Failure) -> bytes:
        """OpenAI's error body."""
        return failure.body()


def _call_id(id: str, choice: int, index: int) -> str:
    """An id for a tool call that came without one: its result must be able to name it."""
    return f"call_{choice}_{index}_{id.removeprefix('chatcmpl-')}"


def _choice(reply: Reply, index: int, id: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [
            _tool_call(call, _call_id(id, index, number))
            for number, call in enumerate(reply.tool_calls)
        ]
        message["content"] = reply.text or None
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": reason_of(reply.finish_reason, called=bool(reply.tool_calls)),
    }


def _tool_call(call: ToolCallPart, id: str) -> dict[str, Any]:
    return {
        "id": call.id or id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
