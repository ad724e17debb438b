"""Connections: one pool for each proxy, no cookie jar, no credentials, nothing taken for granted.

An answer is handed out with its headers; its body is read piece by piece as it arrives. Redirects
are followed only within the same host, an encoding that was not asked for is undone with its end
checked, and the library's exceptions end here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from penstock.errors import (
    BadRequestError,
    ConfigError,
    MissingRequirementsError,
    PenstockError,
    RedirectError,
    StreamCancelledError,
)
from penstock.keeper import leave_of
from penstock.provider import SessionConfig
from penstock.transport.connections import Careful, TCPConnector
from penstock.transport.failures import failure_of, from_library
from penstock.transport.limits import Limits
from penstock.transport.outbox import Outbox
from penstock.transport.pool import Pool
from penstock.transport.response import MAX_BODY, Response
from penstock.wire.no_proxy import is_direct
from penstock.wire.request import (
    HttpRequest,
    address_of,
    check_headers,
    credentials_of,
    credentials_of_url,
    proxy_scheme,
)

MAX_HUSHED = 500
"""How many credentials are remembered to keep them out of errors."""
_KNOWN_HEADERS = 32
"""Sets of headers that are remembered: a provider sends the same few again and again."""
_LONGEST_CHAIN = 20
_MAX_REDIRECTS = 3


Sender = Callable[[HttpRequest, Limits, str | None, bool], Awaitable[Response]]


class Opened:
    """The context of ``Session.open``."""

    __slots__ = ("_limits", "_once", "_proxy", "_request", "_response", "_send")

    def __init__(
        self, send: Sender, request: HttpRequest, limits: Limits, proxy: str | None, once: bool
    ) -> None:
        self._send = send
        self._request = request
        self._limits = limits
        self._proxy = proxy
        self._once = once

    async def __aenter__(self) -> Response:
        request = self._request
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._send(request, self._limits, self._proxy, self._once)
            target = _redirect(request, response) if request.follow else None
            if target is None:
                self._response = response
                return response
            response.free()
            request = target
        raise RedirectError("the server redirects in a circle")

    async def __aexit__(self, *_: object) -> None:
        self._response.free()


class Discreet:
    """The context of ``Session.discreet``."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, PenstockError):
            self._session.clean(error)


