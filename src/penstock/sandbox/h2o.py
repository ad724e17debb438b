"""gpt-gm.h2o.ai: chat-ui of mid-2023 with a router behind each model (wire/h2o.md 1-7).

Order of the checks, as in the real server: size of the body, form posts by their
Referer, login, welcome modal; these answers set no cookie. Then the app: owner of the
conversation, rate, model, schema; everything from here on sets the cookie again.

A message's generation is a run of its own: the app reads its router to the end and
stores the answer whether or not the client is still there (section 6).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import web

from penstock.sandbox.h2o_answers import Answers, passed_on
from penstock.sandbox.h2o_state import (
    MODELS,
    Conversation,
    Settings,
    conversation_page,
    layout,
    page_data,
    parse_post,
)
from penstock.sandbox.script import Message, Prompt
from penstock.sandbox.server import Handler, Options, Server, Setup, reply
from penstock.sandbox.web_form import (
    COOKIE,
    JSON_TYPE,
    compact,
    early,
    error,
    is_form,
    origin,
    page,
    session_cookie,
    wants_json,
)

_YEAR = timedelta(days=365)
_BODY_LIMIT = 512 * 1024
_RATE_WINDOW = 60.0
_SESSION = web.RequestKey("h2o_session", str)


class H2oOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        login: Every request but GET is refused with 401.
        modal: The welcome modal has to be accepted once per cookie.
        secure_cookie: The cookie is ``Secure`` although this is plain http.
        rate_limit: More completed answers than this in a minute refuse the next with
            429; 0 is no limit.
        default_model: Model of new settings and of titles.
        gone: Models whose conversations can be made but not used any more (410).
        loading: The model's host answers 503 as while it loads.
        keep_alive: Seconds of silence after which a comment is sent.
        max_concurrent: Slots of each router; beyond them it is overloaded.
    """

    login: bool = False
    modal: bool = True
    secure_cookie: bool = False
    rate_limit: int = 0
    default_model: str = MODELS[0].ident
    gone: tuple[str, ...] = ()
    loading: bool = False
    keep_alive: float = 15.0
    max_concurrent: int = 128


