"""Today's chat-ui (huggingface/chat-ui@c100c162f; wire/h2o.md section 9).

Order of the checks: form posts by their Origin, login; these answers set no cookie.
Then the app: owner of the conversation, limits, model, form, parent.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from penstock.sandbox.chatui_answers import Answers
from penstock.sandbox.chatui_lists import (
    PUBLIC_CONFIG,
    api_models,
    conversation_list,
    plain_models,
    settings,
)
from penstock.sandbox.chatui_posts import Posts, Refused, read_form
from penstock.sandbox.chatui_state import (
    MODELS,
    Conversation,
    planted,
    superjson,
)
from penstock.sandbox.server import Handler, Options, Server, Setup, reply
from penstock.sandbox.web_form import (
    COOKIE,
    JSON_TYPE,
    compact,
    early,
    error,
    is_form,
    session_cookie,
)

_TWO_WEEKS = timedelta(days=14)
_SESSION = web.RequestKey("chatui_session", str)
_VARY = {"Vary": "Accept-Encoding"}
_API = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": "Content-Type, Authorization",
}
_CACHED = {"cache-control": "private, max-age=60"}


class ChatUiOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        login: Posts and deletions are refused or sent to a login page.
        secure_cookie: The cookie is ``Secure`` although this is plain http.
        models: The models it knows.
        gone: Models whose conversations can be made but not used any more (410).
        messages_per_minute: Refuses the message after so many in a minute; 0 is no limit.
        conversations: Refuses a new conversation when more than this exist; 0 is none.
        messages: Refuses a message when the conversation holds more; 0 is no limit.
        message_length: Longest message in characters; 0 is no limit.
        provider: Names a provider in a ``routerMetadata`` line after the answer.
        text_with_finish: The model's last piece comes with its finish reason, so that
            it is not streamed and only ``finalAnswer`` has it.
    """

    login: bool = False
    secure_cookie: bool = False
    models: tuple[str, ...] = MODELS
    gone: tuple[str, ...] = ()
    messages_per_minute: int = 0
    conversations: int = 0
    messages: int = 0
    message_length: int = 0
    provider: str = ""
    text_with_finish: bool = False


