"""Which exchanges belong to one conversation, and which protocol they speak. Pure.

A recording holds the traffic of one server in order of arrival. Each exchange is marked with the
ids of the conversation it names or makes (a conversation's, a message's, a prediction's), and with
its caller (session cookie, anonymous id, credential). Exchanges that share an id are one thread. An
exchange without any - opening a session, a list of models, a schema - is part of every thread that
its caller begins after it, so that each case can be replayed by itself; where none follows, those
of one caller are a thread of their own.

Where the protocol is unknown, all traffic of one caller is one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from penstock.testing.replay.body import cookies_of, read_form, read_json
from penstock.testing.replay.case import Exchange, RecordedRequest
from penstock.types import Value

_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("allenai", re.compile(r"/v3/(?:message|models)\b.*|/v4/(?:message|threads|models)\b.*")),
    ("allenai", re.compile(r"/v5/(?:threads|user)\b.*")),
    ("openassistant", re.compile(r"/api/chat/(?:events|models|message|\w+_message)")),
    ("openassistant", re.compile(r"/chats(?:/.*)?|/configs/model_configs|/auth/trusted")),
    ("replicate", re.compile(r"/v1/(?:predictions|deployments|models/[^/]+/[^/]+/pred)\b.*")),
    ("openai_compatible", re.compile(r".*/chat/completions")),
    ("tgi", re.compile(r"/generate_stream|/generate|/info")),
    ("cog", re.compile(r"/predictions(?:/.*)?|/health-check")),
)
_SITE = re.compile(r"/conversation(?:/.*)?|/settings|/api/v2/.*|/api/models")
_MESSAGE_ID = re.compile(rb'"(?:id|root|parent|message)"\s*:\s*"(msg_[A-Za-z0-9]+)"')
_CONVERSATION = re.compile(r"/conversations?/([^/]+)")
_CHATS = re.compile(r"/chats/([^/]+)")
_PREDICTION = re.compile(r"/predictions/([^/]+)")
_PREDICTION_ID = re.compile(rb'^data:.*?"id"\s*:\s*"([^"]+)"', re.MULTILINE)
_CALLER_HEADERS = ("x-anonymous-user-id", "authorization", "x-api-key", "trustedclient")


class Marks(Value, frozen=True):
    """What tells where an exchange belongs.

    Attributes:
        ids: of the conversation; none for what prepares one.
        caller: whose exchange it is; empty where the wire does not tell.
    """

    ids: frozenset[str] = frozenset()
    caller: str = ""


class Thread(Value, frozen=True):
    """The exchanges of one conversation.

    Attributes:
        first: number of the first exchange that is its own, which names the thread.
        members: numbers of all its exchanges, in order.
    """

    first: int
    members: tuple[int, ...]


def recognise(exchanges: Iterable[Exchange]) -> str | None:
    """The provider whose protocol the requests follow; None if it cannot be told."""
    site = []
    for exchange in exchanges:
        path = exchange.request.path
        for provider, pattern in _SIGNS:
            if pattern.fullmatch(path):
                return provider
        if _SITE.fullmatch(path):
            site.append(exchange.request)
    return _site_of(site) if site else None


def _site_of(requests: Sequence[RecordedRequest]) -> str | None:
    """Today's chat-ui takes messages as multipart forms and has an API (wire/h2o.md section 9)."""
    for request in requests:
        if request.path.startswith("/api/"):
            return "chatui"
        if _CONVERSATION.fullmatch(request.path) and request.method == "POST":
            form = request.header("content-type").startswith("multipart/")
            return "chatui" if form else "h2o"
    return "h2o" if any(request.path == "/settings" for request in requests) else None


def threads_of(exchanges: Mapping[int, Exchange], provider: str | None) -> tuple[Thread, ...]:
    """The conversations among ``exchanges``, which are numbered in order of arrival."""
    mark = _MARKS.get(provider or "", _of_caller)
    marks = {number: mark(exchanges[number], number) for number in sorted(exchanges)}
    owned = [number for number, found in marks.items() if found.ids]
    groups = _joined({number: marks[number].ids for number in owned})
    threads = [_with_preparation(group, marks) for group in groups]
    placed = {number for thread in threads for number in thread.members}
    alone: dict[str, list[int]] = {}
    for number in marks.keys() - placed:
        alone.setdefault(marks[number].caller, []).append(number)
    threads += [Thread(min(group), tuple(sorted(group))) for group in alone.values()]
    return tuple(sorted(threads, key=lambda thread: thread.first))


def _joined(ids: Mapping[int, frozenset[str]]) -> list[list[int]]:
    """Numbers that share an id, directly or through others."""
    groups: list[tuple[set[str], list[int]]] = []
    for number, own in ids.items():
        near = [group for group in groups if not own.isdisjoint(group[0])]
        names = set(own).union(*(group[0] for group in near))
        numbers = sorted([number, *(n for group in near for n in group[1])])
        groups = [group for group in groups if group not in near]
        groups.append((names, numbers))
    return [numbers for _, numbers in groups]