class _Refused(Exception):
    """The app's own refusal: status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class H2oServer(Server):
    """The chat-ui of 2023."""

    kind = "h2o"
    options_type = H2oOptions
    options: H2oOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._settings: dict[str, Settings] = {}
        self._conversations: dict[str, Conversation] = {}
        options = self.options
        self._answers = Answers(self, options.max_concurrent, options.keep_alive)

    def routes(self) -> Sequence[web.RouteDef]:
        """All routes of the app that a client may meet."""
        one = "/conversation/{id}"
        return (
            web.post("/settings", self._save_settings),
            web.post("/conversation", self._create),
            web.get("/conversation", self._to_home),
            web.post(one, self._message),
            web.delete(one, self._delete),
            web.patch(one, self._rename),
            web.post(f"{one}/stop-generating", self._stop),
            web.post(f"{one}/summarize", self._summarize),
            web.post(f"{one}/share", self._share),
            web.get(f"{one}/__data.json", self._page),
            web.get("/__data.json", self._home),
        )

    def middlewares(self) -> Sequence[Callable[..., Awaitable[web.StreamResponse]]]:
        """The checks before the app, then the app's own errors and its cookie."""
        return (self._checks, self._app)

    # --- before the app ------------------------------------------------------------------

    @web.middleware
    async def _checks(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(await request.read()) > _BODY_LIMIT:
            return reply(413, "Invalid request body")
        refusal = self._form_refusal(request)
        if refusal is not None:
            return early(request, 403, refusal)
        request[_SESSION] = request.cookies.get(COOKIE) or str(uuid.uuid4())
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            if self.options.login:
                return early(request, 401, "You have to be logged in.")
            if not request.path.startswith("/settings") and not self._accepted(request):
                return early(request, 405, "You need to accept the welcome modal first")
        return await handler(request)

    def _form_refusal(self, request: web.Request) -> str | None:
        if not is_form(request):
            return None
        referer = request.headers.get("referer")
        if not referer:
            return "Non-JSON form requests need to have a referer"
        # The server takes its own origin for https whatever it is served over, unless
        # ORIGIN says otherwise; an emulator on http stands for both set-ups.
        own = (f"https://{request.host}", f"http://{request.host}")
        return None if origin(referer) in own else "Invalid referer for POST request"

    def _accepted(self, request: web.Request) -> bool:
        settings = self._settings.get(request[_SESSION])
        return not self.options.modal or (settings is not None and settings.accepted_at is not None)

    @web.middleware
    async def _app(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except _Refused as refusal:
            response = error(request, refusal.status, {"message": refusal.message})
        except web.HTTPMethodNotAllowed:
            return reply(405, f"{request.method} method not allowed", "text/plain")
        if not response.prepared:
            response.headers["Set-Cookie"] = self._cookie(request)
        return response

    def _cookie(self, request: web.Request) -> str:
        return session_cookie(request[_SESSION], _YEAR, secure=self.options.secure_cookie)

    # --- settings, conversations ---------------------------------------------------------

    async def _save_settings(self, request: web.Request) -> web.Response:
        known = {model.ident for model in MODELS}
        form = await request.post() if is_form(request) else {}
        model = str(form.get("activeModel", self.options.default_model))
        if not is_form(request) or model not in known:
            return self._form_failed(request)
        settings = self._settings.setdefault(request[_SESSION], Settings())
        settings.active_model = model
        # Any text counts as true, "false" as well; only leaving it out opts out.
        settings.share = bool(form.get("shareConversationsWithModelAuthors"))
        if form.get("ethicsModalAccepted"):
            settings.accepted_at = datetime.now(UTC)
        back = request.headers.get("referer") or "/"
        if wants_json(request.headers.get("accept"), otherwise=True):
            told = {"type": "redirect", "status": 303, "location": back}
            return reply(200, compact(told), JSON_TYPE)
        return reply(303, headers={"location": back})

    def _form_failed(self, request: web.Request) -> web.Response:
        if wants_json(request.headers.get("accept"), otherwise=True):
            told = {"type": "error", "error": {"message": "Internal Error"}}
            return reply(500, compact(told), JSON_TYPE)
        return page(500, "Internal Error")

    async def _create(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, object])
        except msgspec.MsgspecError:
            raise _Refused(500, "Internal Error") from None
        model = next((one for one in MODELS if one.ident == asked.get("model")), None)
        if model is None:
            raise _Refused(500, "Internal Error")
        owner = request[_SESSION]
        number = 1 + sum(one.owner == owner for one in self._conversations.values())
        ident = secrets.token_hex(12)
        self._conversations[ident] = Conversation(ident, owner, model, f"Untitled {number}")
        self.note_created(ident)
        return reply(200, compact({"conversationId": ident}), JSON_TYPE)

    async def _to_home(self, request: web.Request) -> web.Response:
        return reply(302, headers={"location": "/"})

    def _mine(self, request: web.Request) -> Conversation:
        """Give the conversation of the path.

        Raises:
            _Refused: The id is malformed, unknown, or another cookie's.
        """
        ident = request.match_info["id"]
        if len(ident) != 24 or any(one not in "0123456789abcdefABCDEF" for one in ident):
            raise _Refused(500, "Internal Error")
        conversation = self._conversations.get(ident)
        if conversation is None or conversation.owner != request[_SESSION]:
            raise _Refused(404, "Conversation not found")
        return conversation

    async def _delete(self, request: web.Request) -> web.Response:
        conversation = self._mine(request)
        del self._conversations[conversation.ident]
        self.note_deleted(conversation.ident)
        return reply(200)

    async def _rename(self, request: web.Request) -> web.Response:
        conversation = self._mine(request)
        try:
            title = msgspec.json.decode(await request.read(), type=dict[str, str])["title"]
        except (msgspec.MsgspecError, KeyError):
            raise _Refused(500, "Internal Error") from None
        if not 1 <= len(title) <= 100:
            raise _Refused(500, "Internal Error")
        conversation.title = title
        return reply(200)

    async def _share(self, request: web.Request) -> web.Response:
        self._mine(request)
        shared = f"https://{request.host}/r/{secrets.token_urlsafe(6)[:7]}"
        return reply(200, compact({"url": shared}), JSON_TYPE)

    async def _summarize(self, request: web.Request) -> web.Response:
        conversation = self._mine(request)
        model = next(one for one in MODELS if one.ident == self.options.default_model)
        if not model.root_route or not conversation.messages:
            raise _Refused(500, "Internal Error")
        question = f"Please summarize in a title: {conversation.messages[0].content}"
        run = self.run(Prompt(messages=(Message("user", question),), model=model.ident))
        await run.wait()
        return reply(200, compact({"title": run.text}), JSON_TYPE)

    # --- pages ---------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        ident = request.match_info["id"]
        conversation = self._conversations.get(ident)
        frame = self._layout(request)
        frame_uses: dict[str, object] = {"dependencies": ["conversation:list"], "url": 1}
        if conversation is None or conversation.owner != request[_SESSION]:
            refused = '{"type":"error","error":{"message":"Forbidden"},"status":403}'
            text = page_data([frame], [frame_uses]).replace("]}\n", f",{refused}]}}\n")
            return self._data(text)
        place = f"https://{request.host}/conversation/conversation"
        uses: dict[str, object] = {"dependencies": [place], "params": ["id"]}
        return self._data(page_data([frame, conversation_page(conversation)], [frame_uses, uses]))

    async def _home(self, request: web.Request) -> web.Response:
        uses: dict[str, object] = {"dependencies": ["conversation:list"], "url": 1}
        return self._data(page_data([self._layout(request)], [uses]))

    def _layout(self, request: web.Request) -> dict[str, object]:
        owner = request[_SESSION]
        settings = self._settings.get(owner, Settings(active_model=self.options.default_model))
        return layout(settings, [c for c in self._conversations.values() if c.owner == owner])

    def _data(self, text: str) -> web.Response:
        return reply(200, text, JSON_TYPE, {"cache-control": "private, no-store"})

    # --- messages ------------------------------------------------------------------------

    async def _message(self, request: web.Request) -> web.StreamResponse:
        conversation = self._mine(request)
        self._check_rate(request[_SESSION])
        if conversation.model.ident in self.options.gone:
            raise _Refused(410, "Model not available anymore")
        body = await request.read()
        post = parse_post(body)
        if post is None or "content-type" not in request.headers:
            raise _Refused(500, "Internal Error")
        upstream = "503" if self.options.loading else self.fault("upstream")
        if upstream is not None:
            answer = passed_on(str(upstream), conversation.model.ident)
            if answer is None:
                raise _Refused(500, "Internal Error")
            return answer
        cookie = {"Set-Cookie": self._cookie(request)}
        return await self._answers.answer(request, conversation, post, cookie)

    def _check_rate(self, owner: str) -> None:
        limit = self.options.rate_limit
        if limit and self._answers.completed(owner, _RATE_WINDOW) > limit:
            raise _Refused(429, "You are sending too many messages. Try again later.")

    async def _stop(self, request: web.Request) -> web.Response:
        self._answers.stop(self._mine(request), asyncio.get_running_loop().time())
        return reply(200)
