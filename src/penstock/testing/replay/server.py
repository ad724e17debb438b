"""The replay server: recorded answers over real loopback sockets, in three ways.

Laws:
* one listener for each host of the recording, so that an origin is told from another by its port;
* a request is answered by the first exchange of the current window that has its key and was not
  used yet; a poll that comes more often than recorded gets the last answer again;
* what a case did not record gets a harmless answer (settings and cleanup 200, everything else
  404) and is remembered;
* bodies are framed anew; a body that broke off is sent without its last chunk;
* each connection carries one request, so that its end is the client's own word that it left.

``Delivery`` says how the bytes of an answer are cut: as recorded with the pauses shortened, one
byte at a time, or everything in one write. One byte at a time, the loop turns between two bytes,
so that the client really reads them one by one; of very long bodies only both ends travel so.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Protocol

import msgspec

from penstock.testing.replay.case import Case, Exchange, RecordedResponse
from penstock.types import Value

SHORTENED = 0.02
"""Recorded pauses last this share of their time."""
LONGEST_PAUSE = 0.01
SETTLE = 0.02
"""How long a broken answer waits so that what was sent is read first (wire/replicate.md 11)."""
SINGLE_BYTES = 12_000
"""Bodies longer than twice this go byte by byte at both ends and in small pieces between."""
SMALL_PIECE = 61
MAX_HEAD = 64 << 10
MAX_BODY = 64 << 20
_DROPPED = frozenset(
    {"transfer-encoding", "content-length", "connection", "keep-alive", "date", "trailer"}
)
_BODILESS = frozenset({204, 304})


class Delivery(Enum):
    """How the bytes of an answer are cut."""

    RECORDED = "as recorded"
    BYTES = "byte by byte"
    AT_ONCE = "all at once"


class Arrived(Value, frozen=True, kw_only=True):
    """A request that arrived.

    Attributes:
        host: the recorded host whose listener took it.
        headers: name in lower case -> value.
        exchange: the exchange that answered; None where none was recorded.
        again: the exchange had been used before.
    """

    host: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    content: bytes
    exchange: int | None = None
    again: bool = False


class Rules(Protocol):
    """What the server must know of a protocol."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that answers may name, also where the recording asked them nothing."""

    def key(self, method: str, path: str, query: str) -> Hashable:
        """What makes two requests the same one."""

    def alike(self, exchange: Exchange, arrived: Arrived) -> bool:
        """Whether a request says what the recorded one said."""

    def reads(self, method: str, path: str) -> bool:
        """Whether a request only looks at something, so that it may come at another time."""

    def unrecorded(self, method: str, path: str) -> tuple[int, bytes] | None:
        """Status and JSON body for a request that the case did not record; None for a 404."""


