"""Chat completions (openai-surface.md section 1): one POST for each answer, nothing kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from penstock.errors import BadRequestError
from penstock.prompts import parse_messages
from penstock.provider import ProviderConfig
from penstock.testing.replay.body import read_json
from penstock.testing.replay.case import Case, Exchange
from penstock.testing.replay.plan import (
    PLACEHOLDER,
    Access,
    CaseProtocol,
    Chat,
    ListModels,
    Request,
    Step,
    sampling_of,
)
from penstock.types import Message, Tool

_ASKED = re.compile(r"(.*)/chat/completions")
_LISTED = re.compile(r"(.*)/models")
_NAMES = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "typical_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "max_tokens",
        "seed",
        "stop",
    )
}
_ADDRESSED = frozenset({"model", "messages", "stream", "stream_options", "tools"})
"""Fields that have a place of their own in a call, or that our provider decides."""
_PREFIX = "prefix"


class OpenAICompatible(CaseProtocol):
    """Requests of any server that speaks it, whatever stands before its paths."""

    provider: ClassVar[str] = "openai_compatible"
    names: ClassVar[Mapping[str, str]] = _NAMES

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each answer; the list of models where nothing else is asked."""
        steps = [
            Step(
                start=index, answer=index, access=_access(exchange, asked[1]), call=_chat(exchange)
            )
            for index, exchange in enumerate(case.exchanges)
            if (asked := _ASKED.fullmatch(exchange.request.path))
            and exchange.request.method == "POST"
        ]
        return steps or _lists(case)

    def fields(self, request: Request) -> dict[str, object]:
        """All of the body but what our provider decides by itself."""
        if request.method != "POST":
            return {}
        body = read_json(request.content)
        found = {name: value for name, value in body.items() if name != "stream_options"}
        found |= {"messages": _messages(body), "tools": [tool.name for tool in _tools(body)]}
        stop = found.get("stop")
        return found | ({"stop": [stop]} if isinstance(stop, str) else {})

    def config(self, base: ProviderConfig) -> ProviderConfig:
        """What stands before the paths belongs to the address."""
        options = dict(base.options)
        return base.with_(base_url=f"{base.base_url}{options.pop(_PREFIX)}", options=options)


def _lists(case: Case) -> list[Step]:
    for index, exchange in enumerate(case.exchanges):
        listed = _LISTED.fullmatch(exchange.request.path)
        if listed and exchange.request.method == "GET":
            access = _access(exchange, listed[1])
            return [Step(start=0, answer=index, access=access, call=ListModels())]
    return []


def _chat(exchange: Exchange) -> Chat:
    body = read_json(exchange.request.content)
    given = {name: value for name, value in body.items() if name not in _ADDRESSED}
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    sampling, extra = sampling_of(given, _NAMES)
    return Chat(
        model=str(body.get("model") or ""),
        messages=_messages(body) or (Message(role="user", content=PLACEHOLDER),),
        sampling=sampling,
        tools=_tools(body),
        extra=extra,
        whole=not body.get("stream"),
    )


def _messages(body: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages; none where our own reading would refuse them."""
    try:
        return parse_messages(body.get("messages") or ())
    except BadRequestError:
        return ()


def _tools(body: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The functions that the model may call."""
    try:
        return tuple(msgspec.convert(tool["function"], Tool) for tool in body.get("tools") or ())
    except (KeyError, TypeError, msgspec.ValidationError):
        return ()


def _access(exchange: Exchange, prefix: str) -> Access:
    bearer = exchange.request.header("authorization")
    key = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else None
    host = exchange.request.header("host")
    return Access(host=host, api_key=key, options={_PREFIX: prefix})
