"""The body of ``POST /v1/chat/completions``: what it may hold, and what becomes of it. Pure.

A parameter is honoured, by the back end or here, or it is refused with its name; nothing is
dropped in silence. Where the upstream speaks OpenAI's protocol itself, everything that does not
change the shape of the answer goes on as it came (``decisions``: unknown fields are forwarded
there, refused elsewhere).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from penstock.gateway.surfaces.body import ModelName, converted
from penstock.gateway.surfaces.honoured import Chooser, stop_texts
from penstock.gateway.surfaces.surface import Asked, wrong
from penstock.prompts import parse_messages
from penstock.types import Capabilities, ChatRequest, Sampling, Tool

MAX_COPIES = 16
MAX_STOPS = 4

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "typical_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)
_SAMPLING_NAMES = frozenset(_SAMPLING)
_OURS = frozenset(
    {"model", "stream", "stream_options", "n", "stop", "max_tokens", "max_completion_tokens"}
    | _SAMPLING_NAMES
)
_UNSHOWN: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "web_search_options": (None,),
}
"""Parameters whose effect on the shape of the answer is not relayed -> harmless values."""
_IDLE: dict[str, tuple[Any, ...]] = {
    "user": (),
    "metadata": (),
    "safety_identifier": (),
    "prompt_cache_key": (),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
    "parallel_tool_calls": (None, True),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "logit_bias": (None, {}),
    "reasoning_effort": (None,),
    "verbosity": (None,),
}
"""Parameters without effect on the answer -> the values for which that is so; () for any."""

_KEPT_BACK = _OURS | _UNSHOWN.keys()

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class StreamOptions(msgspec.Struct):
    """``stream_options``."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: str = "function"


class ChatBody(msgspec.Struct):
    """The members that this gateway knows; the rest is in ``given``."""

    model: ModelName
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: _Positive | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None

    @property
    def include_usage(self) -> bool:
        """The caller wants the usage at the end of the stream."""
        return bool(self.stream_options and self.stream_options.include_usage)


_KNOWN = frozenset(ChatBody.__struct_fields__)


def read_chat(given: Mapping[str, Any], max_messages: int) -> ChatBody:
    """The typed part of a body.

    Raises:
        BadRequestError: a member is missing, wrong, or over a limit; ``param`` names it.
    """
    body = converted(given, ChatBody)
    if len(body.messages) > max_messages:
        raise wrong(f"messages holds more than {max_messages} messages", "messages")
    if body.n is not None and body.n > MAX_COPIES:
        raise wrong(f"n must be within 1 to {MAX_COPIES}", "n")
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise wrong("max_tokens and max_completion_tokens say different things", "max_tokens")
    return body


def ask_chat(
    body: ChatBody, given: Mapping[str, Any], able: Capabilities, *, lenient: bool = False
) -> Asked:
    """What ``body`` asks of a back end that is ``able`` to do so much.

    Args:
        given: the whole body as it came.
        lenient: leave out what cannot be honoured, and say so, instead of refusing it.

    Raises:
        BadRequestError: a parameter can be honoured neither there nor here.
    """
    choose = Chooser(body.model, lenient=lenient)
    choose.check(given, _UNSHOWN)
    values: dict[str, Any] = {}
    if not _SAMPLING_NAMES.isdisjoint(given):
        values = {name: value for name in _SAMPLING if (value := getattr(body, name)) is not None}
    limit = "max_tokens" if body.max_tokens else "max_completion_tokens"
    if (most := body.max_tokens or body.max_completion_tokens) is not None:
        if "max_tokens" in able.sampling:
            values["max_tokens"] = most
        else:
            choose.refuse(limit, f"{limit} is not supported by the back end of {body.model[:80]}")
    stops = stop_texts(body.stop, "stop", MAX_STOPS) if body.stop is not None else ()
    cut_there = "stop" in able.sampling
    if not able.chat_completions:
        choose.check_rest(given, _KNOWN | _UNSHOWN.keys(), _IDLE)
    wanted = () if given.get("tool_choice") == "none" else body.tools or ()
    if wanted and not able.tools:
        choose.refuse("tools", f"tools are not supported by the back end of {body.model[:80]}")
    return Asked(
        request=ChatRequest(
            model=body.model,
            messages=parse_messages(body.messages),
            sampling=Sampling(**choose.sampling(values, able), stop=stops if cut_there else ()),
            tools=_tools(wanted) if wanted and able.tools else (),
            extra=_forwarded(given) if able.chat_completions else {},
            stream=bool(body.stream),
        ),
        stream=bool(body.stream),
        copies=body.n or 1,
        stops=() if cut_there else stops,
        dropped=tuple(choose.dropped),
    )


def _forwarded(given: Mapping[str, Any]) -> dict[str, Any]:
    """What an upstream of the same protocol gets as it came."""
    return {
        name: value for name, value in given.items() if name not in _KEPT_BACK and value is not None
    }


def _tools(tools: Sequence[_Tool]) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {},
        )
        for tool in tools
    )
