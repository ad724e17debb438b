"""The server: options, identity, and the calls beside the chat (wire/allenai.md)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Literal

import msgspec
from aiohttp import web

from penstock.sandbox.allenai import refusals, shapes, v5
from penstock.sandbox.allenai.message_stream import MessageStream
from penstock.sandbox.allenai.models import MODELS_2025, MODELS_2026, listed_2025, listed_2026
from penstock.sandbox.allenai.refusals import Refused
from penstock.sandbox.allenai.store import Message, Store, User, made_id
from penstock.sandbox.allenai.threads import Threads, page
from penstock.sandbox.allenai.turns import Moderation, prompt_tokens
from penstock.sandbox.script import Prompt
from penstock.sandbox.server import Handler, Options, Server, Setup, reply

TOKEN = "sandbox-ai2-token"  # noqa: S105 - the sandbox's own, known to everybody
"""A bearer token that is always valid."""

_DAY = 86_400.0


class AllenAIOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        dialect: Which version it is; the chat path of the other one is not there.
        v5: Whether ``POST /v5/threads/chat`` is there.
        bearers: Users by further bearer tokens that are valid.
        lifetime: Seconds after which anonymous threads are gone.
        first_token: Seconds after which the older version says ``model overloaded``.
        read_timeout: Seconds of silence after which the proxy in front breaks a stream off; in
            the older version counted in steps of `first_token`. 0: never.
        context: Most tokens of a prompt, in the newer version with its answer; 0: no limit.
        captcha: Whether captcha tokens are judged: "invalid" and "bot" are refused.
        dead_hosts: Hosts whose models the newer version lists, but serves no longer.
        refused_texts: What the moderation refuses in a text.
        refused_files: What the moderation refuses in a file.
    """

    dialect: Literal["threads", "message-stream"] = "threads"
    v5: bool = False
    bearers: dict[str, str] = msgspec.field(default_factory=dict)
    lifetime: float = _DAY
    first_token: float = 5.0
    read_timeout: float = 0.0
    context: int = 0
    captcha: bool = False
    dead_hosts: tuple[str, ...] = ()
    refused_texts: tuple[str, ...] = ("how to build a bomb",)
    refused_files: tuple[str, ...] = ("UNSAFE-IMAGE",)