def _with_preparation(group: Sequence[int], marks: Mapping[int, Marks]) -> Thread:
    callers = {marks[number].caller for number in group}
    before = [
        number
        for number, found in marks.items()
        if not found.ids and found.caller in callers and number < group[-1]
    ]
    return Thread(group[0], tuple(sorted([*before, *group])))


# -- one function for each protocol ----------------------------------------------------------------


def _of_allenai(exchange: Exchange, number: int) -> Marks:
    """Ids of messages; the thread is its root message (wire/allenai.md section 3)."""
    request = exchange.request
    caller = _caller(request)
    if not re.match(r"/v3/message/|/v4/message/|/v4/threads|/v5/threads", request.path):
        return Marks(caller=caller)
    listed = request.method == "GET" and request.path.rstrip("/").endswith("/threads")
    if listed:
        return Marks(caller=caller)
    ids = {found.decode() for found in _MESSAGE_ID.findall(exchange.response.content)}
    if request.method == "POST":
        form = read_form(request.header("content-type"), request.content)
        ids.update(filter(None, [form.first("parent")]))
    else:
        ids.add(request.path.rstrip("/").rpartition("/")[2])
    return Marks(frozenset(ids) or _alone(number), caller)


def _of_openassistant(exchange: Exchange, number: int) -> Marks:
    """The id of the chat, in path, query or body (wire/openassistant.md section 1)."""
    request = exchange.request
    body, query = read_json(request.content), dict(parse_qsl(request.query or ""))
    named = _CHATS.match(request.path)
    ids = {named.group(1)} if named else set()
    ids.update(str(given["chat_id"]) for given in (body, query) if given.get("chat_id"))
    if request.method == "POST" and request.path in ("/api/chat", "/chats"):
        made = read_json(exchange.response.content).get("id")
        ids |= {str(made)} if made else _alone(number)
    return Marks(frozenset(ids), request.header("cookie") or _caller(request))


def _of_site(exchange: Exchange, number: int) -> Marks:
    """The id of the conversation; the session is a cookie (wire/h2o.md sections 1 and 2)."""
    request = exchange.request
    session = cookies_of(request.header("cookie")).get("hf-chat", "")
    if not session:
        session = cookies_of(exchange.response.header("set-cookie")).get("hf-chat", "")
    named = _CONVERSATION.search(request.path)
    if named:
        return Marks(frozenset({named.group(1)}), session)
    if request.method == "POST" and request.path == "/conversation":
        made = read_json(exchange.response.content).get("conversationId")
        return Marks(frozenset({str(made)}) if made else _alone(number), session)
    return Marks(caller=session)


def _of_prediction(exchange: Exchange, number: int) -> Marks:
    """The id of the prediction, or the path of its stream (wire/replicate.md sections 2 and 9)."""
    request = exchange.request
    caller = _caller(request)
    if "/streams/" in request.path:
        return Marks(frozenset({request.path}), caller)
    if "predictions" not in request.path:
        return Marks(caller=caller)
    named = _PREDICTION.search(request.path)
    ids = {named.group(1)} if named else set()
    content = exchange.response.content
    answer = read_json(content)
    ids.update(str(given["id"]) for given in (answer, read_json(request.content)) if _id(given))
    if not answer and (told := _PREDICTION_ID.search(content)):
        ids.add(told.group(1).decode())  # Cog names the prediction in the events of its answer
    urls = answer.get("urls")
    if isinstance(urls, dict) and isinstance(urls.get("stream"), str):
        ids.add(urlsplit(urls["stream"]).path)
    return Marks(frozenset(ids) or _alone(number), caller)


def _of_one(exchange: Exchange, number: int) -> Marks:
    """Each question stands alone; the server keeps nothing."""
    asked = exchange.request.method == "POST"
    return Marks(_alone(number) if asked else frozenset(), _caller(exchange.request))


def _of_caller(exchange: Exchange, number: int) -> Marks:
    caller = _caller(exchange.request) or exchange.request.header("cookie") or "anyone"
    return Marks(frozenset({caller}), caller)


_MARKS: Mapping[str, Callable[[Exchange, int], Marks]] = {
    "allenai": _of_allenai,
    "openassistant": _of_openassistant,
    "h2o": _of_site,
    "chatui": _of_site,
    "replicate": _of_prediction,
    "cog": _of_prediction,
    "openai_compatible": _of_one,
    "tgi": _of_one,
}


def _alone(number: int) -> frozenset[str]:
    return frozenset({f"exchange {number}"})


def _caller(request: RecordedRequest) -> str:
    return next(filter(None, (request.header(name) for name in _CALLER_HEADERS)), "")


def _id(given: Mapping[str, Any]) -> bool:
    return isinstance(given.get("id"), str) and bool(given["id"])
