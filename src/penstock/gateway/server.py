"""The server below the application: uvicorn, with the patience of its connections bounded.

uvicorn waits for ever for the rest of a request, and for a caller to read; it takes headers of any
size and any number of connections (threats rows 20 to 22). The protocol here adds deadlines and
bounds. Its laws:

* at any moment a connection waits for something that has a deadline, or an answer is under way;
* nothing is written into an answer that is under way: what goes wrong meanwhile ends the
  connection;
* while we do not read, or the answer before is not written, no deadline of the caller runs out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from types import FrameType
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.config.gateway import Limits
from penstock.gateway.app import SLOT, Gateway
from penstock.gateway.cycle import Cycle, Line
from penstock.gateway.errors import refusal
from penstock.gateway.exchange import new_id
from penstock.gateway.http import LINE, REFUSED_BELOW, Scope
from penstock.transport.gathered import Gathered

KEEP_ALIVE = 75.0
"""Seconds that an idle connection stays open between two requests."""
HEADERS = 64 * 1024
"""Bytes of headers, beyond those of the first read."""


class _Dropped(list[tuple[bytes, bytes]]):
    """Where trailers go: nobody wants them, and there is no bound on their number."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        """Forget it."""


_TRAILERS = _Dropped()
_UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol within limits.

    A request that comes whole in one read, and an answer that is taken at once, cost no timer.

    Requests do not queue: one that comes before its forerunner is answered is dropped, and the
    connection closes after the answer, as RFC 9112 section 9.3.2 allows. To queue it, uvicorn
    would stop reading, and then a caller's leaving is not seen while its upstream goes on.

    Attributes:
        limits: those of the line to a caller.
        gathered: whole answers that go out together.
    """

    limits = Limits()
    gathered: Gathered
    _deadline: asyncio.TimerHandle | None = None
    _awaited: str | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_headers = False
    _in_message = False
    _ahead = False
    _size = 0
    _left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """A caller connected."""
        super().connection_made(transport)
        self._line = Line(transport, self.flow)
        if len(self.connections) > self.limits.connections:
            transport.abort()
        else:
            self._await("headers", self.limits.header)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._await(None)
        self._taken()
        super().connection_lost(exc)

    # -- what the caller sends -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first line of a request begins.

        Raises:
            BlockingIOError: the one before it is not answered; to end the parsing of this read.
        """
        if self._answering:
            self._ahead = True
            self.cycle.keep_alive = False
            raise BlockingIOError
        self._in_headers = self._in_message = True
        self._size = 0
        if self._unread is not None and not self.flow.write_paused:
            self._taken()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers of a request have come.

        What uvicorn does here as well is for web sockets, and for requests that queue.
        """
        scope, version = cast(Scope, self.scope), self.parser.get_http_version()
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path: str = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        if version != "1.0":  # whom nothing can be sent in chunks
            scope[LINE] = self._line
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self._in_headers = False
        self.headers = _TRAILERS
        if self.tasks:
            self.cycle.gathered = self._write_gathered
        self._start_asgi_task(self.cycle, self.app)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._in_message = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes came; what is still missing of a request has a deadline."""
        if self._ahead:
            return
        went_on = self._in_headers
        if b"pgrade" in data and (went_on or not self._in_message):
            data = _without_upgrade(data)
        super().data_received(data)
        if self._in_headers:
            self._size += len(data) if went_on else 0
            if self._size > HEADERS:
                sentence = f"the headers are larger than {HEADERS} bytes"
                self._answer_and_close(b"431 Request Header Fields Too Large", 431, sentence)
            self._await("headers", self.limits.header)
        elif self._in_message:
            self._await("body", self.limits.upload)
        elif self._answering:
            self._await(None)
        else:  # empty lines: uvicorn has taken its own timer back
            self._await("headers", self.limits.header)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        if self._ahead:
            return
        self._answer_and_close(b"400 Bad Request", 400, "this is not a proper HTTP/1.1 request")

    @property
    def _answering(self) -> bool:
        """A request has come that is not answered to its end."""
        return self.cycle is not None and not self.cycle.response_complete

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
        what, self._awaited, self._deadline = self._awaited, None, None
        if self.flow.read_paused:
            self._await(what, self.limits.header)
        elif what == "body" and not self.transport.is_closing():
            sentence = f"the body did not come within {self.limits.upload:g} s"
            self._answer_and_close(b"408 Request Timeout", 408, sentence)
        else:
            self.transport.abort()

    def _answer_and_close(self, line: bytes, status: int, sentence: str) -> None:
        """Refuse what does not become a request; without a word where that would be misread."""
        of_body = self._in_message and not self._in_headers and self.cycle is not None
        if self.cycle.response_started if of_body else self._answering:
            self.transport.abort()
            return
        id = "req_" + new_id()
        if of_body:
            scope = cast(Scope, self.scope)
            scope[REFUSED_BELOW] = status
            if SLOT in scope:  # the one that the log will tell
                id = scope[SLOT].request_id
        body = refusal(status, sentence).body()
        self.gathered.flush()  # the answer before may be among them
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"x-request-id: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (line, id.encode(), len(body), body)
        )
        self.transport.close()
        self._wait_for_reader()

    # -- what is written -----------------------------------------------------------------------

    def _write_gathered(self, data: bytes) -> None:
        self.cycle.transport = cast(asyncio.Transport, self)  # to be closed after the answer
        self.gathered.write(self, data)

    def write(self, data: bytes) -> None:
        """Write an answer that waited for others."""
        self.cycle.transport = self.transport
        self.transport.write(data)
        if self.transport.get_write_buffer_size():
            self._wait_for_reader()

    def is_closing(self) -> bool:
        """Nothing can be written any more."""
        return self.transport.is_closing()

    def close(self) -> None:
        """Close the connection after an answer that waits for others."""
        self.gathered.flush()
        self.transport.close()

    def eof_received(self) -> None:
        """The caller sends no more, and the connection closes: what waits goes out before."""
        self.gathered.flush()

    def shutdown(self) -> None:
        """Close the connection after the answer that is under way."""
        self.gathered.flush()
        super().shutdown()

    # -- what the caller reads -----------------------------------------------------------------

    def pause_writing(self) -> None:
        """The caller reads more slowly than we write; the upstream waits with us."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """The caller has read."""
        self._taken()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """An answer was written; the caller may not have read it yet."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._wait_for_reader()

    def _wait_for_reader(self) -> None:
        if self._unread is None:
            self._left = self.transport.get_write_buffer_size()
            self._unread = self.loop.call_later(self.limits.write, self._not_read)

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _not_read(self) -> None:
        self._unread = None
        left = self.transport.get_write_buffer_size()
        if left >= self._left:
            self.transport.abort()
        elif left:
            self._wait_for_reader()


def _without_upgrade(data: bytes) -> bytes:
    """Headers without the offer to go on in another protocol, which is how to decline it.

    Clients of HTTP/2 make that offer with a first request that has a body (RFC 7540 section 3.2).
    The parser would take that body for the other protocol.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-grade", head) + end + rest


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
        self.force_exit = False  # the end of the application is what cleans up remotely
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at a second Ctrl-C without waiting for the answers under way."""
        super().handle_exit(sig, frame)
        if self.force_exit:
            self._gateway.hurry()


def server_of(
    gateway: Gateway, *, port: int | None = None, on_started: Callable[[], None] = lambda: None
) -> GatewayServer:
    """A server for ``gateway`` in this process; ``serve(sockets=...)`` runs it."""
    settings = gateway.settings
    config = uvicorn.Config(
        gateway,
        host=settings.host,
        port=settings.port if port is None else port,
        http=type(
            "Protocol", (BoundedProtocol,), {"limits": settings.limits, "gathered": Gathered()}
        ),
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
