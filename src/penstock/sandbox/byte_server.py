"""A server that says exact bytes, at exact places, and ends exactly as it is told.

The servers of the sandbox are honest HTTP servers with faults added. What no HTTP library would
ever send is said here: half a status line, a chunk size that is none, a TLS stream without its
goodbye. A script is a sequence of steps; each connection plays it from the start.

Laws:
1. What a client sends is always read, whatever the script does, and kept in `Connection.received`
   (but for `Hang(reading=False)`): a close is then a FIN and never a reset for unread bytes.
2. A step ends when its bytes are with the operating system, one write for each `Send`.
3. A script ends when it is played, or when its client leaves; then the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Self, TypeAlias

from penstock.sandbox.byte_steps import (
    Close,
    HalfClose,
    Hang,
    Pause,
    Read,
    Request,
    Reset,
    Send,
    Step,
    Steps,
    StepsError,
    load_steps,
)

__all__ = [
    "ByteServer",
    "ClientLeft",
    "Close",
    "Connection",
    "HalfClose",
    "Handler",
    "Hang",
    "Pause",
    "Read",
    "Request",
    "Reset",
    "Send",
    "Step",
    "Steps",
    "StepsError",
    "load_steps",
]

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*chunked")


class ClientLeft(ConnectionError):
    """The client closed while a step waited for it."""


class Connection(asyncio.Protocol):
    """One accepted connection. A handler plays steps on it.

    Attributes:
        number: Its place among the connections of the server, from 0 on.
        received: All that the client has sent.
        closed_by: Who closed it first; None while it is open.
    """

    def __init__(self, begin: Callable[[Connection], int], end: Callable[[], None]) -> None:
        self.number = -1
        self.received = bytearray()
        self.closed_by: Literal["client", "server"] | None = None
        self._begin = begin
        self._end = end
        self._heads: list[str] = []
        self._read = 0
        self._writable = True
        self._changed = asyncio.Event()

    @property
    def requests(self) -> list[str]:
        """Heads of the requests that `Request` has read."""
        return self._heads

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to play."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Paused at the first byte that the system does not take: then a step's end is law 2.
        # TLS compares the other way round: with 0 it would be paused for ever.
        secure = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=1 if secure else 0, low=0)
        self.number = self._begin(self)

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self._tell()

    def eof_received(self) -> bool:
        """The client has closed its side: it is taken as gone."""
        self._closed("client")
        return False

    def connection_lost(self, problem: Exception | None) -> None:
        """Both sides are closed now, or the client has reset."""
        self._closed("client")
        self._end()

    def pause_writing(self) -> None:
        """The system takes no more."""
        self._writable = False

    def resume_writing(self) -> None:
        """The system has taken it all."""
        self._writable = True
        self._tell()

    # A handler calls these.

    async def play(self, *steps: Step) -> None:
        """Do these steps, in order.

        Raises:
            ClientLeft: The client closed before they were done.
        """
        for step in steps:
            await self._play(step)

    async def gone(self) -> None:
        """Wait until either side has closed."""
        while self.closed_by is None:
            await self._change()

    async def _play(self, step: Step) -> None:
        match step:
            case Send(data, times):
                await self._send(data, times)
            case Pause(seconds):
                await self._pause(seconds)
            case Read(until):
                await self._take(until)
            case Request():
                await self._request()
            case HalfClose():
                self._transport.write_eof()
            case Hang(reading):
                if not reading:
                    self._transport.pause_reading()
                await self.gone()
                raise ClientLeft
            case Close() | Reset():
                self.close(step)
            case _:
                raise TypeError(f"not a step: {step!r}")

    def close(self, how: Close | Reset = Close()) -> None:  # noqa: B008 - a frozen value
        """Close it now, if it is open; what was sent is sent."""
        if self.closed_by is None:
            self._closed("server")
        if isinstance(how, Reset):
            raw: socket.socket = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(how, Reset) or not how.notify:
            self._transport.abort()
        else:
            self._transport.close()

    async def _send(self, data: bytes, times: int) -> None:
        sent = 0
        while not times or sent < times:
            self._check()
            self._transport.write(data)
            sent += 1
            while not self._writable:
                await self._change()
                self._check()
            # The event loop sees the client leave, and other connections get their turn.
            await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.gone()
        except TimeoutError:
            return
        raise ClientLeft

    async def _take(self, until: bytes) -> bytes:
        """Wait for these bytes; what came up to and with them is given."""
        looked = self._read
        while (at := self.received.find(until, looked)) < 0:
            looked = max(self._read, len(self.received) - len(until) + 1)
            await self._more()
        return self._taken(at + len(until))

    async def _request(self) -> None:
        head = await self._take(b"\r\n\r\n")
        self._heads.append(head.decode("latin-1"))
        if _CHUNKED.search(head):
            await self._take(b"0\r\n\r\n")
        elif length := _LENGTH.search(head):
            end = self._read + int(length[1])
            while len(self.received) < end:
                await self._more()
            self._taken(end)

    def _taken(self, end: int) -> bytes:
        taken = bytes(self.received[self._read : end])
        self._read = end
        return taken

    async def _more(self) -> None:
        self._check()
        await self._change()

    async def _change(self) -> None:
        await self._changed.wait()

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    def _check(self) -> None:
        if self.closed_by is not None:
            raise ClientLeft

    def _closed(self, side: Literal["client", "server"]) -> None:
        if self.closed_by is None:
            self.closed_by = side
        self._tell()


Handler: TypeAlias = Callable[[Connection], Awaitable[None]]


class ByteServer:
    """A server on a loopback port, from entering to leaving ``async with``.

    An exception of a handler that is not `ClientLeft` ends the block, as in a task group.

    Attributes:
        host: The address it listens on.
        port: Its port, once it listens.
        connections: All connections so far.
        open: How many of them are open.
    """

    def __init__(
        self,
        script: Steps | Sequence[Steps] | Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Choose what to say; nothing listens yet.

        Args:
            script: Steps for each connection; or a list of such lists, one for each
                connection in turn and the last for all that follow; or a function that
                plays steps on the connection it is given.
            host: The address to listen on.
            port: The port; 0 takes a free one.
            tls: Speak TLS with this certificate.
        """
        self.host = host
        self.port = port
        self.connections: list[Connection] = []
        self.open = 0
        self._handler = script if callable(script) else _player(script)
        self._tls = tls
        self._playing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def requests(self) -> list[str]:
        """Heads of all requests that were read as such, in order of connections."""
        return [head for one in self.connections for head in one.requests]

    async def accepted(self, count: int = 1, limit: float = 5) -> None:
        """Wait until so many connections have come.

        Raises:
            TimeoutError: There are fewer after so many seconds.
        """
        async with asyncio.timeout(limit):
            while len(self.connections) < count:
                await self._changed.wait()

    async def quiet(self, limit: float = 5) -> None:
        """Wait until no connection is open.

        Raises:
            TimeoutError: One is still open after so many seconds.
        """
        async with asyncio.timeout(limit):
            while self.open:
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(
                lambda: Connection(self._begun, self._ended), self.host, self.port, ssl=self._tls
            )
        except BaseException:
            await self._tasks.__aexit__(None, None, None)
            raise
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *problem: object) -> None:
        self._listening.close()
        for connection in self.connections:
            connection.close(Close(notify=False))
        for task in self._playing:
            task.cancel()  # a handler may wait for something of its own
        try:
            await self.quiet()
        finally:
            # An exception of the caller's block is not the group's business: it stays.
            await self._tasks.__aexit__(None, None, None)

    def _begun(self, connection: Connection) -> int:
        self.connections.append(connection)
        self.open += 1
        task = self._tasks.create_task(self._serve(connection))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)
        self._tell()
        return len(self.connections) - 1

    def _ended(self) -> None:
        self.open -= 1
        self._tell()

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    async def _serve(self, connection: Connection) -> None:
        try:
            await self._handler(connection)
        except ClientLeft:
            pass  # what it did before is kept for whoever looks
        finally:
            connection.close()


def _player(script: Steps | Sequence[Steps]) -> Handler:
    lists = [one for one in script if isinstance(one, Sequence)]
    scripts: list[Steps] = lists or [[one for one in script if not isinstance(one, Sequence)]]

    async def play(connection: Connection) -> None:
        await connection.play(*scripts[min(connection.number, len(scripts) - 1)])

    return play
