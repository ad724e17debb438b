"""Ai2 Playground (wire/allenai.md): a POST for each turn, forms, parents, threads."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import msgspec

from penstock.testing.replay.body import Form, read_form
from penstock.testing.replay.case import Case, Exchange, Expected
from penstock.testing.replay.plan import (
    PLACEHOLDER,
    Access,
    CaseProtocol,
    Chat,
    ListModels,
    Request,
    Step,
    by_exchange,
    numbers_of,
    sampling_of,
)
from penstock.types import ImagePart, Message, Part, TextPart, Tool

_DIALECTS = {
    "/v4/message/stream": "message-stream",
    "/v4/threads": "threads",
    "/v5/threads/chat": "v5-chat",
}
_LISTS = {"/v3/models": "message-stream", "/v4/models": "threads"}

_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "topP": "top_p",
    "max_tokens": "max_tokens",
    "maxTokens": "max_tokens",
    "stop": "stop",
}
_ADDRESSED = frozenset({"model", "content", "parent", "private", "toolDefinitions"})
"""Fields that have a place of their own in a call, or that say nothing (section 2)."""
_TOOL_RESULT = frozenset({"role", "toolCallId", "tool_call_id"})
_LISTED = frozenset({"selectedTools", "inputParts"})
_NO_CHAT_ROLES = frozenset({"assistant"})


class AllenAI(CaseProtocol):
    """Requests of the Playground, both versions and the one after them."""

    provider: ClassVar[str] = "allenai"
    names: ClassVar[Mapping[str, str]] = _NAMES

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each turn and each list of models."""
        steps: list[Step] = []
        for index, exchange in enumerate(case.exchanges):
            request = exchange.request
            path = request.path.rstrip("/")
            if request.method == "GET" and path in _LISTS:
                call: Chat | ListModels = ListModels()
            elif request.method == "POST" and path in _DIALECTS:
                form = _form(Request.recorded(exchange))
                if form.first("role") in _NO_CHAT_ROLES or _followed(case, index):
                    continue
                call = _chat(form, _thread(case, index, form, steps))
            else:
                continue
            access = _access(exchange, (_DIALECTS | _LISTS)[path])
            start = index - _redirects(case, index) if steps else 0
            steps.append(Step(start=start, answer=index, access=access, call=call))
        return steps

    def fields(self, request: Request) -> dict[str, object]:
        """What the form says, by our own names."""
        if request.method != "POST" or request.path.rstrip("/") not in _DIALECTS:
            return {}
        form = _form(request)
        found: dict[str, object] = {}
        for name, value in numbers_of(dict(form.fields)).items():
            if name not in ("private", "toolDefinitions"):
                found[_NAMES.get(name, name)] = value
        if form.first("content") is not None:
            found["content"] = form.first("content")
        for name in _LISTED | {"stop"}:
            if form.all(name):
                found[name] = form.all(name)
        definitions = form.first("toolDefinitions", "tool_definitions")
        if definitions:
            found["tools"] = [tool.name for tool in _tools(definitions)]
        if form.files:
            found["files"] = [(file.field, file.media_type, file.data) for file in form.files]
        user = request.headers.get("x-anonymous-user-id")
        if not user or "authorization" in request.headers:  # which decides alone (section 2)
            return found
        return {**found, "x-anonymous-user-id": user}

    def key(self, method: str, path: str, query: str) -> Hashable:
        """The path without its last slash: the redirect of section 4.1 is met by resending."""
        path = path.rstrip("/")
        return (method, path) if path in _DIALECTS else (method, path, query)

    def unrecorded(self, method: str, path: str) -> tuple[int, bytes] | None:
        """A DELETE answers ``null`` (section 3.8)."""
        return (200, b"null") if method == "DELETE" else super().unrecorded(method, path)

    def expectations(self, case: Case, steps: Sequence[Step]) -> dict[int, Expected]:
        """Section 9: ``turns`` has one entry for each exchange; the top level repeats the last.

        An expectation that names its exchange is taken at its word.
        """
        if case.expected.exchange is not None:
            return by_exchange(case, steps)
        if not case.expected.turns:
            judged = steps and steps[-1].answer == len(case.exchanges) - 1
            return {len(steps) - 1: case.expected} if judged else {}
        found = {}
        for index, step in enumerate(steps):
            if step.answer == len(case.exchanges) - 1:
                found[index] = case.expected
            elif step.answer < len(case.expected.turns):
                found[index] = case.expected.turns[step.answer]
        return found


