"""Open-Assistant (wire/openassistant.md): website routes and the native API behind them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import msgspec

from penstock.errors import PenstockError
from penstock.testing.replay.body import cookies_of, read_json
from penstock.testing.replay.case import Case, Exchange, Expected
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
from penstock.types import Message

_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_tokens",
}
_CREATE = re.compile(r"/api/chat|/chats")
_QUESTION = re.compile(r"(?:/api/chat|/chats/[^/]+)/prompter_message")
_ORDER = re.compile(r"(?:/api/chat|/chats/[^/]+)/assistant_message")
_EVENTS = re.compile(r"/api/chat/events")
_LISTS = ("/api/chat/models", "/configs/model_configs")
_DEFAULT_MODEL = "OA_SFT_Llama_30B_6"
_SESSION_COOKIE = "next-auth.session-token"


class OpenAssistant(CaseProtocol):
    """Requests of both layers."""

    provider: ClassVar[str] = "openassistant"
    names: ClassVar[Mapping[str, str]] = _NAMES

    def derive(self, case: Case) -> Sequence[Step]:
        """A call for each answer asked for, and one where the question or the chat was refused."""
        finals = [index for index in range(len(case.exchanges)) if _is_final(case, index)]
        chats = Counter(_chat_of(case, index) for index in finals)
        steps: list[Step] = []
        for index in finals:
            chat = _chat_of(case, index)
            shared = bool(chat) and chats[chat] > 1
            call = _call(case, index, thread=chat if shared else None)
            access = _access(case.exchanges[index])
            start = (
                next(
                    (at for at in range(steps[-1].answer + 1, index) if _opens(case.exchanges[at])),
                    index,
                )
                if steps
                else 0
            )
            steps.append(Step(start=start, answer=index, access=access, call=call))
        return steps or _lists(case)

    def fields(self, request: Request) -> dict[str, object]:
        """Question, parent, model and sampling; for streams the message asked for."""
        if _EVENTS.fullmatch(request.path):
            return {"message_id": dict(parse_qsl(request.query)).get("message_id")}
        if request.method != "POST":
            return {}
        body = read_json(request.content)
        if _QUESTION.fullmatch(request.path):
            return {"content": body.get("content"), "parent": body.get("parent_id")}
        if not _ORDER.fullmatch(request.path):
            return {}
        found = {"model": body.get("model_config_name"), "question": body.get("parent_id")}
        if body.get("system_prompt"):
            found["system"] = body["system_prompt"]
        sampling = body.get("sampling_parameters") or {}
        return found | {
            _NAMES.get(name, name): value for name, value in sampling.items() if value is not None
        }

    def key(self, method: str, path: str, query: str) -> Hashable:
        """The stream's route answers any method (section 3)."""
        if _EVENTS.fullmatch(path):
            method = "GET"
        return (method, path, tuple(sorted(parse_qsl(query))))

    def reads(self, method: str, path: str) -> bool:
        """The stream's route is asked by POST as well."""
        return bool(_EVENTS.fullmatch(path)) or super().reads(method, path)

    def expectations(self, case: Case, steps: Sequence[Step]) -> dict[int, Expected]:
        """Section 0: ``turns`` in cases of several streams, in their order; else the first call."""
        turns = case.expected.turns
        if len(turns) > len(steps):
            return {}
        found = dict(enumerate(turns))
        if steps:
            found[max(len(turns) - 1, 0)] = case.expected
        return found

    def repaired(self, case: Case, step: Step) -> str | None:
        """Decision 6: a trailing run of U+FFFD is held back, and what is missing is sent."""
        expected = step.expected
        streamed = "".join(_tokens(case, step))
        if expected is None or expected.text != streamed or not expected.final_content:
            return None
        sent = streamed.rstrip("\N{REPLACEMENT CHARACTER}")
        return expected.final_content if expected.final_content.startswith(sent) else None

    def relaxed(self, step: Step, error: PenstockError) -> Step | None:
        """Without a session our provider sends nothing; a made-up one shows how it is refused."""
        if error.kind == "auth" and not (step.access.cookies or step.access.api_key):
            access = msgspec.structs.replace(step.access, cookies={_SESSION_COOKIE: "none"})
            return msgspec.structs.replace(step, access=access)
        return super().relaxed(step, error)