class ChatUiServer(Server):
    """Today's chat-ui."""

    kind = "chatui"
    options_type = ChatUiOptions
    options: ChatUiOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._conversations: dict[str, Conversation] = {}
        self._answers = Answers(self, self.options.provider, self.options.text_with_finish)
        self._settings: dict[str, dict[str, object]] = {}
        self._posts = Posts()

    def routes(self) -> Sequence[web.RouteDef]:
        """All routes of the app that an API client may meet."""
        one, api = "/conversation/{id}", "/api/v2/conversations"
        return (
            web.post("/settings", self._save_settings),
            web.post("/conversation", self._create),
            web.post(one, self._message),
            web.delete(one, self._delete),
            web.post(f"{one}/stop-generating", self._stop),
            web.get(f"{one}/stream", self._reattach),
            web.get(api, self._list),
            web.get(f"{api}/{{id}}", self._show),
            web.delete(f"{api}/{{id}}", self._api_delete),
            web.get("/api/v2/models", self._api_models),
            web.get("/api/models", self._plain_models),
            web.get("/api/v2/user", self._user),
            web.get("/api/v2/user/settings", self._show_settings),
            web.get("/api/v2/public-config", self._public_config),
            web.get("/healthcheck", self._healthcheck),
        )

    def middlewares(self) -> Sequence[Callable[..., Awaitable[web.StreamResponse]]]:
        """The checks before the app, then the app's own errors and its cookie."""
        return (self._checks, self._app)

    # --- before the app ------------------------------------------------------------------

    @web.middleware
    async def _checks(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_SESSION] = request.cookies.get(COOKIE) or str(uuid.uuid4())
        refusal = self._origin_refusal(request)
        if refusal is not None:
            return self._dressed(early(request, 403, refusal))
        if self.options.login and request.method not in ("GET", "HEAD", "OPTIONS"):
            return self._dressed(self._to_login(request))
        return await handler(request)

    def _origin_refusal(self, request: web.Request) -> str | None:
        if not is_form(request):
            return None
        origin = request.headers.get("origin")
        if not origin:
            return "Non-JSON form requests need to have an origin"
        return (
            None if urlsplit(origin).netloc == request.host else "Invalid referer for POST request"
        )

    def _to_login(self, request: web.Request) -> web.Response:
        place = "https://login.example.org/oauth/authorize?client_id=sandbox"
        if request.path == "/conversation":
            return reply(302, headers={"location": place})
        if request.path == "/settings":
            told = {"type": "redirect", "status": 302, "location": place}
            return reply(200, compact(told), JSON_TYPE)
        return early(request, 401, "You have to be logged in.")

    @web.middleware
    async def _app(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Refused as refusal:
            response = error(request, refusal.status, refusal.members)
        if not response.prepared:
            self._dressed(response)
            if request.method == "POST":
                response.headers["Set-Cookie"] = self._cookie(request)
            if request.path.startswith("/api/"):
                response.headers.update(_API)
        return response

    def _dressed(self, response: web.StreamResponse) -> web.StreamResponse:
        response.headers.update(_VARY)
        return response

    def _cookie(self, request: web.Request) -> str:
        secure = self.options.secure_cookie
        return session_cookie(request[_SESSION], _TWO_WEEKS, secure=secure)

    # --- settings and lists --------------------------------------------------------------

    async def _save_settings(self, request: web.Request) -> web.Response:
        asked = await self._json(request)
        mine = self._settings.setdefault(request[_SESSION], {})
        mine.update({key: asked[key] for key in ("activeModel",) if key in asked})
        if asked.get("welcomeModalSeen"):
            mine.update(welcomeModalSeen=True, welcomeModalSeenAt=datetime.now(UTC))
        return reply(200)

    async def _json(self, request: web.Request) -> dict[str, object]:
        try:
            return msgspec.json.decode(await request.read(), type=dict[str, object])
        except msgspec.MsgspecError:
            raise Refused from None

    async def _show_settings(self, request: web.Request) -> web.Response:
        mine = self._settings.get(request[_SESSION], {})
        shown = settings(self.options.models[0]) | mine
        return reply(200, superjson(shown), JSON_TYPE)

    async def _user(self, request: web.Request) -> web.Response:
        return reply(200, superjson(None), JSON_TYPE)

    async def _api_models(self, request: web.Request) -> web.Response:
        return reply(200, superjson(api_models(self.options.models)), JSON_TYPE, _CACHED)

    async def _plain_models(self, request: web.Request) -> web.Response:
        return reply(200, compact(plain_models(self.options.models)), JSON_TYPE)

    async def _public_config(self, request: web.Request) -> web.Response:
        return reply(200, superjson(PUBLIC_CONFIG), JSON_TYPE, _CACHED)

    async def _healthcheck(self, request: web.Request) -> web.Response:
        return reply(200, "OK", "text/plain;charset=UTF-8")

    async def _list(self, request: web.Request) -> web.Response:
        owner, page = request[_SESSION], request.query.get("p", "")
        mine = [one for one in self._conversations.values() if one.owner == owner]
        shown = conversation_list(mine, int(page) if page.isdecimal() else 0)
        return reply(200, superjson(shown), JSON_TYPE)

    # --- conversations -------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        asked = await self._json(request)
        owner, model = request[_SESSION], asked.get("model")
        limit = self.options.conversations
        if limit and sum(one.owner == owner for one in self._conversations.values()) > limit:
            told = "You have reached the maximum number of conversations. Delete some to continue."
            raise Refused(429, told)
        if not isinstance(model, str) or model not in self.options.models:
            raise Refused(400, "Invalid request")
        made = planted(secrets.token_hex(12), owner, model, str(asked.get("preprompt") or ""))
        self._conversations[made.ident] = made
        self.note_created(made.ident)
        shown = superjson(made.shown(updates=False))
        answer = {"conversationId": made.ident, "conversation": shown}
        return reply(200, compact(answer), JSON_TYPE)

    def _mine(self, request: web.Request) -> Conversation:
        """Give the conversation of the path.

        Raises:
            Refused: The id is malformed (500), unknown or another cookie's (404).
        """
        ident = request.match_info["id"]
        if not _is_id(ident):
            raise Refused
        conversation = self._conversations.get(ident)
        if conversation is None or conversation.owner != request[_SESSION]:
            raise Refused(404, "Conversation not found")
        return conversation

    async def _delete(self, request: web.Request) -> web.Response:
        self._forget(self._mine(request))
        return reply(200)

    def _forget(self, conversation: Conversation) -> None:
        del self._conversations[conversation.ident]
        self.note_deleted(conversation.ident)

    async def _api_delete(self, request: web.Request) -> web.Response:
        if not _is_id(request.match_info["id"]):
            raise Refused(400, "Invalid conversation ID")
        self._forget(self._mine(request))
        return reply(200, superjson({"success": True}), JSON_TYPE)

    async def _show(self, request: web.Request) -> web.Response:
        ident = request.match_info["id"]
        if not _is_id(ident):
            raise Refused(400, "Invalid conversation ID")
        conversation = self._conversations.get(ident)
        if conversation is None:
            raise Refused(404, "Conversation not found")
        if conversation.owner != request[_SESSION]:
            raise Refused(403, "You don't have access to this conversation")
        return reply(200, superjson(conversation.shown(updates=True)), JSON_TYPE)

    # --- messages ------------------------------------------------------------------------

    async def _message(self, request: web.Request) -> web.StreamResponse:
        conversation = self._mine(request)
        self._check_limits(request, conversation)
        if conversation.model in self.options.gone:
            raise Refused(410, "Model not available anymore")
        asked, files = await read_form(request)
        limit = self.options.message_length
        if limit and len(asked.inputs) > limit:
            raise Refused(400, "Message too long.")
        generation = self._answers.begin(conversation, asked, files)
        headers = {**_VARY, "Set-Cookie": self._cookie(request)}
        async with self.stream(request, {**headers, "Content-Type": "application/jsonl"}) as out:
            await self._answers.relay(out, generation)
        return out.response

    def _check_limits(self, request: web.Request, conversation: Conversation) -> None:
        keys = (f"session {request[_SESSION]}", f"address {request.remote}")
        if self._posts.refuses(keys, self.options.messages_per_minute):
            raise Refused(429, "You are sending too many messages. Try again later.")
        most = self.options.messages
        if most and len(conversation.nodes) > most:
            told = f"This conversation has more than {most} messages. Start a new one to continue"
            raise Refused(429, told)

    async def _stop(self, request: web.Request) -> web.Response:
        conversation = self._mine(request)
        asked = await self._json(request) if await request.read() else {}
        self._answers.stop(conversation, asked.get("generationId"), asked.get("seenContentLength"))
        return reply(200)

    async def _reattach(self, request: web.Request) -> web.StreamResponse:
        conversation = self._mine(request)
        generation = self._answers.find(conversation, request.query.get("generationId"))
        start = request.headers.get("last-event-id") or request.query.get("fromSeq", "0")
        headers = {
            **_VARY,
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
        async with self.stream(request, headers) as out:
            after = int(start) if start.isdecimal() else 0
            await self._answers.replay(out, generation, after)
        return out.response


def _is_id(text: str) -> bool:
    return len(text) == 24 and all(one in "0123456789abcdefABCDEF" for one in text)
