"""The application: an ASGI callable that any server can host and any application can mount.

Every request becomes an ``Exchange``, is admitted, finds its endpoint, and ends as one line in the
log. Whatever goes wrong on the way is an answer in the shape its caller expects; this is the one
place that turns an unforeseen exception into a 500.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from starlette.routing import Route, Router

from penstock.client import Client
from penstock.config import Settings
from penstock.config.gateway import GatewaySettings
from penstock.errors import PenstockError
from penstock.gateway.admission import PUBLIC, Admission
from penstock.gateway.answer import Answer
from penstock.gateway.auth import Keys
from penstock.gateway.clients import Clients
from penstock.gateway.costs import settle, take
from penstock.gateway.errors import Failure, failure_of, refusal
from penstock.gateway.exchange import Exchange, new_id
from penstock.gateway.http import (
    CLOSED,
    JSON,
    REFUSED_BELOW,
    ClientGone,
    Receive,
    Refused,
    Scope,
    Send,
    read_body,
    respond,
    respond_and_close,
)
from penstock.gateway.models import Catalogue
from penstock.gateway.openapi import description
from penstock.gateway.page import Page
from penstock.gateway.surfaces import estimate
from penstock.gateway.surfaces.body import read_object
from penstock.gateway.surfaces.chat import ChatWriter
from penstock.gateway.surfaces.chat_body import ask_chat, read_chat
from penstock.gateway.surfaces.messages import MessagesWriter, error_body
from penstock.gateway.surfaces.messages_body import ask_messages, read_messages
from penstock.gateway.surfaces.responses import REPEATED, ResponsesWriter
from penstock.gateway.surfaces.responses_body import ask_responses, read_responses
from penstock.gateway.surfaces.surface import Asked, Writer
from penstock.gateway.transcript import Transcript
from penstock.gateway.under_way import UnderWay
from penstock.gateway.view import View
from penstock.types import Capabilities

_log = logging.getLogger("penstock.gateway")
_access = logging.getLogger("penstock.access")

Handler = Callable[[Exchange, Receive, Send], Awaitable[None]]
Given = dict[str, Any]
Read = tuple[Asked, Capabilities, Writer]
"""What a body asks for, what its back end can do, and who writes the answer."""
SLOT = "penstock.exchange"
"""Where a request's exchange is in its scope."""
POLLED = frozenset({"/api/status", "/health/live", "/health/ready", "/metrics"})
"""What is asked every few seconds: as long as all is well it would bury the other lines."""
FILE_WATCH = 1.0
"""Seconds between two looks at the configuration file."""


