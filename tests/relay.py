"""A relay between a client and one server: it passes bytes on and remembers what the client sent.

It serves as the server's address and as an HTTP proxy alike. As a proxy it leads every host to its
one server, so that an address under ``.invalid`` is reached through it and by no other way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n")


class Relay:
    """The running relay.

    Attributes:
        url: its origin.
        sent: everything that clients sent, one entry for each connection.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.sent: list[bytearray] = []
        self._host = urlsplit(target).hostname
        self._port = urlsplit(target).port
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and target of every request."""
        heads = [found for sent in self.sent for found in _REQUEST.findall(bytes(sent))]
        return [(method.decode(), target.decode()) for method, target in heads]

    @property
    def text(self) -> str:
        """All that clients sent."""
        return b"".join(map(bytes, self.sent)).decode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        sent = bytearray()
        self.sent.append(sent)
        there, back = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, back}
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(reader, back, sent))
            group.create_task(_pass_on(there, writer, bytearray()))
        self._open -= {writer, back}

    def close(self) -> None:
        """Drop every connection."""
        for writer in self._open:
            writer.transport.abort()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray
) -> None:
    try:
        while data := await reader.read(65536):
            seen += data
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # one side went without a word; the other is told below
    finally:
        writer.close()


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    """A relay to the server at ``target``."""
    running = Relay(target)
    tasks: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await running.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        running.close()
        await asyncio.gather(*tasks)
        await server.wait_closed()
