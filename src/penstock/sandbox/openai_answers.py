"""What an OpenAI-compatible server answers: chunks, whole completions, tool calls.

Shapes and order: openai-surface.md sections 1 and 2.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.sandbox.openai_body import Body
from penstock.sandbox.run import Run
from penstock.sandbox.script import Piece, Thought

DONE = b"data: [DONE]\n\n"
_ARGUMENTS_PIECE = 7


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call the model makes, where the request offers that tool.

    Attributes:
        name: Name of the function.
        arguments: Its arguments, as the JSON text that is sent.
        when: Regular expression that the question must hold.
    """

    name: str
    arguments: str = "{}"
    when: str = ""


class Usage(msgspec.Struct, frozen=True):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class StopCut:
    """Leaves out the stop text and what follows: what may be its beginning is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._over = False

    def feed(self, text: str) -> str:
        """Give what can be shown now."""
        if self._over or not self._stops:
            return "" if self._over else text
        held = self._held + text
        places = [place for place in map(held.find, self._stops) if place >= 0]
        if places:
            self._over, self._held = True, ""
            return held[: min(places)]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """Give what was held back for nothing."""
        held, self._held = self._held, ""
        return held


class Chunks:
    """The chunks of one streamed answer: same id, time and model in each."""

    def __init__(self, ident: str, body: Body) -> None:
        self._cut = StopCut(body.stops)
        self._with_usage = body.with_usage
        self._head = {
            "id": ident,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.model,
        }

    def first(self, content: str | None = "") -> bytes:
        """The chunk with the role."""
        return self._delta({"role": "assistant", "content": content})

    def piece(self, piece: Piece) -> bytes:
        """The chunk of a piece; nothing while it is held back."""
        if isinstance(piece, Thought):
            return self._delta({"reasoning_content": piece.text})
        shown = self._cut.feed(piece)
        return self._delta({"content": shown}) if shown or not piece else b""

    def calls(self, calls: Sequence[dict[str, object]]) -> Iterator[bytes]:
        """The chunks of tool calls: the name once, then the arguments in pieces."""
        for index, call in enumerate(calls):
            function = call["function"]
            assert isinstance(function, dict)
            name, arguments = str(function["name"]), str(function["arguments"])
            opened = {**call, "function": {"name": name, "arguments": ""}}
            yield self._delta({"tool_calls": [{"index": index, **opened}]})
            for start in range(0, len(arguments), _ARGUMENTS_PIECE):
                part = {"arguments": arguments[start : start + _ARGUMENTS_PIECE]}
                yield self._delta({"tool_calls": [{"index": index, "function": part}]})

    def last(self, finish: str | None, usage: Usage) -> bytes:
        """What was held back, the chunk with the finish reason, the usage, the end mark."""
        held = self._cut.end()
        parts = [self._delta({"content": held})] if held else []
        parts.append(self._delta({}, finish))
        if self._with_usage:
            parts.append(sse({**self._head, "choices": [], "usage": usage}))
        return b"".join([*parts, DONE])

    def _delta(self, delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        tail = {"usage": None} if self._with_usage else {}
        return sse({**self._head, "choices": [choice], **tail})


def whole_message(body: Body, run: Run) -> dict[str, object]:
    """The message of an answer that is not streamed."""
    cut = StopCut(body.stops)
    content = cut.feed(run.text) + cut.end()
    message: dict[str, object] = {"role": "assistant", "content": content, "refusal": None}
    if thoughts := "".join(p.text for p in run.pieces if isinstance(p, Thought)):
        message["reasoning_content"] = thoughts
    return message


def completion(
    ident: str, body: Body, message: Mapping[str, object], finish: str | None, usage: Usage
) -> dict[str, object]:
    """An answer that is not streamed."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {
        "id": ident,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": [choice],
        "usage": usage,
    }


def usage_of(body: Body, said: int) -> Usage:
    """The counts of a request and as many tokens said."""
    return Usage(body.words, said, body.words + said)


def calls_of(body: Body, scripted: Sequence[ToolCall]) -> list[dict[str, object]]:
    """The calls that answer a request, none where the model speaks.

    A scripted call is made where its tool is offered and the question fits; the result of a
    call is answered in words. A named choice is obeyed without a script, too.
    """
    if not body.messages or body.messages[-1].role == "tool":
        return []
    offered, question = body.offered, body.prompt().question
    forced = body.tool_choice if not isinstance(body.tool_choice, str) else None
    if forced is not None:
        named = [call for call in scripted if call.name == forced.function.name]
        made = named[:1] or [ToolCall(forced.function.name)]
    else:
        made = [
            call for call in scripted if call.name in offered and re.search(call.when, question)
        ]
        if body.tool_choice == "required" and not made:
            made = [ToolCall(name) for name in offered[:1]]
    return [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(made, 1)
    ]


def sse(value: object) -> bytes:
    """One event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
