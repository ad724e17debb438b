"""The server below the application: uvicorn, with the patience of its connections bounded.

uvicorn waits for ever for the headers of a request and takes any number of connections
(threats row 21). The protocol here adds a deadline for the headers, which also ends idle
connections that never asked, and a bound on connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.config.gateway import Limits
from penstock.gateway.app import Gateway
from penstock.gateway.errors import refusal

KEEP_ALIVE = 75.0
"""Seconds that an idle connection stays open between two requests."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol within limits.

    A request that comes whole in one read costs no timer.
    """

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None
    _awaited: str | None = None
    _in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """A caller connected."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
        else:
            self._await("headers", self.limits.header)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._await(None)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first line of a request begins."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers of a request have come."""
        self._in_headers = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes came; what is still missing of a request has a deadline."""
        super().data_received(data)
        if self._in_headers:
            self._await("headers", self.limits.header)
        elif self.cycle is not None and self.cycle.more_body:
            self._await("body", self.limits.upload)
        else:
            self._await(None)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._answer_and_close(b"400 Bad Request", 400, "this is not a proper HTTP/1.1 request")

    def _await(self, what: str | None, seconds: float = 0.0) -> None:
        """Set the deadline for ``what``, unless it is set; None takes it back."""
        if self._awaited == what:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._awaited = what
        if what is not None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._awaited == "body":
            sentence = f"the body did not come within {self.limits.upload:g} s"
            self._answer_and_close(b"408 Request Timeout", 408, sentence)
        else:
            self.transport.abort()

    def _answer_and_close(self, line: bytes, status: int, sentence: str) -> None:
        body = refusal(status, sentence).body()
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (line, len(body), body)
        )
        self.transport.close()


class GatewayServer(uvicorn.Server):
    """A server that lets running answers end before it stops, and cancels those that do not.

    Args:
        gateway: the application.
        config: uvicorn's configuration.
        on_started: called once it listens.
    """

    def __init__(
        self, gateway: Gateway, config: uvicorn.Config, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._on_started = on_started

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Take nothing new, wait for what runs, stop the rest, close."""
        self._gateway.ready = False
        for server in self.servers:
            server.close()
        await self._gateway.drain()
        await super().shutdown(sockets=sockets)


def server_of(
    gateway: Gateway, *, port: int | None = None, on_started: Callable[[], None] = lambda: None
) -> GatewayServer:
    """A server for ``gateway`` in this process; ``serve(sockets=...)`` runs it."""
    settings = gateway.settings
    config = uvicorn.Config(
        gateway,
        host=settings.host,
        port=settings.port if port is None else port,
        http=type("Protocol", (BoundedProtocol,), {"limits": settings.limits}),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,
        timeout_keep_alive=int(KEEP_ALIVE),
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    return GatewayServer(gateway, config, on_started)
