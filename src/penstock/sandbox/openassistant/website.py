"""The website's routes (wire/openassistant.md sections 2 and 3).

Answers without a body, or of plain text, have no Content-Type and are chunked; every
answer closes its connection. Only `/api/chat` itself looks at the method.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from penstock.sandbox.openassistant import models, posts
from penstock.sandbox.openassistant.posts import Problem
from penstock.sandbox.openassistant.records import (
    Chat,
    Message,
    chat_shape,
    message_shape,
    through_doubles,
)
from penstock.sandbox.openassistant.work import is_final
from penstock.sandbox.server import reply

if TYPE_CHECKING:
    from penstock.sandbox.openassistant.server import OpenAssistantServer

_JSON = "application/json; charset=utf-8"
_BODY_LIMIT = 1024 * 1024
_GZIP_FROM = 1024
_PAGE = 20

Route = Callable[[web.Request, str, Mapping[str, object]], Awaitable[web.StreamResponse]]


class Website:
    """The routes of a site, all below ``/api/chat``."""

    def __init__(self, server: OpenAssistantServer) -> None:
        self._server = server
        self._inference = server.inference

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        table: dict[str, Route] = {
            "/api/chat": self._chat,
            "/api/chat/prompter_message": self._prompter_message,
            "/api/chat/assistant_message": self._assistant_message,
            "/api/chat/events": self._events,
            "/api/chat/message": self._message,
            "/api/chat/models": self._models,
        }
        return [web.route("*", path, self._guarded(route)) for path, route in table.items()]

    def _guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Read the body, then the session; what the route does not catch is a 500."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            data = await request.read()
            if len(data) > _BODY_LIMIT:
                return bare(413, "Body exceeded 1mb limit")
            try:
                body = json.loads(data) if data else {}
            except ValueError:
                return bare(400, "Invalid JSON")
            session = self._server.sessions.website(request)
            if session is None:
                return bare(403)
            if not self._server.options.enabled:
                return bare(404)
            try:
                return await route(request, session.user, body if isinstance(body, dict) else {})
            except Problem:
                return bare(500, "Internal Server Error")

        return guarded

    async def _chat(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        ident = request.query.get("chat_id")
        if request.method == "POST":
            self._inference.users.add(user)
            chat = self._inference.create(user)
            self._server.note_created(chat.id)
            return written(request, chat_shape(chat))
        if request.method == "GET":
            return (
                self._listed(request, user) if ident is None else self._read(request, user, ident)
            )
        if request.method == "PUT":
            chat = self._inference.chat(user, str(body.get("chat_id")))
            self._inference.change(chat, body)
            return bare(200)
        if request.method == "DELETE":
            self._inference.delete(user, ident or "")
            self._server.note_deleted(ident or "")
            return bare(200)
        return bare(404)

    def _read(self, request: web.Request, user: str, ident: str) -> web.Response:
        try:
            chat = self._inference.chat(user, ident)
        except Problem:
            return bare(404)
        return written(request, {**chat_shape(chat), "messages": shown_messages(chat)})

    def _listed(self, request: web.Request, user: str) -> web.Response:
        query = request.query
        hidden = query.get("include_hidden") == "true"
        chats = self._inference.chats(user, hidden=hidden)
        page, following, before = paged(chats, query.get("after"), query.get("before"), _PAGE)
        shown = [chat_shape(one) for one in page]
        return written(request, {"chats": shown, "next": following, "prev": before})

    async def _prompter_message(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        try:
            asked = posts.prompting(body)
            message = self._inference.prompt(user, str(body.get("chat_id")), asked)
        except Problem as problem:
            return _told(request, problem)
        return self._shown(request, message)

    async def _assistant_message(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        try:
            self._inference.count(user)
            message = self._inference.assist(user, posts.assisting(body))
        except Problem as problem:
            return _told(request, problem)
        return self._shown(request, message)

    async def _message(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        return self._shown(request, self._asked_for(request, user))

    async def _models(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        return written(request, models.listed(self._server.options.allowed))

    async def _events(
        self, request: web.Request, user: str, body: Mapping[str, object]
    ) -> web.StreamResponse:
        message = self._asked_for(request, user)
        if message.role == "prompter":
            raise Problem(400, "Only assistant messages can be streamed.")
        if is_final(message):
            return bare(200)
        if message.phantoms:
            message.eat()
        out = self._server.stream(request, {})
        out.response.force_close()
        try:
            async with out:
                await self._server.feed.send(out, message)
        except BaseException:
            # The site does not notice that its reader left: it goes on taking events.
            message.phantoms += 1
            raise
        return out.response

    def _asked_for(self, request: web.Request, user: str) -> Message:
        query = request.query
        return self._inference.message(user, query.get("chat_id", ""), query.get("message_id", ""))

    def _shown(self, request: web.Request, message: Message) -> web.Response:
        return written(request, through_doubles(message_shape(message)))


def shown_messages(chat: Chat) -> list[object]:
    """Describe the messages of a chat as the website does."""
    return [through_doubles(message_shape(one)) for one in chat.rows()]


def paged(
    chats: Sequence[Chat], after: str | None, before: str | None, size: int
) -> tuple[Sequence[Chat], str | None, str | None]:
    """Give a page of a list, and the cursors of the next and of the one before."""
    idents = [one.id for one in chats]
    start = idents.index(after) + 1 if after in idents else 0
    if before in idents:
        start = max(idents.index(before) - size, 0)
    page = chats[start : start + size]
    following = page[-1].id if page and start + size < len(chats) else None
    return page, following, page[0].id if page and start > 0 else None


def _told(request: web.Request, problem: Problem) -> web.Response:
    """Put a refusal of the inference server in the words of the two routes that catch it."""
    words = "Something went wrong" if problem.status == 500 else problem.detail
    return written(request, {"message": words}, problem.status)


def bare(status: int, text: str = "") -> web.Response:
    """Answer without a Content-Type."""
    response = reply(status, text)
    response.enable_chunked_encoding()
    response.force_close()
    return response


def written(request: web.Request, value: object, status: int = 200) -> web.Response:
    """Answer in JSON, packed where it is large and the client takes that."""
    body = msgspec.json.encode(value)
    digest = hashlib.sha256(body).hexdigest()[:13]
    headers = {"etag": f'"{digest}"', "vary": "Accept-Encoding"}
    packed = len(body) > _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", "")
    if packed:
        body, headers = gzip.compress(body), {**headers, "content-encoding": "gzip"}
    response = reply(status, body, _JSON, headers)
    if packed:
        response.enable_chunked_encoding()
    response.force_close()
    return response