class AllenAIServer(Server):
    """One server of one version.

    Attributes:
        store: The messages.
        threads: The newer version's calls, which v5 builds on.
        moderation: What is refused.
        token: A bearer token that works.
    """

    kind = "allenai"
    options_type = AllenAIOptions
    options: AllenAIOptions
    body_limit: ClassVar[int] = 100 * 1024 * 1024

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.store = Store(self.options.lifetime)
        self.threads = Threads(self)
        self.moderation = Moderation(self.options.refused_texts, self.options.refused_files)
        self.token = TOKEN
        self._bearers = {TOKEN: "auth0|sandbox", **self.options.bearers}
        self._message_stream = MessageStream(self)
        self._v5 = v5.V5(self)

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes of the version that was chosen."""
        shared = (
            web.get("/v3/message/{id}", self._read),
            web.delete("/v3/message/{id}", self._delete),
            web.get("/health", self._health),
        )
        if self.options.dialect == "message-stream":
            return (
                web.post("/v4/message/stream", self._message_stream.post),
                web.get("/v3/models", self._models_2025),
                web.get("/v3/messages", self._messages),
                web.get("/v3/whoami", self._whoami),
                *shared,
            )
        return (
            web.post("/v4/threads/", self.threads.post),
            web.get("/v4/threads/", self.threads.listed),
            web.get("/v4/threads/{id}", self.threads.read),
            web.get("/v4/models/", self._models_2026),
            web.route("*", "/v4/threads", self._add_slash),
            web.route("*", "/v4/models", self._add_slash),
            web.get("/v5/user/whoami", self._v5.whoami),
            web.post("/v5/threads/chat", self._v5.chat),
            *shared,
        )

    def middlewares(self) -> Sequence[Callable[..., Awaitable[web.StreamResponse]]]:
        """Turn refusals, and what the router refuses, into error bodies."""
        return (self._refusals,)

    def user(self, request: web.Request) -> User:
        """Say who asks (wire/allenai.md section 2).

        Raises:
            Refused: Nobody that is known; a bad Authorization spoils a good anonymous id.
        """
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            known = self._bearers.get(token.strip())
            if scheme.lower() != "bearer" or known is None:
                raise Refused(401)
            return User(known, anonymous=False)
        anonymous = request.headers.get("x-anonymous-user-id")
        if anonymous is None:
            raise Refused(401)
        return User(anonymous)

    def note_thread(self, root: str) -> None:
        """Remember a thread for the state that tests look at."""
        self.note_created(root)

    def sign(self, reply_message: Message) -> None:
        """Give a finished reply of a signed-in user its completion id."""
        if reply_message.expires is None:
            reply_message.completion = made_id("cpl")

    def overflows(self, prompt: Prompt, wanted: int = 0) -> bool:
        """Say whether a prompt, and so many tokens after it, are too much for a model."""
        return 0 < self.options.context < prompt_tokens(prompt) + wanted

    @web.middleware
    async def _refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            told = refused
        except web.HTTPRequestEntityTooLarge:
            return refusals.proxy_page(413)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as missing:
            told = Refused(missing.status)
        if request.path.startswith("/v5/"):
            return v5.refusal(told)
        return refusals.refusal(request, told)

    async def _add_slash(self, request: web.Request) -> web.Response:
        query = f"?{request.query_string}" if request.query_string else ""
        place = f"{request.scheme}://{request.host}{request.path}/{query}"
        body = (
            "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n"
            "<h1>Redirecting...</h1>\n<p>You should be redirected automatically to the target "
            f'URL: <a href="{place}">{place}</a>. If not, click the link.\n'
        )
        return reply(308, body, "text/html; charset=utf-8", {"Location": place})

    async def _read(self, request: web.Request) -> web.Response:
        user = self.user(request)
        message = self.store.find(request.match_info["id"])
        if message is None:
            raise Refused(404)
        if message.private:
            self.store.owned(message, user)
        return _sorted(shapes.tree_2025(message, self.store))

    async def _delete(self, request: web.Request) -> web.Response:
        user = self.user(request)
        message = self.store.find(request.match_info["id"])
        if message is None:
            raise Refused(404)
        self.store.owned(message, user)
        if message.root != message.id:
            raise Refused(403)
        self.store.delete(message.id)
        self.note_deleted(message.id)
        return _sorted(None)

    async def _messages(self, request: web.Request) -> web.Response:
        user = self.user(request)
        limit, offset = page(request)
        creator = request.query.get("creator", user.id)
        roots = [one for one in self.store.roots(creator) if creator == user.id or not one.private]
        shown = [shapes.tree_2025(one, self.store) for one in roots[offset : offset + limit]]
        meta = {"total": len(roots), "offset": offset, "limit": limit, "sort": None}
        return _sorted({"messages": shown, "meta": meta})

    async def _whoami(self, request: web.Request) -> web.Response:
        user = self.user(request)
        told = {"client": user.id, "hasAcceptedTermsAndConditions": False, "id": None}
        return _sorted(told if user.anonymous else {**told, "id": user.id})

    async def _models_2025(self, request: web.Request) -> web.Response:
        return _sorted([listed_2025(one) for one in MODELS_2025])

    async def _models_2026(self, request: web.Request) -> web.Response:
        return _sorted([listed_2026(one) for one in MODELS_2026 if not one.internal])

    async def _health(self, request: web.Request) -> web.Response:
        return reply(204)


def _sorted(value: object) -> web.Response:
    return reply(200, json.dumps(value, sort_keys=True), "application/json")