class Session:
    """What the calls of one owner share.

    Attributes:
        outbox: the cleanups that are under way.
        memory: facts learned about servers (which dialect they speak), keyed by tuples that begin
            with a provider's name. It holds no secrets.
    """

    def __init__(self, config: SessionConfig | None = None) -> None:
        self._config = config or SessionConfig()
        self._pools: dict[str, Pool] = {}
        self._closed = False
        self._sent: dict[str, None] = {}  # credentials, oldest first
        self._known: set[tuple[tuple[str, str], ...]] = set()  # headers that were looked at
        self.outbox = Outbox(self.discreet)
        self.memory: dict[tuple[str, ...], Any] = {}
        if self._config.proxy:
            proxy_scheme(self._config.proxy)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self, deadline: float = 5.0) -> list[str]:
        """Leave the streams that still use it, drain the outbox, then close all connections.

        A cancellation passes through at once and leaves the connections open; call it again.

        Returns:
            Labels of what was not undone on remote servers.
        """
        await leave_of(self)
        await self.outbox.drain(deadline)
        self._closed = True
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()
        return list(self.outbox.failed)

    @property
    def closed(self) -> bool:
        """True after ``aclose``: nothing can be sent any more."""
        return self._closed

    def like(self) -> Session:
        """A new session that connects in the same way."""
        return Session(self._config)

    @property
    def open_connections(self) -> int:
        """Connections in use now; 0 when no answer is being read."""
        return sum(pool.in_use for pool in self._pools.values())

    def discreet(self) -> Discreet:
        """An error that leaves this shows no credential that this session has sent."""
        return Discreet(self)

    def clean(self, error: PenstockError) -> None:
        """Take out of ``error``, and what led to it, what a server told back of credentials."""
        told: BaseException | None = error
        for _ in range(_LONGEST_CHAIN):
            if isinstance(told, PenstockError):
                told.forget(self._sent)
            told = told and (told.__cause__ or told.__context__)

    def hush(self, secrets: Iterable[str]) -> None:
        """Let no error show ``secrets``; those of the headers that are sent are known."""
        for secret in secrets:
            self._sent.pop(secret, None)
            self._sent[secret] = None
        while len(self._sent) > MAX_HUSHED:
            del self._sent[next(iter(self._sent))]
            self._known.clear()  # they may have held it

    def open(
        self,
        request: HttpRequest,
        limits: Limits,
        *,
        proxy: str | None = None,
        once: bool = True,
    ) -> Opened:
        """Send ``request`` and hand out the answer; leaving the context frees the connection.

        Args:
            limits: the call's time limits; the wait for the headers counts.
            proxy: a proxy for this request instead of the session's own.
            once: send it once, whatever its method. Else the HTTP library may send an idempotent
                one again where the connection breaks before the answer.

        Raises (from entering):
            NetworkError: no connection. StreamTimeoutError: a limit passed. ProtocolError: not
                proper HTTP. RedirectError: sent to another host.
        """
        return Opened(self._send, request, limits, proxy, once)

    async def fetch(
        self,
        request: HttpRequest,
        limits: Limits,
        *,
        proxy: str | None = None,
        limit: int = MAX_BODY,
    ) -> tuple[Response, bytes]:
        """Send ``request`` and read the whole answer, within the call's time limits.

        Raises:
            PenstockError: as for ``open``; ``TruncatedError`` where the body breaks. A
                cancellation closes the connection.
        """
        async with self.open(request, limits, proxy=proxy, once=False) as response:
            if response.status >= 400:
                return response, await response.read_error()
            with nullcontext() if response.here else limits.step():
                return response, await response.read(limit)

    async def _send(
        self, request: HttpRequest, limits: Limits, proxy: str | None, once: bool
    ) -> Response:
        address = address_of(request.url)
        if request.headers not in self._known:
            check_headers(request.headers)
            self.hush(credentials_of(request.headers))
            if len(self._known) >= _KNOWN_HEADERS:
                self._known.clear()
            self._known.add(request.headers)
        connect = limits.timeouts.connect
        pool, through = self._pool(proxy, address.host)
        try:
            with limits.step():
                return await pool.send(request, address, proxy=through, connect=connect, once=once)
        except asyncio.CancelledError:
            # The library cancels who waits for a free connection when the pool is closed.
            if self._closed and not _is_cancelled():
                raise StreamCancelledError("the session was closed meanwhile") from None
            raise
        except Exception as error:
            if not from_library(error):
                raise
            tls = request.url.startswith("https:")
            failure = failure_of(error, "open", address.host, connect, tls=tls)
        raise failure  # out here, for the library's error names all headers, those of proxies too

    def _pool(self, proxy: str | None, host: str) -> tuple[Pool, str | None]:
        """The pool for ``host``, and the HTTP proxy that leads there."""
        if self._closed:
            raise BadRequestError("this session is closed")
        chosen = proxy or self._config.proxy
        if not chosen or (not proxy and is_direct(host, self._config.no_proxy)):
            return self._pooled("", None), None
        scheme = proxy_scheme(chosen)
        self.hush(credentials_of_url(chosen))
        if scheme.startswith("socks"):
            return self._pooled(chosen, chosen), None
        return self._pooled("", None), chosen

    def _pooled(self, key: str, socks: str | None) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            limit = self._config.connections
            tls = _tls_context(self._config.ca_bundle)
            connector: aiohttp.BaseConnector = (
                TCPConnector(limit=limit, ssl=tls)
                if socks is None
                else _socks_connector(socks, limit, tls)
            )
            pool = self._pools[key] = Pool(connector)
        return pool


def _redirect(request: HttpRequest, response: Response) -> HttpRequest | None:
    repeats = response.status in (307, 308) or (
        response.status in (301, 302, 303) and request.method == "GET"
    )
    location = response.headers.get("location") if repeats else None
    if not location:
        return None
    try:
        return _moved(request, location)
    except (ValueError, BadRequestError):  # no address that could be asked
        return None


def _moved(request: HttpRequest, location: str) -> HttpRequest | None:
    here, there = urlsplit(request.url), urlsplit(urljoin(request.url, location))
    if there.netloc != here.netloc or there.scheme not in ("http", "https"):
        return None  # the provider sees the status and says so
    # Only path and query are taken: behind a TLS proxy the Location of olmo-api says http
    # (wire/allenai.md section 4.1), and a downgrade is never followed.
    path = f"{there.path}?{there.query}" if there.query else there.path
    moved = msgspec.structs.replace(request, url=f"{here.scheme}://{here.netloc}{path}")
    address_of(moved.url)
    return moved


def _is_cancelled() -> bool:
    """Somebody has asked the task that runs to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _tls_context(ca_bundle: str | None) -> ssl.SSLContext | bool:
    if ca_bundle is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_bundle)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"the CA bundle {ca_bundle} cannot be read") from None
    return context


def _socks_connector(proxy: str, limit: int, tls: ssl.SSLContext | bool) -> aiohttp.BaseConnector:
    try:
        from aiohttp_socks import ProxyConnector
    except ImportError:
        raise MissingRequirementsError(
            "a SOCKS proxy needs an extra: pip install 'penstock[socks]'", param="proxy"
        ) from None

    class SocksConnector(Careful, ProxyConnector):
        socks = True

    url = proxy.replace("socks5h://", "socks5://", 1)
    connector: aiohttp.BaseConnector = SocksConnector.from_url(
        url, rdns=proxy.startswith("socks5"), limit=limit, ssl=tls
    )
    return connector
