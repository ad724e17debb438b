"""text-generation-inference itself (wire/h2o.md section 4): one POST for each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from penstock.testing.replay.body import read_json
from penstock.testing.replay.case import Case, Exchange
from penstock.testing.replay.plan import (
    Access,
    CaseProtocol,
    Chat,
    ListModels,
    Request,
    Step,
    sampling_of,
)
from penstock.testing.replay.protocols.h2o import NAMES
from penstock.types import Message

_OURS = frozenset({"details"})
"""Asked for by our provider, because the end is not known without it."""


class Tgi(CaseProtocol):
    """Requests of the router."""

    provider: ClassVar[str] = "tgi"
    names: ClassVar[Mapping[str, str]] = NAMES

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each answer; the list of models where nothing else is asked."""
        steps = [
            Step(start=index, answer=index, access=_access(exchange), call=_chat(exchange))
            for index, exchange in enumerate(case.exchanges)
            if exchange.request.method == "POST" and exchange.request.path == "/generate_stream"
        ]
        asked = [i for i, ex in enumerate(case.exchanges) if ex.request.path == "/info"]
        if not steps and asked:
            access = _access(case.exchanges[asked[0]])
            return [Step(start=0, answer=asked[0], access=access, call=ListModels())]
        return steps

    def fields(self, request: Request) -> dict[str, object]:
        """The text and the parameters."""
        if request.method != "POST":
            return {}
        body = read_json(request.content)
        given = body.get("parameters") or {}
        found = {NAMES.get(name, name): value for name, value in given.items() if value is not None}
        return {"text": str(body.get("inputs", "")).strip(), **_without(found, _OURS)}


def _chat(exchange: Exchange) -> Chat:
    body = read_json(exchange.request.content)
    given = _without(body.get("parameters") or {}, _OURS)
    sampling, extra = sampling_of(given, NAMES)
    question = Message(role="user", content=str(body.get("inputs", "")))
    return Chat(model="", messages=(question,), sampling=sampling, extra=extra)


def _without(fields: Mapping[str, object], names: frozenset[str]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name not in names}


def _access(exchange: Exchange) -> Access:
    bearer = exchange.request.header("authorization")
    key = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else None
    return Access(host=exchange.request.header("host"), api_key=key)