def _is_final(case: Case, index: int) -> bool:
    """True for the last post of a call: the order of an answer, or what was refused before it."""
    exchange = case.exchanges[index]
    request = exchange.request
    if request.method != "POST":
        return False
    if _ORDER.fullmatch(request.path):
        return bool(read_json(request.content)) or exchange.response.status < 400
    refused = exchange.response.status >= 400
    return refused and bool(_QUESTION.fullmatch(request.path) or _CREATE.fullmatch(request.path))


def _opens(exchange: Exchange) -> bool:
    """True for a post that begins a call; what lies before it belongs to the call before."""
    request = exchange.request
    patterns = (_CREATE, _QUESTION, _ORDER)
    return request.method == "POST" and any(p.fullmatch(request.path) for p in patterns)


def _call(case: Case, index: int, thread: str | None) -> Chat:
    request = case.exchanges[index].request
    body = read_json(request.content)
    ordered = bool(_ORDER.fullmatch(request.path))
    if _CREATE.fullmatch(request.path):
        question: Mapping[str, Any] = {}
    else:
        question = _question(case, index, body) if ordered else body
    order: Mapping[str, Any] = body if ordered else {}
    sampling, extra = sampling_of(order.get("sampling_parameters") or {}, _NAMES)
    for name in ("user_profile", "user_response_instructions", "plugins"):
        if order.get(name):
            extra[name] = order[name]
    content = str(question.get("content", PLACEHOLDER))
    messages: tuple[Message, ...] = (Message(role="user", content=content),)
    if order.get("system_prompt"):
        messages = (Message(role="system", content=str(order["system_prompt"])), *messages)
    return Chat(
        model=str(order.get("model_config_name") or _DEFAULT_MODEL),
        messages=messages,
        sampling=sampling,
        extra=extra,
        thread=thread,
        pinned=thread is not None,
        parent=question.get("parent_id"),
    )


def _question(case: Case, index: int, order: Mapping[str, Any]) -> Mapping[str, Any]:
    """The question that an order of an answer names as its parent."""
    for exchange in reversed(case.exchanges[:index]):
        if _QUESTION.fullmatch(exchange.request.path):
            asked = read_json(exchange.response.unpacked).get("id")
            if asked == order.get("parent_id"):
                return read_json(exchange.request.content)
    return {}


def _chat_of(case: Case, index: int) -> str:
    request = case.exchanges[index].request
    native = re.match(r"/chats/([^/]+)/", request.path)
    return native.group(1) if native else str(read_json(request.content).get("chat_id") or "")


def _tokens(case: Case, step: Step) -> Iterator[str]:
    for exchange in case.exchanges[step.answer : step.stop]:
        for line in exchange.response.unpacked.splitlines():
            event = read_json(line.removeprefix(b"data:"))
            if event.get("event_type") == "token":
                yield str(event.get("text") or "")


def _lists(case: Case) -> list[Step]:
    for index, exchange in enumerate(case.exchanges):
        if exchange.request.method == "GET" and exchange.request.path in _LISTS:
            access = _access(exchange)
            return [Step(start=0, answer=index, access=access, call=ListModels())]
    return []


def _access(exchange: Exchange) -> Access:
    request = exchange.request
    bearer = request.header("authorization")
    trusted = request.header("trustedclient")
    website = request.path.startswith("/api/")
    return Access(
        host=request.header("host"),
        dialect="website" if website else "native",
        cookies=cookies_of(request.header("cookie")),
        api_key=bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else None,
        options={"trusted_client": trusted} if trusted else {},
    )
