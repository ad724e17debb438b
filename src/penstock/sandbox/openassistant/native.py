"""The inference server's own routes (wire/openassistant.md section 10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from penstock.sandbox.openassistant import models, posts
from penstock.sandbox.openassistant.posts import Problem
from penstock.sandbox.openassistant.records import Message, chat_shape, message_shape
from penstock.sandbox.openassistant.website import paged
from penstock.sandbox.openassistant.work import is_final
from penstock.sandbox.server import reply

if TYPE_CHECKING:
    from penstock.sandbox.openassistant.server import OpenAssistantServer

_JSON = "application/json"
_PAGE = 100
STREAM_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

Route = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class Native:
    """The routes of the inference server."""

    def __init__(self, server: OpenAssistantServer) -> None:
        self._server = server
        self._inference = server.inference

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        message = "/chats/{chat}/messages/{message}"
        return (
            web.get("/configs/model_configs", self._models),
            web.get("/auth/callback/debug", self._debug_login),
            web.get("/auth/refresh", self._refresh),
            web.post("/auth/trusted", self._trusted),
            web.post("/chats", self._guarded(self._create)),
            web.get("/chats", self._guarded(self._listed)),
            web.get("/chats/{chat}", self._guarded(self._read)),
            web.put("/chats/{chat}", self._guarded(self._change)),
            web.delete("/chats/{chat}", self._guarded(self._delete)),
            web.post("/chats/{chat}/prompter_message", self._guarded(self._prompter_message)),
            web.post("/chats/{chat}/assistant_message", self._guarded(self._assistant_message)),
            web.get(message, self._guarded(self._message)),
            web.get(f"{message}/events", self._guarded(self._events)),
        )

    def _guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                user = self._server.sessions.native(request, self._inference.users)
                return await route(request, user)
            except Problem as problem:
                return _told(problem)

        return guarded

    async def _models(self, request: web.Request) -> web.Response:
        return _written(models.listed(self._server.options.allowed))

    async def _debug_login(self, request: web.Request) -> web.Response:
        user = request.query.get("code", "")
        self._inference.users.add(user)
        return _written({**self._access(user), "refresh_token": self._token(user, "refresh")})

    async def _refresh(self, request: web.Request) -> web.Response:
        try:
            user = self._server.sessions.refreshed(request.headers.get("Refresh", ""))
        except Problem as problem:
            return _told(problem)
        return _written(self._token(user, "bearer"))

    async def _trusted(self, request: web.Request) -> web.Response:
        try:
            client = self._server.sessions.trusted(request)
        except Problem as problem:
            return _told(problem)
        user = str(client["user_id"])
        self._inference.users.add(user)
        told = {
            "display_name": client["username"],
            "id": user,
            "provider": client["client"],
            "provider_account_id": client["provider_account_id"],
            "deleted": False,
        }
        return _written(told)

    async def _create(self, request: web.Request, user: str) -> web.StreamResponse:
        posts.parsed(await request.read())
        chat = self._inference.create(user)
        self._server.note_created(chat.id)
        return _written(chat_shape(chat))

    async def _listed(self, request: web.Request, user: str) -> web.StreamResponse:
        after, before = request.query.get("after"), request.query.get("before")
        if after is not None and before is not None:
            raise Problem(400, "Cannot specify both after and before.")
        hidden = request.query.get("include_hidden") == "true"
        size = int(request.query.get("limit", _PAGE))
        if not 1 <= size <= _PAGE:
            raise Problem(422, [_limit_complaint()])
        chats = self._inference.chats(user, hidden=hidden)
        page, following, previous = paged(chats, after, before, size)
        shown = [chat_shape(one) for one in page]
        return _written({"chats": shown, "next": following, "prev": previous})

    async def _read(self, request: web.Request, user: str) -> web.StreamResponse:
        chat = self._inference.chat(user, request.match_info["chat"])
        messages = [message_shape(one) for one in chat.rows()]
        return _written({**chat_shape(chat), "messages": messages})

    async def _change(self, request: web.Request, user: str) -> web.StreamResponse:
        body = posts.parsed(await request.read())
        self._inference.change(self._inference.chat(user, request.match_info["chat"]), body)
        return reply(200)

    async def _delete(self, request: web.Request, user: str) -> web.StreamResponse:
        ident = request.match_info["chat"]
        self._inference.delete(user, ident)
        self._server.note_deleted(ident)
        return reply(200)

    async def _prompter_message(self, request: web.Request, user: str) -> web.StreamResponse:
        asked = posts.prompting(posts.parsed(await request.read()))
        chat = request.match_info["chat"]
        return _posted(lambda: self._inference.prompt(user, chat, asked))

    async def _assistant_message(self, request: web.Request, user: str) -> web.StreamResponse:
        self._inference.count(user)
        asked = posts.assisting(posts.parsed(await request.read()))
        return _posted(lambda: self._inference.assist(user, asked))

    async def _message(self, request: web.Request, user: str) -> web.StreamResponse:
        return _written(message_shape(self._asked_for(request, user)))

    async def _events(self, request: web.Request, user: str) -> web.StreamResponse:
        message = self._asked_for(request, user)
        if message.role == "prompter":
            raise Problem(400, "Only assistant messages can be streamed.")
        if is_final(message):
            return reply(204)
        async with self._server.stream(request, STREAM_HEADERS) as out:
            await self._server.feed.send(out, message)
        return out.response

    def _asked_for(self, request: web.Request, user: str) -> Message:
        info = request.match_info
        return self._inference.message(user, info["chat"], info["message"])

    def _access(self, user: str) -> dict[str, object]:
        return {"access_token": self._token(user, "bearer")}

    def _token(self, user: str, kind: str) -> dict[str, object]:
        sessions = self._server.sessions
        token = sessions.begin(user) if kind == "bearer" else sessions.begin_refresh(user)
        return {"access_token": token, "token_type": kind}


def _posted(post: Callable[[], Message]) -> web.Response:
    """Post a message; where a handler breaks down these two routes say nothing at all."""
    try:
        return _written(message_shape(post()))
    except Problem as problem:
        return reply(500) if problem.detail is None else _told(problem)


def _told(problem: Problem) -> web.Response:
    if problem.detail is None:
        return reply(500, "Internal Server Error", "text/plain; charset=utf-8")
    return _written({"detail": problem.detail}, problem.status)


def _written(value: object, status: int = 200) -> web.Response:
    return reply(status, msgspec.json.encode(value), _JSON)


def _limit_complaint() -> dict[str, object]:
    return {
        "loc": ["query", "limit"],
        "msg": f"ensure this value is between 1 and {_PAGE}",
        "type": "value_error.number",
    }
