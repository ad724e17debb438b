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
    """uvicorn's HTTP protocol within limits."""

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """A caller connected."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_expecting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first line of a request begins."""
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers of a request have come."""
        self._stop_expecting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        body = refusal(400, "this is not a proper HTTP/1.1 request").body()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()

    def _expect_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header, self._too_slow)

    def _stop_expecting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()


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
        date_header=False,
        timeout_keep_alive=int(KEEP_ALIVE),
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    return GatewayServer(gateway, config, on_started)
