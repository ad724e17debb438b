"""The body of ``POST /v1/chat/completions``: what it may hold, and what becomes of it. Pure.

A parameter is honoured, by the back end or here, or it is refused with its name; nothing is
dropped in silence. Where the upstream speaks OpenAI's protocol itself, everything that does not
change the shape of the answer goes on as it came (``decisions``: unknown fields are forwarded
there, refused elsewhere).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from penstock.gateway.surfaces.body import converted
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
_OURS = frozenset({"model", "stream", "stream_options", "n"})
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

_NO_EFFECT = {
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
}
"""Sampling values that say: no such sampling. Tools send them without being asked."""

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

    model: str
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
    body = converted(dict(given), ChatBody)
    if len(body.messages) > max_messages:
        raise wrong(f"messages holds more than {max_messages} messages", "messages")
    if body.n is not None and body.n > MAX_COPIES:
        raise wrong(f"n must be within 1 to {MAX_COPIES}", "n")
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
    dropped: list[str] = []

    def refuse(name: str, reason: str) -> None:
        if not lenient:
            raise wrong(reason, name)
        dropped.append(name)

    for name, harmless in _UNSHOWN.items():
        if name in given and given[name] not in harmless:
            refuse(name, f"{name} is not supported by this gateway")
    stops, sampling = _sampling(body, able, refuse)
    forwards = able.extra is None
    extra: dict[str, Any] = {}
    if forwards:
        extra = {
            name: value
            for name, value in given.items()
            if name not in _OURS and name not in _UNSHOWN and value is not None
        }
        for name in ("max_tokens", "max_completion_tokens", "stop", *_SAMPLING):
            extra.pop(name, None)
    else:
        for name, value in given.items():
            if name in _KNOWN or name in _UNSHOWN:
                continue
            if name not in _IDLE or (_IDLE[name] and value not in _IDLE[name]):
                refuse(name, f"{name} is not supported by the back end of {body.model[:80]}")
    if body.tools and not able.tools:
        refuse("tools", f"tools are not supported by the back end of {body.model[:80]}")
    return Asked(
        request=ChatRequest(
            model=body.model,
            messages=parse_messages(body.messages),
            sampling=sampling,
            tools=_tools(body.tools) if able.tools else (),
            extra=extra,
            stream=bool(body.stream),
        ),
        stream=bool(body.stream),
        copies=body.n or 1,
        stops=stops,
        dropped=tuple(dropped),
    )


def _sampling(body: ChatBody, able: Capabilities, refuse: Any) -> tuple[tuple[str, ...], Sampling]:
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stops) > MAX_STOPS or not all(stops):
        raise wrong(f"stop must be 1 to {MAX_STOPS} texts, none empty", "stop")
    values: dict[str, Any] = {
        name: value for name in _SAMPLING if (value := getattr(body, name)) is not None
    }
    limit = body.max_completion_tokens or body.max_tokens
    if limit is not None:
        values["max_tokens"] = limit
    for name in [name for name in values if name not in able.sampling]:
        shown = "max_completion_tokens" if name == "max_tokens" and not body.max_tokens else name
        value = values.pop(name)
        if _NO_EFFECT.get(name) != value:
            refuse(shown, f"{shown} is not supported by the back end of {body.model[:80]}")
    there = stops if "stop" in able.sampling else ()
    return (() if there else stops), Sampling(**values, stop=there)


def _tools(tools: list[_Tool] | None) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {},
        )
        for tool in tools or ()
    )
