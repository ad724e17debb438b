"""A pool of connections, and how a request goes over one of them.

The library's connector, its connections and its parser are used without its ``ClientSession``.
That one weighs thirty options for each request and starts a task to write it, which cost more than
twice what the exchange itself does; none of those options is ours to use.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from yarl import URL

from penstock.transport.connections import close
from penstock.transport.gathered import Gathered
from penstock.transport.response import Response
from penstock.wire.request import Address, HttpRequest

USER_AGENT = "penstock/0.1"
READ_AHEAD = 1 << 16
"""Bytes of a body that are taken before anybody reads them."""

_DEFAULTS = (
    ("user-agent", f"User-Agent: {USER_AGENT}"),
    ("accept", "Accept: */*"),
    ("accept-encoding", "Accept-Encoding: identity"),
)
"""Name in lower case, and the line that is sent unless the request names another."""
_OF_BODY = frozenset({"content-length", "transfer-encoding"})
"""Headers that follow from the body, whatever the request names."""
_ASK = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_IDEMPOTENT = _ASK | {"PUT", "DELETE"}
_DESCRIBED = frozenset({"POST", "PUT", "PATCH"})
_SWITCHING = 101
_PIECE = 1 << 16  # of a body
_PLACES = 256  # addresses that are remembered
_SHAPES = 32  # and names of headers for each: its requests have the same few again and again


class Place(aiohttp.ClientRequest):
    """Where a request goes, as the library's connector wants it told."""

    def __init__(self, url: URL, proxy: URL | None) -> None:
        agent = {"User-Agent": USER_AGENT} if proxy is not None else None
        loop = asyncio.get_running_loop()
        super().__init__("GET", url, proxy=proxy, proxy_headers=agent, loop=loop)
        self._relayed = proxy is not None and not self.is_ssl()
        # A proxy that relays is told the whole address.
        self._before_path = str(self.url.with_user(None)).rstrip("/") if self._relayed else ""
        self._authority = self.headers["Host"]
        self._credentials = self.headers.get("Authorization")  # those of the address
        self._known: dict[tuple[object, ...], tuple[str, str, bool]] = {}

    @cached_property
    def connection_key(self) -> Any:
        """Which connections lead there."""
        return super().connection_key

    def head(self, request: HttpRequest, path: str) -> bytes:
        """The request line and the headers of ``request``, for ``path`` with its query."""
        method, body, headers = request.method, request.body, request.headers
        shape = (method, not body, *[name for name, _ in headers])
        known = self._known.get(shape)
        if known is None:
            known = self._added(method, body, {name.lower() for name, _ in headers})
            if not self._relayed:  # to whom the connector may have more to tell later
                if len(self._known) >= _SHAPES:
                    self._known.clear()
                self._known[shape] = known
        host, more, of_body = known
        if of_body:
            headers = tuple(header for header in headers if header[0].lower() not in _OF_BODY)
        own = "".join([f"{name}: {value}\r\n" for name, value in headers])
        length = f"Content-Length: {len(body)}\r\n" if body or method not in _ASK else ""
        first = f"{method} {self._before_path}{path} HTTP/1.1\r\n"
        return f"{first}{host}{own}{more}{length}\r\n".encode()

    def _added(self, method: str, body: bytes, named: set[str]) -> tuple[str, str, bool]:
        """What is sent before and after the headers that are ``named``.

        Returns:
            Both, and whether some of those headers follow from the body and are not sent.
        """
        more = [line for name, line in _DEFAULTS if name not in named]
        if self._credentials and "authorization" not in named:
            more.append(f"Authorization: {self._credentials}")
        if self._relayed and "proxy-authorization" not in named:
            told = self.headers.get("Proxy-Authorization")  # the connector has put it there
            more += [f"Proxy-Authorization: {told}"] if told else []
        if (body or method in _DESCRIBED) and "content-type" not in named:
            more.append("Content-Type: application/octet-stream")
        host = "" if "host" in named else f"Host: {self._authority}\r\n"
        return host, "".join(f"{line}\r\n" for line in more), not _OF_BODY.isdisjoint(named)


class Pool:
    """Connections to any number of servers, for one event loop.

    Attributes:
        connector: what of the library makes and keeps them.
    """

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self.connector = connector
        self._places: dict[tuple[str, str | None], Place] = {}
        self._gathered = Gathered()

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
        address: Address,
        *,
        proxy: str | None,
        connect: float | None,
        once: bool,
    ) -> Response:
        """Send ``request`` and return its answer, whose body is still to come.

        Args:
            address: that of ``request``.
            proxy: an HTTP proxy that it goes through.
            connect: seconds that a new connection may take.
            once: send it once, whatever its method.

        Raises:
            Exception: those of the library. ``ProtocolError``: the body is encoded in a way that
                is not known. A cancellation closes the connection.
        """
        place = self._place(address.origin, proxy)
        again = not once and request.method in _IDEMPOTENT
        while True:
            connection = await self.connector.connect(place, [], _timeout(connect))
            try:
                gathered = self._gathered if self.in_use > 1 else None
                return await _exchange(connection, place, request, address, gathered)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                if not again:
                    raise
                again = False

    def _place(self, origin: str, proxy: str | None) -> Place:
        place = self._places.get((origin, proxy))
        if place is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            way = None if proxy is None else URL(proxy)
            place = self._places[origin, proxy] = Place(URL(origin, encoded=True), way)
        return place


async def _exchange(
    connection: Connection,
    place: Place,
    request: HttpRequest,
    address: Address,
    gathered: Gathered | None,
) -> Response:
    sending: asyncio.Task[None] | None = None
    try:
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
        begin = place.head(request, address.path) + request.body[:_PIECE]
        if gathered is not None and len(request.body) <= _PIECE:
            gathered.write(transport, begin)
        else:
            transport.write(begin)
        if len(request.body) > _PIECE:
            rest = _send_rest(protocol, request.body)
            sending = asyncio.get_running_loop().create_task(rest)
        message, content = await protocol.read()
        while 100 <= message.code < 200 and message.code != _SWITCHING:
            message, content = await protocol.read()
        return Response(connection, sending, message, content, request, address.host)
    except BaseException:
        close(connection, sending)
        raise


async def _send_rest(protocol: BaseProtocol, body: bytes) -> None:
    """Send all but the first piece of ``body``, no faster than the server takes it."""
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    with suppress(ConnectionError):  # whoever waits for the answer is told
        for start in range(_PIECE, len(body), _PIECE):
            await writer.write(body[start : start + _PIECE])
        await writer.drain()


@lru_cache(maxsize=16)
def _timeout(connect: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)
