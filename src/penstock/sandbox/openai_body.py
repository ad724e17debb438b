"""Requests for chat completions: what is read of them and what is refused.

Statuses, types and params are those of openai-surface.md section 3.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from penstock.sandbox.script import Message, Prompt

INVALID = "invalid_request_error"
_MISSING = re.compile(r"required field `([^`]+)`")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


class Refusal(msgspec.Struct, frozen=True):
    """A request that is answered with an error."""

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error in OpenAI's shape: all four members, always."""
        said = {"message": self.message, "type": self.type, "param": self.param}
        return {"error": {**said, "code": self.code}}


class Part(msgspec.Struct):
    """A part of a message; pictures and sounds are accepted and not looked at."""

    type: str
    text: str = ""


class Asked(msgspec.Struct):
    """A message of the request."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Function(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    function: _Function


class Body(msgspec.Struct):
    """What is looked at of a request; the rest is accepted as real servers accept it."""

    model: str
    messages: list[Asked]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    n: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Tool | None = None

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        given = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(one for one in given if one)

    @property
    def offered(self) -> list[str]:
        """Names of the tools that may be called."""
        if self.tool_choice == "none":
            return []
        return [tool.function.name for tool in self.tools or []]

    @property
    def words(self) -> int:
        """Words of the chat: they stand for its tokens."""
        return sum(len(_text(asked).split()) for asked in self.messages)

    def prompt(self) -> Prompt:
        """What the model is asked."""
        return Prompt(
            messages=tuple(Message(asked.role, _text(asked)) for asked in self.messages),
            model=self.model,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops,
        )


def read_body(data: bytes) -> Body | Refusal:
    """Read a request; what is wrong is named in ``param`` where it has a name."""
    try:
        return msgspec.json.decode(data, type=Body)
    except msgspec.ValidationError as problem:
        said = str(problem)
        place, missing = _PLACE.search(said), _MISSING.search(said)
        parts = [found[1] for found in (place, missing) if found and found[1]]
        return Refusal(400, said, param=".".join(parts) or None)
    except msgspec.DecodeError as problem:
        return Refusal(400, f"We could not parse the JSON body of your request: {problem}")


def refusal_of(body: Body, models: tuple[str, ...], context: int) -> Refusal | None:
    """Say why a request is refused, or None where it is not."""
    if body.model not in models:
        message = f"The model `{body.model}` does not exist"
        return Refusal(404, message, param="model", code="model_not_found")
    if not body.messages:
        return Refusal(400, "[] is too short - 'messages'", param="messages")
    if body.temperature is not None and not 0 <= body.temperature <= 2:
        message = f"Invalid 'temperature': {body.temperature} is not between 0 and 2."
        return Refusal(400, message, param="temperature")
    if body.n not in (None, 1):
        return Refusal(400, "Invalid 'n': this model gives one choice.", param="n")
    if len(body.stops) > 4:
        message = f"Invalid 'stop': at most 4, got {len(body.stops)}."
        return Refusal(400, message, param="stop")
    limit = body.max_completion_tokens or body.max_tokens
    if limit is not None and limit < 1:
        return Refusal(400, "Invalid 'max_tokens': at least 1.", param="max_tokens")
    if body.words > context:
        message = f"This model's maximum context length is {context} tokens."
        return Refusal(400, message, param="messages", code="context_length_exceeded")
    return None


def _text(asked: Asked) -> str:
    if isinstance(asked.content, list):
        return "".join(part.text for part in asked.content if part.type == "text")
    return asked.content or ""
