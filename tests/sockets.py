"""A server that says exactly what a test tells it, byte by byte, over a real loopback socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Peer:
    """One accepted connection, seen from the server.

    Attributes:
        requests: heads and bodies of the requests read so far.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.requests: list[tuple[str, bytes]] = []

    async def request(self) -> str:
        """Read one request; the head is returned, the body kept."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lengths = [
            int(line.partition(":")[2])
            for line in head.lower().split("\r\n")
            if line.startswith("content-length:")
        ]
        body = await self._reader.readexactly(lengths[0]) if lengths else b""
        self.requests.append((head, body))
        return head

    async def read(self, size: int) -> bytes:
        """Exactly ``size`` raw bytes."""
        return await self._reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        """Raw bytes, in one write of their own."""
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)

    async def head(self, status: int = 200, *headers: str, chunked: bool = True) -> None:
        """A status line and headers; with ``chunked`` the body is sent by ``chunk``."""
        lines = [f"HTTP/1.1 {status} X", *headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """One HTTP chunk."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """The last chunk."""
        await self.send(b"0\r\n\r\n")

    async def answer(self, body: bytes, status: int = 200, *headers: str) -> None:
        """A whole answer with a length."""
        await self.head(status, f"Content-Length: {len(body)}", *headers, chunked=False)
        await self.send(body)

    def reset(self) -> None:
        """Drop the connection with a reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass


Handler = Callable[[Peer], Awaitable[None]]


async def unfinished(peer: Peer) -> None:
    """Begin an answer with ``piece``, and send no more until the client has gone."""
    await peer.request()
    await peer.head()
    await peer.chunk(b"piece")
    await peer.gone()


class ScriptedServer:
    """The running server.

    Attributes:
        url: its origin.
        peers: all connections so far.
        open: connections that are still open.
    """

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.peers: list[Peer] = []
        self.open = 0

    @property
    def heads(self) -> list[str]:
        """Heads of all requests, in order of connections."""
        return [head for peer in self.peers for head, _ in peer.requests]

    async def quiet(self) -> None:
        """Wait until no connection is open, for two seconds at most."""
        async with asyncio.timeout(2):
            while self.open:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def scripted(
    handler: Handler, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """A server that runs ``handler`` for each connection and closes it afterwards."""
    tasks: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        server.peers.append(peer)
        server.open += 1
        try:
            await handler(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left: the test looks at what came before
        finally:
            server.open -= 1
            tasks.discard(task)
            writer.close()

    raw = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = raw.sockets[0].getsockname()[1]
    server = ScriptedServer(port, "https" if tls else "http")
    try:
        yield server
    finally:
        raw.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await raw.wait_closed()