class ReplayServer:
    """The servers of one case, for one run of it.

    Attributes:
        arrived: every request, in order of arrival.
        origins: recorded host -> ``http://127.0.0.1:port``.
    """

    def __init__(self, case: Case, rules: Rules, delivery: Delivery) -> None:
        self.arrived: list[Arrived] = []
        self.origins: dict[str, str] = {}
        self._exchanges = case.exchanges
        self._keys = [self._key_of(rules, exchange) for exchange in case.exchanges]
        self._rules = rules
        self._delivery = delivery
        self._window = (0, len(case.exchanges))
        self._used: set[int] = set()
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        asked = [exchange.request.header("host") for exchange in case.exchanges]
        self._hosts = dict.fromkeys([*asked, *rules.hosts])

    def window(self, start: int, stop: int) -> None:
        """From now on the exchanges from ``start`` to before ``stop`` answer."""
        self._window = (start, stop)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen on free ports of the loopback interface."""
        listeners: list[asyncio.Server] = []
        try:
            for host in self._hosts:
                listener = await asyncio.start_server(
                    partial(self._connected, host),
                    "127.0.0.1",
                    0,
                    limit=MAX_HEAD,
                )
                listeners.append(listener)
                self.origins[host] = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            yield
        finally:
            for listener in listeners:
                listener.close()
            for writer in self._writers.values():
                writer.transport.abort()
            if self._writers:
                await asyncio.wait(set(self._writers))

    async def _connected(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        try:
            await self._answer(await _read_request(host, reader), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client left, which is its right
        finally:
            del self._writers[task]
            writer.close()

    async def _answer(
        self, arrived: Arrived, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        index, again = self._choose(arrived)
        arrived = msgspec.structs.replace(arrived, exchange=index, again=again)
        self.arrived.append(arrived)
        if index is None:
            status, body = self._rules.unrecorded(arrived.method, arrived.path) or (404, b"{}")
            writer.write(_plain(status, body))
            await writer.drain()
            return
        response = self._exchanges[index].response
        await self._send(response, writer)
        if response.left_open or response.closed == "client":
            await reader.read()  # until the client closes
        elif response.closed == "reset":
            await self._break(writer)

    def _choose(self, arrived: Arrived) -> tuple[int | None, bool]:
        key = (arrived.host, self._rules.key(arrived.method, arrived.path, arrived.query))
        same = [index for index, known in enumerate(self._keys) if known == key]
        start, stop = self._window
        for index in same:
            if start <= index < stop and index not in self._used:
                self._used.add(index)
                return index, False
        # A poll, a cleanup, or the same question posted again (wire/openassistant.md section 1);
        # a list that the recording asked for earlier than we do.
        earlier = [index for index in same if index < stop]
        used = [index for index in earlier if index in self._used]
        if used:
            alike = [index for index in used if self._rules.alike(self._exchanges[index], arrived)]
            return (alike or used)[-1], True
        if not self._rules.reads(arrived.method, arrived.path):
            return None, False
        if earlier:
            return earlier[-1], False
        # Two calls at once were recorded one among the other; we make them in turn.
        later = next((index for index in same if index not in self._used), None)
        if later is not None:
            self._used.add(later)
        return later, False

    @staticmethod
    def _key_of(rules: Rules, exchange: Exchange) -> tuple[str, Hashable]:
        request = exchange.request
        key = rules.key(request.method, request.path, request.query or "")
        return request.header("host"), key

    # -- sending -------------------------------------------------------------------------------

    async def _send(self, response: RecordedResponse, writer: asyncio.StreamWriter) -> None:
        head = self._head(response)
        if response.status in _BODILESS:
            writer.write(head + b"\r\n")
            await writer.drain()
            return
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        chunks = self._localised(response)
        whole = response.closed == "clean" and not response.left_open
        last = b"0\r\n\r\n" if whole else b""
        match self._delivery:
            case Delivery.AT_ONCE:
                writer.write(head + _framed(b"".join(data for _, data in chunks)) + last)
            case Delivery.BYTES:
                writer.write(head)
                await _send_bytes(b"".join(data for _, data in chunks), writer)
                writer.write(last)
            case Delivery.RECORDED:
                writer.write(head)
                await _send_paced(chunks, writer)
                writer.write(last)
        await writer.drain()

    def _head(self, response: RecordedResponse) -> bytes:
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}", "Connection: close"]
        for name, value in response.headers:
            if name.lower() not in _DROPPED:
                shown = self._localise(value) if name.lower() == "location" else value
                lines.append(f"{name}: {shown}")
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8")

    def _localised(self, response: RecordedResponse) -> list[tuple[float, bytes]]:
        """The chunks, with the URLs of recorded hosts in JSON replaced by local ones."""
        if "json" in response.header("content-type") and not response.header("content-encoding"):
            body = response.content
            told = self._localise(body.decode("utf-8", "surrogateescape"))
            changed = told.encode("utf-8", "surrogateescape")
            if changed != body:
                return [(0.0, changed)]
        return [(chunk.t, chunk.b64) for chunk in response.chunks]

    def _localise(self, text: str) -> str:
        for host, origin in self.origins.items():
            if host:
                for scheme in ("https", "http"):
                    text = text.replace(f"{scheme}://{host}/", f"{origin}/")
        return text

    async def _break(self, writer: asyncio.StreamWriter) -> None:
        """End without the last chunk: by a reset, or just by closing."""
        await asyncio.sleep(SETTLE)
        if self._delivery is Delivery.RECORDED:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _send_bytes(body: bytes, writer: asyncio.StreamWriter) -> None:
    long = len(body) > 2 * SINGLE_BYTES
    middle = range(SINGLE_BYTES, len(body) - SINGLE_BYTES) if long else range(0)
    at = 0
    while at < len(body) and not writer.is_closing():
        size = min(SMALL_PIECE, middle.stop - at) if at in middle else 1
        writer.write(_framed(body[at : at + size]))
        at += size
        # Two turns of the loop: the client takes the byte in the first, before the next is written.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await writer.drain()


async def _send_paced(chunks: list[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    before = 0.0
    for t, data in chunks:
        pause = min(max(t - before, 0.0) * SHORTENED, LONGEST_PAUSE)
        before = t
        if writer.is_closing():
            return
        if pause >= 0.0005:
            await asyncio.sleep(pause)
        writer.write(_framed(data))
        await writer.drain()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _plain(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_phrase(status)}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


async def _read_request(host: str, reader: asyncio.StreamReader) -> Arrived:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
    line, *lines = head.split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines if line):
        headers.setdefault(name.strip().lower(), value.strip())
    path, _, query = target.partition("?")
    content = await _read_content(headers, reader)
    return Arrived(
        host=host, method=method, path=path, query=query, headers=headers, content=content
    )


async def _read_content(headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts: list[bytes] = []
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    length = int(headers.get("content-length", "0"))
    return await reader.readexactly(min(length, MAX_BODY))