class Endpoint:
    """An ASGI callable for one path: method -> handler.

    A handler answers, or raises ``Refused`` or a ``PenstockError`` before it has begun to.
    """

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the handler of its method."""
        exchange: Exchange = scope[SLOT]
        exchange.parameters = scope.get("path_params", {})
        await self.handler(exchange)(exchange, receive, send)

    def handler(self, exchange: Exchange) -> Handler:
        """The handler of a request.

        Raises:
            Refused: its method has none here.
        """
        handler = self._handlers.get(exchange.method)
        if handler is None:
            allowed = ", ".join(self._handlers)
            sentence = f"{exchange.path} takes {allowed}, not {exchange.method}"
            raise Refused(refusal(405, sentence), [(b"allow", allowed.encode())])
        return handler


class Gateway:
    """Every provider of a client behind OpenAI's HTTP surface.

    Attributes:
        settings: how to serve.
        ready: False from the moment at which no new requests should come.
        view: the figures that it tells of itself.

    Args:
        client: what answers; it is closed with the application.
        settings: how to serve.
        reread: reads the settings anew; without it ``reload`` does nothing.
        key_file: the file of gateway keys where the settings name none; it need not exist yet.
        view: the observer of ``client``; without it no figures of targets are known.

    Raises:
        ConfigError: the key file cannot be read.
    """

    def __init__(
        self,
        client: Client,
        settings: GatewaySettings | None = None,
        *,
        reread: Callable[[], Settings] | None = None,
        key_file: Path | None = None,
        view: View | None = None,
    ) -> None:
        self.view = view or View()
        self._clients = Clients(client, self.view)
        self._reread = reread
        self.settings = settings or GatewaySettings()
        self.ready = True
        self._under_way = UnderWay()
        self.catalogue = Catalogue(lambda: self.client)
        self._page = Page()
        self._polled = POLLED | self._page.paths
        self._keys = Keys(self.settings, key_file)
        self._admission = self._door()
        endpoints = self._table()
        routes = [Route(path, endpoint) for path, endpoint in endpoints.items()]
        self._router = Router(routes=routes, default=_unknown_path, redirect_slashes=False)
        self._plain = {path: one for path, one in endpoints.items() if "{" not in path}
        self.view.attach(self)

    @property
    def client(self) -> Client:
        """Who makes the answers."""
        return self._clients.current

    @property
    def open_streams(self) -> int:
        """Answers under way."""
        return len(self._under_way)

    def _table(self) -> dict[str, Endpoint]:
        """Path -> endpoint."""
        return {
            "/v1/chat/completions": Endpoint(POST=partial(self._answer, self._chat)),
            "/v1/responses": Endpoint(POST=partial(self._answer, self._responses)),
            "/v1/messages": Endpoint(POST=partial(self._answer, self._messages)),
            "/v1/models": Endpoint(GET=self._models),
            "/v1/models/{id:path}": Endpoint(GET=self._model),
            "/health/live": Endpoint(GET=_live),
            "/health/ready": Endpoint(GET=self._readiness),
            "/metrics": Endpoint(GET=self._metrics),
            "/api/status": Endpoint(GET=self._status),
            "/openapi.json": Endpoint(GET=_description),
            **_page_endpoints(self._page),
        }

    def _door(self) -> Admission:
        return Admission(self.settings, self._keys.ring, PUBLIC | self._page.paths)

    # -- the edge ------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection event of the server: a request, or the server's start and end."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            return
        exchange = scope[SLOT] = Exchange(scope, monotonic())
        try:
            if self._admission.admit(exchange, scope):
                await _permit(exchange, send)
            elif endpoint := self._endpoint(scope):
                await endpoint.handler(exchange)(exchange, receive, send)
            else:
                await self._router(scope, receive, send)
        except ClientGone:
            exchange.status = exchange.status or scope.get(REFUSED_BELOW, 499)
            exchange.kind = "bad_request" if REFUSED_BELOW in scope else "cancelled"
        except Refused as refused:
            exchange.further = (*exchange.further, *refused.headers)
            await self._refuse(exchange, refused.failure, receive, send)
        except PenstockError as error:
            exchange.kind = error.kind
            await self._refuse(exchange, failure_of(error), receive, send)
        except Exception as error:
            if CLOSED in str(error):  # the caller left
                exchange.status, exchange.kind = exchange.status or 499, "cancelled"
                return
            _log.exception("request %s failed in a way nobody foresaw", exchange.request_id)
            exchange.kind = "config"
            if exchange.status:
                raise
            failure = refusal(500, "the gateway failed; its log says why")
            await self._refuse(exchange, failure, receive, send)
        finally:
            self._ended(exchange, monotonic())

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        """The endpoint that needs no search: one below a mount does, and one with parameters."""
        return None if scope.get("root_path") else self._plain.get(scope["path"])

    async def _refuse(
        self, exchange: Exchange, failure: Failure, receive: Receive, send: Send
    ) -> None:
        exchange.status = failure.status
        headers = [JSON, *exchange.answer_headers(monotonic()), *failure.headers()]
        body = failure.body()
        if exchange.path.startswith("/v1/messages"):
            body = error_body(failure, exchange.request_id)
        if not exchange.read and self._admission.is_long(exchange.headers):
            await respond_and_close(send, receive, failure.status, body, headers)
        else:
            await respond(send, failure.status, body, headers)

    def _ended(self, exchange: Exchange, now: float) -> None:
        self.view.ended(exchange, now)
        quiet = exchange.path in self._polled and exchange.status < 400
        level = logging.DEBUG if quiet else logging.INFO
        if _access.isEnabledFor(level):
            _access.log(level, "%s", msgspec.json.encode(exchange.record(now)).decode())

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with asyncio.TaskGroup() as group:
            self._clients.tasks = group
            watcher = group.create_task(self._watch_file())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            watcher.cancel()
        self._clients.tasks = None
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch_file(self) -> None:
        """Reload whenever the configuration file has changed; take keys as they come and go."""
        known = _stamp(self.client.settings.file)
        while True:
            await asyncio.sleep(FILE_WATCH)
            self._look_at_keys()
            stamp = _stamp(self.client.settings.file)
            if stamp != known:
                known = stamp
                self.reload()

    def _look_at_keys(self) -> None:
        try:
            if self._keys.look():
                self._admission = self._door()
                _log.info("the gateway keys were read again")
        except PenstockError as error:
            _log.error("the new gateway keys are refused, the old ones stay: %s", error)

    async def drain(self) -> None:
        """Take nothing new; let the answers under way end within the limit, then end them.

        The upstreams of those that are ended are stopped, and their callers are told.
        """
        self.ready = False
        await self._under_way.drain(self.settings.limits.drain)

    def hurry(self) -> None:
        """End the answers under way now, if ``drain`` waits for them. Safe in a signal handler."""
        self._under_way.hurry()

    def reload(self) -> None:
        """Read the configuration again. A wrong one is refused, and the old one stays.

        Answers under way keep the client they began with; it is closed after the last of them.
        Where only the gateway's own table has changed, the client stays, and with it what is known
        of failing targets and used limits.
        """
        if self._reread is None:
            return
        try:
            settings = self._reread()
            client = self._clients.made(settings)
            self._keys.read(settings.gateway)
        except PenstockError as error:
            _log.error("the new configuration is refused, the old one stays: %s", error)
            return
        _tell_of_restart(self.settings, settings.gateway)
        self.settings = settings.gateway
        self._clients.replace(client)
        self._admission = self._door()
        self.view.attach(self)
        _log.info("the configuration was read again")

    async def aclose(self) -> None:
        """Close the client: streams are left, cleanups finish within their deadline."""
        self.ready = False
        await self._clients.aclose()
        self.view.settle()

    # -- endpoints -----------------------------------------------------------------------------

    def _chat(self, exchange: Exchange, given: Given) -> Read:
        body = read_chat(given, self.settings.limits.messages)
        able = self._able(exchange, body.model)
        asked = ask_chat(body, given, able, lenient=self._lenient(exchange))
        writer = ChatWriter(
            "chatcmpl-" + new_id(),
            body.model,
            int(time.time()),
            usage=body.include_usage,
            copies=asked.copies,
        )
        return asked, able, writer

    def _responses(self, exchange: Exchange, given: Given) -> Read:
        body = read_responses(given, self.settings.limits.messages)
        able = self._able(exchange, body.model)
        asked = ask_responses(body, given, able, lenient=self._lenient(exchange))
        repeated = {name: given[name] for name in REPEATED if given.get(name) is not None}
        writer = ResponsesWriter("resp_" + new_id(), body.model, int(time.time()), repeated)
        return asked, able, writer

    def _messages(self, exchange: Exchange, given: Given) -> Read:
        body = read_messages(given, self.settings.limits.messages)
        able = self._able(exchange, body.model)
        asked = ask_messages(body, given, able, lenient=self._lenient(exchange))
        known = estimate.begun(asked.request) if self.settings.estimate_usage else None
        writer = MessagesWriter("msg_" + new_id(), body.model, exchange.request_id, known)
        return asked, able, writer

    async def _body(self, exchange: Exchange, receive: Receive) -> Given:
        self._admission.check_body(exchange.headers)
        if exchange.caller is not None:
            exchange.caller.check(monotonic())
        data = await read_body(receive, self.settings.limits.body)
        exchange.read = True
        return read_object(data)

    def _able(self, exchange: Exchange, model: str) -> Capabilities:
        """What the back end of ``model`` is able to do."""
        exchange.model = model
        if exchange.caller is not None and not exchange.caller.may_ask(model):
            raise Refused(_no_model(model))
        return self.client.capabilities(model)

    def _lenient(self, exchange: Exchange) -> bool:
        said = exchange.header(b"x-penstock-lenient")
        return self.settings.lenient if said is None else said.strip().lower() in ("true", "1")

    async def _answer(
        self,
        read: Callable[[Exchange, Given], Read],
        exchange: Exchange,
        receive: Receive,
        send: Send,
    ) -> None:
        asked, able, writer = read(exchange, await self._body(exchange, receive))
        if not self.ready:
            raise Refused(refusal(503, "the gateway is stopping; ask again", code="stopping"))
        if len(self._under_way) >= self.settings.limits.streams:
            raise Refused(refusal(503, "the gateway is full; try again", retry_after=1))
        if asked.dropped:
            exchange.warnings = tuple(f"parameter_dropped {name}" for name in asked.dropped)
        if self.settings.log_prompts:
            writer = exchange.transcript = Transcript(writer, asked.request)
        client, id = self._clients.current, exchange.request_id
        answer = Answer(
            exchange,
            asked,
            writer,
            [client.stream(asked.request, request_id=id) for _ in range(asked.copies)],
            self.settings.limits,
            openai_compatible=able.chat_completions,
            estimate_usage=self.settings.estimate_usage,
        )
        taken = take(exchange, asked, monotonic())
        self._under_way.add(answer)
        self._clients.take(client)
        try:
            await answer.run(receive, send)
        finally:
            settle(exchange, asked, taken)
            self._under_way.discard(answer)
            self._clients.give_back(client)

    async def _models(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        listed = await self.catalogue.models()
        if (caller := exchange.caller) is not None:
            listed = [model for model in listed if caller.may_ask(model["id"])]
        await _ok(exchange, send, {"object": "list", "data": listed})

    async def _model(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        id = exchange.parameters["id"]
        if exchange.caller is not None and not exchange.caller.may_ask(id):
            raise Refused(_no_model(id))
        model = await self.catalogue.find(id)
        if model is None:
            raise Refused(_no_model(id))
        await _ok(exchange, send, model)

    async def _readiness(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        if not self.ready:
            raise Refused(refusal(503, "the gateway is stopping", code="stopping"))
        await _ok(exchange, send, {"status": "ready", "open_streams": self.open_streams})

    async def _metrics(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        text, kind = await self.view.metrics_text(exchange.header(b"accept") or "")
        exchange.status = 200
        headers = [(b"content-type", kind.encode()), *exchange.answer_headers(monotonic())]
        await respond(send, 200, text, headers)

    async def _status(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        await _ok(exchange, send, await self.view.status())


def _tell_of_restart(old: GatewaySettings, new: GatewaySettings) -> None:
    for name in ("host", "port", "workers"):
        if getattr(old, name) != getattr(new, name):
            _log.warning("gateway.%s is taken at the next start", name)


def _stamp(file: str | None) -> tuple[int, int] | None:
    """What changes whenever the file does; None where there is none."""
    try:
        facts = Path(file).stat() if file else None
    except OSError:
        return None
    return (facts.st_mtime_ns, facts.st_ino) if facts else None


async def _description(exchange: Exchange, receive: Receive, send: Send) -> None:
    exchange.status = 200
    await respond(send, 200, description(), [JSON, *exchange.answer_headers(monotonic())])


async def _live(exchange: Exchange, receive: Receive, send: Send) -> None:
    await _ok(exchange, send, {"status": "live"})


def _page_endpoints(page: Page) -> dict[str, Endpoint]:
    """Path -> endpoint, for each file of the page."""

    def endpoint(path: str) -> Endpoint:
        async def show(exchange: Exchange, receive: Receive, send: Send) -> None:
            answer = page.answer(path, exchange.method, exchange.headers)
            exchange.status = answer.status
            await answer.send(send, exchange.answer_headers(monotonic()))

        return Endpoint(GET=show, HEAD=show)

    return {path: endpoint(path) for path in sorted(page.paths)}


async def _unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    path = str(scope["path"])[:200]
    raise Refused(refusal(404, f"there is nothing at {path}", code="unknown_path"))


async def _ok(exchange: Exchange, send: Send, value: object) -> None:
    exchange.status = 200
    headers = [JSON, *exchange.answer_headers(monotonic())]
    await respond(send, 200, msgspec.json.encode(value), headers)


async def _permit(exchange: Exchange, send: Send) -> None:
    """Answer a browser that asks what a page may do."""
    exchange.status = 200
    await respond(send, 200, b"", exchange.answer_headers(monotonic()))


def _no_model(id: str) -> Failure:
    sentence = f"there is no model {id[:200]!r}"
    return refusal(404, sentence, param="model", code="model_not_found")
