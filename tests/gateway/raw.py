"""A caller that sends exact bytes to a gateway and keeps what comes back."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from tests.gateway.running import Running


class At(Protocol):
    """What listens.

    Attributes:
        url: its origin.
    """

    url: str


PATIENCE = 5.0
"""Seconds after which a test has failed."""


class Raw:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.port: int = writer.get_extra_info("sockname")[1]

    async def send(self, data: bytes) -> None:
        """Send; a gateway that has closed meanwhile is no error."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One answer with a length: status, headers in small letters, body."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            pairs = (header.split(": ", 1) for header in lines)
            headers = {name.lower(): value for name, value in pairs}
            body = await self._reader.readexactly(int(headers["content-length"]))
            return int(line.split()[1]), headers, body

    async def error(self) -> tuple[int, str]:
        """The status and the sentence of a refusal."""
        status, _, body = await self.answer()
        return status, json.loads(body)["error"]["message"]

    async def some(self, size: int = 65536) -> bytes:
        """Whatever comes next; empty at the end."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read(size)

    async def rest(self) -> bytes:
        """All until the gateway closes, by whatever means."""
        came = b""
        with suppress(ConnectionError):
            while part := await self.some():
                came += part
        return came

    def leave(self) -> None:
        """Close."""
        self._writer.close()


@asynccontextmanager
async def raw(gateway: At, *, buffer: int | None = None, reads: bool = False) -> AsyncIterator[Raw]:
    """A connection; with ``buffer`` the system takes about as many bytes.

    With ``buffer`` nothing is read, unless the caller ``reads``.
    """
    line = socket.socket(proto=socket.IPPROTO_TCP)
    if buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.setblocking(False)
    port = int(gateway.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=line)
    if buffer is not None and not reads:
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
    caller = Raw(reader, writer)
    try:
        yield caller
    finally:
        caller.leave()
        with suppress(ConnectionError):
            await writer.wait_closed()


def question(
    model: str,
    text: str = "One two",
    *headers: str,
    path: str = "/v1/chat/completions",
    **more: Any,
) -> bytes:
    """A whole request to chat."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more})
    return request("POST", path, *headers, body=body.encode())


def request(method: str, path: str, *headers: str, body: bytes | None = None) -> bytes:
    """A whole request; ``Host`` is ``localhost`` unless the headers say."""
    lines = [f"{method} {path} HTTP/1.1", *headers]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.append("Host: localhost")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


async def quiet(gateway: Running) -> None:
    """Wait until the gateway has no answer under way."""
    async with asyncio.timeout(PATIENCE):
        while gateway.gateway.open_streams:
            await asyncio.sleep(0.005)
