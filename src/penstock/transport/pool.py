"""A pool of connections, and how a request goes over one of them.

The library's connector, its connections and its parser are used without its ``ClientSession``.
That one weighs thirty options for each request and starts a task to write it, which cost more than
twice what the exchange itself does; none of those options is ours to use.
"""

from __future__ import annotations

import asyncio
from functools import cached_property, lru_cache
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from penstock.transport.connections import close
from penstock.transport.response import Response
from penstock.wire.request import HttpRequest

USER_AGENT = "penstock/0.1"
READ_AHEAD = 1 << 16
"""Bytes of a body that are taken before anybody reads them."""

_DEFAULTS = (
    ("user-agent", f"User-Agent: {USER_AGENT}"),
    ("accept", "Accept: */*"),
    ("accept-encoding", "Accept-Encoding: identity"),
)
"""Name in lower case, and the line that is sent unless the request names another."""
_ASK = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_IDEMPOTENT = _ASK | {"PUT", "DELETE"}
_DESCRIBED = frozenset({"POST", "PUT", "PATCH"})
_SWITCHING = 101
_JOINED = 1 << 16  # a longer body is not copied behind its head
_PLACES = 256


class Place(aiohttp.ClientRequest):
    """Where a request goes, as the library's connector wants it told.

    Attributes:
        target: what the request line names.
    """

    def __init__(self, url: URL, proxy: URL | None) -> None:
        super().__init__("GET", url, proxy=proxy, loop=asyncio.get_running_loop())
        self._relayed = proxy is not None and not self.is_ssl()
        self.target = str(url) if self._relayed else url.raw_path_qs
        self._authority = self.headers["Host"]
        self._credentials = self.headers.get("Authorization")  # those of the address

    @cached_property
    def connection_key(self) -> Any:
        """Which connections lead there."""
        return super().connection_key

    def head(self, request: HttpRequest) -> bytes:
        """The request line and the headers of ``request``."""
        method = request.method
        lines, named = [f"{method} {self.target} HTTP/1.1"], set()
        for name, value in request.headers:
            lines.append(f"{name}: {value}")
            named.add(name.lower())
        if "host" not in named:
            lines.insert(1, f"Host: {self._authority}")
        lines += [line for name, line in _DEFAULTS if name not in named]
        if method in _DESCRIBED and "content-type" not in named:
            lines.append("Content-Type: application/octet-stream")
        if self._credentials and "authorization" not in named:
            lines.append(f"Authorization: {self._credentials}")
        if self._relayed and (credentials := self.headers.get("Proxy-Authorization")):
            lines.append(f"Proxy-Authorization: {credentials}")
        if (request.body or method not in _ASK) and "content-length" not in named:
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Pool:
    """Connections to any number of servers, for one event loop.

    Attributes:
        connector: what of the library makes and keeps them.
    """

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self.connector = connector
        self._places: dict[tuple[str, str | None], Place] = {}

    @property
    def in_use(self) -> int:
        """Connections on which an answer is awaited or read."""
        return len(getattr(self.connector, "_acquired", ()))

    async def aclose(self) -> None:
        """Close all connections; who waits for one is cancelled."""
        await self.connector.close()

    async def send(
        self,
        request: HttpRequest,
        host: str,
        *,
        proxy: str | None,
        connect: float | None,
        once: bool,
    ) -> Response:
        """Send ``request`` and return its answer, whose body is still to come.

        Args:
            host: what the server is called in errors.
            proxy: an HTTP proxy that it goes through.
            connect: seconds that a new connection may take.
            once: send it once, whatever its method.

        Raises:
            Exception: those of the library. ``ProtocolError``: the body is encoded in a way that
                is not known. A cancellation closes the connection.
        """
        place = self._place(request.url, proxy)
        again = not once and request.method in _IDEMPOTENT
        while True:
            connection = await self.connector.connect(place, [], _timeout(connect))
            try:
                return await _exchange(connection, place, request, host)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                close(connection)
                if not again:
                    raise
                again = False
            except BaseException:
                close(connection)
                raise

    def _place(self, url: str, proxy: str | None) -> Place:
        place = self._places.get((url, proxy))
        if place is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            way = None if proxy is None else URL(proxy)
            place = self._places[url, proxy] = Place(URL(url, encoded=True), way)
        return place


async def _exchange(
    connection: Connection, place: Place, request: HttpRequest, host: str
) -> Response:
    protocol = connection.protocol
    assert protocol is not None
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(
        skip_payload=request.method == "HEAD",
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=READ_AHEAD,
    )
    head, body = place.head(request), request.body
    if len(body) <= _JOINED:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)
    message, content = await protocol.read()
    while 100 <= message.code < 200 and message.code != _SWITCHING:
        message, content = await protocol.read()
    return Response(connection, message, content, request, host)


@lru_cache(maxsize=16)
def _timeout(connect: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)
