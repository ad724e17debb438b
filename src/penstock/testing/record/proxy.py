"""The recording reverse proxy: requests to loopback go to one server, and all of it is kept.

Laws:
* it listens on loopback only, and answers only requests whose ``Host`` is its own (a page in a
  browser that was led here by a name of its own gets nothing);
* bytes are passed on as they are read, one write for each read, and a slow client stops the
  reading (the upstream's buffer is bounded);
* a client that leaves closes the upstream connection at once; an upstream that breaks off breaks
  off here as well, without a last chunk; both are recorded as what they were;
* nothing is followed, retried, cached or decoded on the way; only addresses of the recorded server
  are exchanged with ours and back (``Host``, ``Origin``, ``Referer``, ``Location``, URLs in JSON);
* an upstream that is not there is a 502 that says so, and is no exchange.

Each origin of the server has a listener of its own, so that an origin is told by its port; further
ones open when an answer names them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from penstock.errors import BadRequestError, ConfigError
from penstock.testing.record.origins import (
    OriginRewriter,
    local_url,
    may_name,
    upstream_url,
)
from penstock.testing.record.taking import Taking
from penstock.testing.replay.case import Exchange
from penstock.wire.request import base_url_of

MAX_REQUEST = 64 << 20
"""Largest body of a request, which is read before it is sent on."""
GRACE = 0.2
"""Seconds at the end for exchanges that are ending: that a client left must still be heard."""
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_DOMAIN = re.compile(r";\s*domain=[^;]*", re.IGNORECASE)

Done = Callable[[int, Exchange], None]
Failed = Callable[[str], None]


class Proxy:
    """One recorded server, for as long as the context is open.

    Args:
        upstream: its base URL.
        done: takes the number and value of each exchange when it has ended.
        failed: takes a sentence for each request that got no answer.
        also: further hosts whose URLs in answers lead here, too.

    Attributes:
        origins: their origin -> ours.

    Raises:
        BadRequestError: the URL is none, or the address to listen on is not loopback.
    """

    def __init__(
        self,
        upstream: str,
        *,
        done: Done,
        failed: Failed,
        host: str = "127.0.0.1",
        port: int = 0,
        also: tuple[str, ...] = (),
        ca_bundle: str | None = None,
    ) -> None:
        parts = urlsplit(base_url_of(upstream))
        self.upstream = f"{parts.scheme}://{parts.netloc}"
        self.prefix = parts.path
        self.origins: dict[str, str] = {}
        self._host = loopback(host)
        self._port = port
        self._also = also
        self._tls = _tls(ca_bundle)
        self._done = done
        self._failed = failed
        self._count = 0
        self._closing = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The base URL to use instead of the server's."""
        return f"{self.origins[self.upstream]}{self.prefix}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(self._open_session())
            self._stack = stack
            await self._listen(self.upstream, self._port)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._idle.wait()
        self._closing = True
        await self._stack.aclose()

    def _open_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            read_bufsize=1 << 16,
        )

    async def _listen(self, origin: str, port: int = 0) -> None:
        """Open the listener of an origin, once."""
        async with self._opening:
            if origin in self.origins:
                return
            server = web.Server(
                partial(self._handle, origin), handler_cancellation=True, access_log=None
            )
            # GRACE has passed then: who still listens is not waited for. (0 would wait for ever.)
            runner = web.ServerRunner(server, shutdown_timeout=0.01)
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, self._host, port)
            try:
                await site.start()
            except OSError as error:
                reason = os.strerror(error.errno).lower() if error.errno else str(error)
                raise ConfigError(
                    f"cannot listen on {self._host} port {port}: {reason}; "
                    "another port, or none for a free one, will do",
                    param="port",
                ) from None
            address = runner.addresses[0]
            shown = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.origins[origin] = f"http://{shown}:{address[1]}"

    # -- one exchange --------------------------------------------------------------------------

    async def _handle(self, origin: str, request: web.BaseRequest) -> web.StreamResponse:
        if not self._is_ours(request.host, origin):
            return _refusal(421, "this recorder is reached by its loopback address only")
        if request.headers.get("Upgrade"):
            return _refusal(501, "upgraded connections are not recorded")
        self._open += 1
        self._idle.clear()
        try:
            return await self._exchange(origin, request)
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _exchange(self, origin: str, request: web.BaseRequest) -> web.StreamResponse:
        self._count += 1
        number = self._count
        started = asyncio.get_running_loop().time()
        body = await _read(request)
        if body is None:
            return _refusal(413, f"bodies of more than {MAX_REQUEST >> 20} MiB are not recorded")
        headers = self._sent_headers(origin, request)
        taking = Taking(request.method, request.raw_path, headers, body, started)
        try:
            answer = await self._ask(origin, taking)
        except (aiohttp.ClientError, OSError) as error:
            return self._unanswered(request, taking, error)
        except asyncio.CancelledError:
            self._failed(f"{taking.method} {taking.path}: the client left before the answer")
            raise
        try:
            return await self._relay(request, answer, taking)
        finally:
            answer.close()
            if taking.status:
                self._done(number, taking.exchange())

    async def _ask(self, origin: str, taking: Taking) -> aiohttp.ClientResponse:
        sent = [(n, v) for n, v in taking.headers if n.lower() != "content-length"]
        return await self._session.request(
            taking.method,
            URL(f"{origin}{taking.target}", encoded=True),
            headers=sent,
            data=taking.body or None,
            allow_redirects=False,
        )

    def _unanswered(
        self, request: web.BaseRequest, taking: Taking, error: Exception
    ) -> web.StreamResponse:
        """Nothing came back: pass on what can be passed on."""
        lost = isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError)
        lost = lost or type(error) is aiohttp.ClientOSError
        reason = "closed the connection without an answer" if lost else _reason(error)
        sentence = f"{urlsplit(self.upstream).netloc} {reason}"
        self._failed(f"{taking.method} {taking.path}: {sentence}")
        if lost and request.transport is not None:
            request.transport.abort()
        return _refusal(502, sentence)

    async def _relay(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, taking: Taking
    ) -> web.StreamResponse:
        """Pass the answer on and keep it. However this ends, ``taking`` knows how."""
        clock = asyncio.get_running_loop().time
        taking.answered(answer.status, _pairs(answer.raw_headers))
        rewriter = self._rewriter(answer)
        response = self._response(request, answer, rewritten=rewriter is not None)
        try:
            await response.prepare(request)
            while data := await _read_some(answer):
                taking.read(data, clock())
                await response.write(
                    data if rewriter is None else await self._local(rewriter, data)
                )
            if rewriter is not None:
                await response.write(rewriter.eof())
            taking.closed = "clean"
            await response.write_eof()
        except _Broken:
            taking.closed = "reset"
            if request.transport is not None:
                request.transport.close()  # what was written still goes out; no last chunk does
        except (ConnectionError, asyncio.CancelledError) as error:
            taking.left(by_us=self._closing)
            if isinstance(error, asyncio.CancelledError):
                raise
        return response

    async def _local(self, rewriter: OriginRewriter, data: bytes) -> bytes:
        for origin in list(rewriter.named(data)):
            if may_name(origin, self.upstream, self._also):
                await self._listen(origin)
        return rewriter.feed(data)

    # -- headers -------------------------------------------------------------------------------

    def _is_ours(self, host: str, origin: str) -> bool:
        """Whether ``Host`` names this listener (threats.md row 26)."""
        own = urlsplit(self.origins[origin])
        return host.lower() in (own.netloc, f"localhost:{own.port}")

    def _sent_headers(self, origin: str, request: web.BaseRequest) -> tuple[tuple[str, str], ...]:
        """What goes to the server: the client's own, with the server's addresses for ours.

        Identity is asked for, because what is compressed cannot be cleared of secrets.
        """
        found: list[tuple[str, str]] = []
        for name, value in _pairs(request.raw_headers):
            match name.lower():
                case "host":
                    found.append((name, urlsplit(origin).netloc))
                case "origin" | "referer":
                    found.append((name, upstream_url(value, self.origins)))
                case "accept-encoding":
                    found.append((name, "identity"))
                case low:
                    if low not in _HOP and low != "expect":
                        found.append((name, value))
        return tuple(found)

    def _response(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, *, rewritten: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        length = None
        for name, value in _pairs(answer.raw_headers):
            match name.lower():
                case "content-length":
                    length = int(value) if value.isdigit() else None
                case "location":
                    response.headers.add(name, local_url(value, self.origins))
                case "set-cookie":
                    response.headers.add(name, _DOMAIN.sub("", value))
                case low:
                    if low not in _HOP:
                        response.headers.add(name, value)
        bodiless = request.method == "HEAD" or answer.status in (204, 304)
        if length is not None and not rewritten:
            response.content_length = length
        elif not bodiless and request.version >= aiohttp.HttpVersion11:
            response.enable_chunked_encoding()
        return response

    def _rewriter(self, answer: aiohttp.ClientResponse) -> OriginRewriter | None:
        plain = answer.headers.get("Content-Encoding", "identity").strip().lower() == "identity"
        whole = answer.content_type == "application/json"
        return OriginRewriter(self.origins) if plain and whole else None


class _Broken(Exception):
    """The upstream broke off."""


async def _read_some(answer: aiohttp.ClientResponse) -> bytes:
    try:
        return await answer.content.readany()
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
        raise _Broken from error


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body of a request; None if it is too long."""
    parts: list[bytes] = []
    size = 0
    while data := await request.content.readany():
        parts.append(data)
        size += len(data)
        if size > MAX_REQUEST:
            return None
    return b"".join(parts)


def loopback(host: str) -> str:
    """``host``, if it is an address of this machine alone.

    Raises:
        BadRequestError: it is not; a recorder would show its traffic to a network.
    """
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return host.strip("[]")
    except ValueError:
        pass
    raise BadRequestError(
        f"a recorder listens on loopback only, not on {host[:80]!r}", param="host"
    )


def _pairs(raw: tuple[tuple[bytes, bytes], ...]) -> list[tuple[str, str]]:
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in raw
    ]


def _refusal(status: int, sentence: str) -> web.Response:
    body: Mapping[str, object] = {"error": {"message": f"penstock record: {sentence}"}}
    phrase = HTTPStatus(status).phrase
    return web.json_response(body, status=status, reason=phrase, headers={"Connection": "close"})


def _reason(error: Exception) -> str:
    """What kept the server from answering, without the library's words."""
    if isinstance(error, aiohttp.ClientSSLError):
        return "could not be reached: its certificate or TLS was refused"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "could not be resolved"
    if isinstance(error, TimeoutError):
        return "could not be reached in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"could not be reached: {error.os_error.strerror or 'no connection'}"
    return "did not answer in HTTP"


def _tls(ca_bundle: str | None) -> ssl.SSLContext | bool:
    """Verification is always on; ``ca_bundle`` adds authorities."""
    if ca_bundle is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_bundle)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"the CA bundle {ca_bundle} cannot be read") from None
    return context