def _form(request: Request) -> Form:
    """The fields; without a body they may stand in the query (section 3.1)."""
    if request.content:
        return read_form(request.headers.get("content-type", ""), request.content)
    return Form(tuple(parse_qsl(request.query, keep_blank_values=True)))


def _chat(form: Form, thread: tuple[str, bool]) -> Chat:
    fields = {name: value for name, value in form.fields if name not in _ADDRESSED}
    role = fields.get("role")
    if role == "tool_call_result":
        fields = {name: value for name, value in fields.items() if name not in _TOOL_RESULT}
    given: dict[str, Any] = numbers_of(fields)
    given |= {name: list(form.all(name)) for name in _LISTED | {"stop"} if form.all(name)}
    sampling, extra = sampling_of(given, _NAMES)
    definitions = form.first("toolDefinitions", "tool_definitions")
    return Chat(
        model=form.first("model") or "",
        messages=(_message(form, role),),
        sampling=sampling,
        tools=_tools(definitions) if definitions else (),
        extra={name: _value(value) for name, value in extra.items()},
        thread=thread[0],
        pinned=thread[1],
        parent=form.first("parent"),
    )


def _message(form: Form, role: str | None) -> Message:
    text = form.first("content") or PLACEHOLDER
    if role == "tool_call_result":
        call = form.first("toolCallId", "tool_call_id")
        return Message(role="tool", content=text, tool_call_id=call)
    if not form.files:
        return Message(role="user", content=text)
    images = [
        ImagePart(data=file.data, media_type=file.media_type, name=file.name) for file in form.files
    ]
    parts: tuple[Part, ...] = (TextPart(text), *images)
    return Message(role="user", content=parts)


def _value(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _tools(definitions: str) -> tuple[Tool, ...]:
    try:
        return tuple(msgspec.convert(item, Tool) for item in json.loads(definitions))
    except (ValueError, TypeError, msgspec.ValidationError):
        return ()


def _thread(case: Case, index: int, form: Form, steps: Sequence[Step]) -> tuple[str, bool]:
    """The thread that a turn belongs to, and whether its recorded parent must be put in by hand.

    Decision 4: the recorded parent decides. It is the conversation's own where the turn that was
    answered last in that thread had it as its next parent; an older one, another user's or an
    unknown one is put in.
    """
    parent = form.first("parent")
    if parent is None:
        return f"thread {index}", False
    for step in reversed(steps):
        known = f'"{parent}"'.encode() in case.exchanges[step.answer].response.unpacked
        if isinstance(step.call, Chat) and step.call.thread and known:
            return step.call.thread, True
    return f"thread {index}", True


def _redirects(case: Case, index: int) -> int:
    """How many redirects led to this exchange."""
    count = 0
    while count < index and _followed(case, index - count - 1):
        count += 1
    return count


def _followed(case: Case, index: int) -> bool:
    """True for a redirect whose next exchange is the same request again, which is one call."""
    exchange = case.exchanges[index]
    return (
        exchange.response.status in (307, 308)
        and index + 1 < len(case.exchanges)
        and case.exchanges[index + 1].request.method == exchange.request.method
    )


def _access(exchange: Exchange, dialect: str) -> Access:
    request = exchange.request
    bearer = request.header("authorization")
    return Access(
        host=request.header("host"),
        dialect=dialect,
        user=request.header("x-anonymous-user-id") or None,
        api_key=bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else None,
    )
