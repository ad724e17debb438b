"""chat-ui of mid-2023 (wire/h2o.md sections 1 to 7): settings, conversation, message, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from penstock.testing.replay.body import cookies_of, read_form, read_json
from penstock.testing.replay.case import Case, Exchange
from penstock.testing.replay.plan import (
    PLACEHOLDER,
    Access,
    CaseProtocol,
    Chat,
    Request,
    Step,
    sampling_of,
)
from penstock.types import Message, Value

NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_tokens",
    "seed": "seed",
    "stop": "stop",
}
"""TGI's parameter names -> ours."""

_OPENING = {"/settings": 400, "/conversation": 300}
"""Paths that open a session, and the status from which on they refuse (a 303 of the settings is
their good answer for a browser)."""
_MESSAGE = re.compile(r"/conversation/([^/]+)")
_OURS = frozenset({"details"})
"""Parameters that our provider sends by itself (wire/h2o.md section 4, row "details")."""


class Opened(Value, frozen=True):
    """A conversation of the recording: who opened it with which model, and how it went on."""

    id: str | None
    model: str
    cookie: str
    system: str | None = None
    deleted: bool = False


class H2O(CaseProtocol):
    """Requests of the chat-ui of 2023."""

    provider: ClassVar[str] = "h2o"
    names: ClassVar[Mapping[str, str]] = NAMES

    def same(self, name: str, expected: object, got: object) -> bool:
        """Short model names are ours alone: the server is sent the full id (section 10, 13)."""
        if name == "model" and isinstance(expected, str) and "/" not in expected:
            return isinstance(got, str) and expected in got
        return super().same(name, expected, got)

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each message, and one for a refusal that came before any message."""
        opened: dict[str | None, Opened] = {}
        counts = _message_counts(case)
        steps: list[Step] = []
        start = 0  # of the call that is being read; after its message, -1 until another begins
        model = ""
        for index, exchange in enumerate(case.exchanges):
            request = exchange.request
            message = _MESSAGE.fullmatch(request.path)
            if start < 0 and request.method == "POST" and (message or request.path in _OPENING):
                start = index
            if request.path == "/settings":
                model = _settings_model(exchange) or model
            elif request.path == "/conversation":
                last = self._opened(exchange)
                opened[last.id] = last
                model = last.model
            elif message and request.method == "DELETE":
                known = opened.get(message.group(1))
                if known is not None and exchange.response.status < 300:
                    opened[known.id] = Opened(
                        known.id, known.model, known.cookie, known.system, deleted=True
                    )
            elif message and request.method == "POST":
                known = opened.get(message.group(1))
                shared = counts[message.group(1)] > 1
                step = self._message(exchange, index, start, known, shared, model)
                steps.append(_untouched(step) if known is None and not _deletes(case) else step)
                start = -1
        if not steps:
            steps = self._refusal(case, model, opened)
        return steps

    def fields(self, request: Request) -> dict[str, object]:
        """Model, text and parameters; not the ids, which are a client's own choice."""
        if request.method != "POST":
            return {}
        body = read_json(request.content)
        if request.path == "/conversation":
            return {"model": body["model"]} if body.get("model") else {}
        if not _MESSAGE.fullmatch(request.path):
            return {}
        parameters = body.get("parameters") or {}
        found = {
            NAMES.get(name, name): value
            for name, value in parameters.items()
            if name not in _OURS and value is not None
        }
        return {"text": str(body.get("inputs", "")).strip(), **found}

    def _opened(self, exchange: Exchange) -> Opened:
        body = read_json(exchange.request.content)
        answer = read_json(exchange.response.unpacked)
        cookie = exchange.request.header("cookie")
        return Opened(answer.get("conversationId"), str(body.get("model", "")), _session(cookie))

    def _message(
        self,
        exchange: Exchange,
        index: int,
        start: int,
        known: Opened | None,
        shared: bool,
        model: str,
    ) -> Step:
        identifier = exchange.request.path.rpartition("/")[2]
        cookie = _session(exchange.request.header("cookie"))
        # A conversation that is gone, or that another session opened, is named to the provider.
        own = known is not None and not known.deleted and known.cookie in ("", cookie)
        chat = self._chat(exchange, known.model if known else model, known)
        call = Chat(
            model=chat.model,
            messages=chat.messages,
            sampling=chat.sampling,
            extra=chat.extra,
            whole=chat.whole,
            thread=identifier if shared or not own else None,
            conversation_id=None if own else identifier,
            conversation_gone=known is not None and known.deleted,
        )
        return Step(start=start, answer=index, access=self._access(exchange), call=call)

    def _chat(self, exchange: Exchange, model: str, known: Opened | None) -> Chat:
        body = read_json(exchange.request.content)
        parameters = {
            name: value
            for name, value in (body.get("parameters") or {}).items()
            if name not in _OURS
        }
        sampling, extra = sampling_of(parameters, NAMES)
        return Chat(
            model=model,
            messages=(Message(role="user", content=str(body.get("inputs", ""))),),
            sampling=sampling,
            extra=extra,
            whole=body.get("stream") is False,
        )

    def _refusal(self, case: Case, model: str, opened: dict[str | None, Opened]) -> list[Step]:
        """One call for a recording whose session or conversation was refused."""
        at = next(
            (
                index
                for index, exchange in enumerate(case.exchanges)
                if exchange.request.method == "POST"
                and exchange.response.status >= _OPENING.get(exchange.request.path, 1000)
            ),
            None,
        )
        if at is None:
            return []
        system = next((known.system for known in opened.values() if known.system), None)
        messages: tuple[Message, ...] = (Message(role="user", content=PLACEHOLDER),)
        if system is not None:
            messages = (Message(role="system", content=system), *messages)
        call = Chat(model=model, messages=messages)
        return [Step(start=0, answer=at, access=self._access(case.exchanges[at]), call=call)]

    def _access(self, exchange: Exchange) -> Access:
        return Access(host=exchange.request.header("host"))


def _untouched(step: Step) -> Step:
    """The call of a conversation that the case neither opens nor deletes."""
    assert isinstance(step.call, Chat)
    call = msgspec.structs.replace(step.call, conversation_gone=True)
    return msgspec.structs.replace(step, call=call)


def _deletes(case: Case) -> bool:
    return any(exchange.request.method == "DELETE" for exchange in case.exchanges)


def _session(cookie: str) -> str:
    return cookies_of(cookie).get("hf-chat", "")


def _settings_model(exchange: Exchange) -> str | None:
    request = exchange.request
    return read_form(request.header("content-type"), request.content).first("activeModel")


def _message_counts(case: Case) -> dict[str, int]:
    counts: dict[str, int] = {}
    for exchange in case.exchanges:
        found = _MESSAGE.fullmatch(exchange.request.path)
        if found and exchange.request.method == "POST":
            counts[found.group(1)] = counts.get(found.group(1), 0) + 1
    return counts
