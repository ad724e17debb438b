"""What an HTTP library leaves open about its connections, closed here.

Four things that ``aiohttp`` does not do by itself, each found by a test on real sockets:

* a kept connection on which something came unasked is used again, so that the next caller gets an
  answer to nobody's question (``faults.md`` row 20);
* a reader whose body becomes bad HTTP in a later read is never told (rows 24 and 25);
* a proxy that is asked for a tunnel is not under the connect limit, and what it gets wrong is put
  down to the server behind it (row 48);
* what came before a connection broke, and was not yet read, is dropped with it (row 16; taken
  back by ``listening.unread``).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from aiohttp import http_exceptions
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import is_ip_address

from penstock.transport.listening import Handler

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


_PROXY_TALK = (
    http_exceptions.HttpProcessingError,
    aiohttp.ClientResponseError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    ConnectionError,
)
"""How a proxy fails that is asked for a tunnel."""

_TOLD_APART = (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError)
"""Among them: its refusal by status, no way to it, and TLS with the server behind it."""

_LITERALS = 256
"""Literal addresses that are remembered."""


class Careful(aiohttp.BaseConnector):
    """A connector that uses a kept connection again only while it is silent.

    Attributes:
        socks: every connection leads through a proxy.
    """

    socks = False

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._factory: partial[Any] = partial(Handler, loop=self._loop)
        self._used: WeakSet[ResponseHandler] = WeakSet()  # those that are not ours

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A new connection, or a kept one on which nothing has come since its last answer."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            if self._is_new(protocol):
                return connection
            if not (protocol.should_close or protocol.transport is None or self._hears(protocol)):
                return connection
            connection.close()

    def _is_new(self, protocol: ResponseHandler) -> bool:
        """Whether it is a connection that was not used before; it is no more after this."""
        if isinstance(protocol, Handler):
            new, protocol.used = not protocol.used, True
            return new
        new = protocol not in self._used
        self._used.add(protocol)
        return new

    def _hears(self, protocol: ResponseHandler) -> bool:
        """Whether something has come on a kept connection, though the loop has not seen it yet."""
        if not isinstance(protocol, Handler):
            return _ear(protocol)()
        if protocol.ear is None:
            protocol.ear = _ear(protocol)
        return protocol.ear()

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """A new connection: name, proxy and TLS together within the connect limit."""
        try:
            async with asyncio.timeout(timeout.sock_connect):
                return await super()._create_connection(req, traces, timeout)
        except _PROXY_TALK as error:
            if isinstance(error, _TOLD_APART) or not (self.socks or req.proxy):
                raise
            raise aiohttp.ClientProxyConnectionError(
                req.connection_key, OSError("no tunnel")
            ) from None


class TCPConnector(Careful, aiohttp.TCPConnector):
    """The same, over TCP."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._literal: dict[tuple[str, int], Any] = {}  # addresses that need no look-up

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> Any:
        """The addresses of ``host``; how a literal one is written is looked at once."""
        found = self._literal.get((host, port))
        if found is None:
            found = await super()._resolve_host(host, port, traces)
            if is_ip_address(host) and len(self._literal) < _LITERALS:
                self._literal[host, port] = found
        return found

    async def _wrap_create_connection(
        self,
        *given: Any,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **named: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect to one of these addresses.

        To only one, and without TLS, the loop does so for a third of what the library's race of
        addresses costs.
        """
        if len(addr_infos) > 1 or named.get("ssl"):
            race: tuple[asyncio.Transport, ResponseHandler] = await super()._wrap_create_connection(
                *given,
                addr_infos=addr_infos,
                req=req,
                timeout=timeout,
                client_error=client_error,
                **named,
            )
            return race
        host, port = addr_infos[0][4][:2]
        try:
            made: tuple[asyncio.Transport, ResponseHandler] = await self._loop.create_connection(
                self._factory, host, port
            )
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        return made


def _ear(protocol: ResponseHandler) -> Callable[[], bool]:
    """Tells whether something has come on a connection, though the loop has not seen it yet."""
    raw = protocol.transport and protocol.transport.get_extra_info("socket")
    descriptor: int = raw.fileno() if raw else -1
    if descriptor < 0:
        return lambda: False
    if not hasattr(select, "poll"):  # Windows
        return lambda: bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))


def close(connection: Connection, sending: asyncio.Task[None] | None) -> None:
    """Close ``connection`` now: what is left of its request is not sent."""
    if sending is not None and not sending.done():
        sending.cancel()
        if connection.transport is not None:
            connection.transport.abort()  # to close it would first send what it holds
    connection.close()


def give_back(connection: Connection, sending: asyncio.Task[None] | None) -> None:
    """Let another request have ``connection``, where its own one and the answer are whole."""
    if sending is None or sending.done():
        connection.release()
    else:
        close(connection, sending)


class Loss:
    """Tells a reader of ``content`` that its connection is lost, where the library has not.

    A ``Handler`` does so by itself; this is for a SOCKS proxy, whose handlers are not ours.
    """

    def __init__(self, content: aiohttp.StreamReader, protocol: ResponseHandler | None) -> None:
        self._content = content
        self._closed = None if protocol is None else protocol.closed
        if self._closed is None:
            self._tell(None)
            return
        # The library counts on whoever asks for this future to look at its outcome.
        self._closed.remove_done_callback(_looked_at)
        self._closed.add_done_callback(_looked_at)
        self._closed.add_done_callback(self._tell)

    def forget(self) -> None:
        """Nobody reads any more."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._tell)

    def _tell(self, _: asyncio.Future[None] | None) -> None:
        content = self._content
        if not content.is_eof() and content.exception() is None:
            # The parser gave up, and the library closed the connection for it.
            content.set_exception(http_exceptions.TransferEncodingError("bad body"))


def _looked_at(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()
