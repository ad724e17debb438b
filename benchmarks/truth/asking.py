"""A client that sees every byte: no retries, no decoding, no mercy for a wrong framing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_LIMIT = 1 << 24


class Answer(NamedTuple):
    """What came.

    Attributes:
        headers: names in lower case.
        whole: False where the connection was closed before the framing said so.
        seconds: from the request to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    seconds: float

    @property
    def value(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def error(self) -> dict[str, Any]:
        """The ``error`` member of the body; empty where there is none."""
        return _error_of(self.value)

    @property
    def data(self) -> list[str]:
        """The data of each event, in order; comments are none."""
        text = self.body.decode("utf-8", "replace").replace("\r\n", "\n")
        return [
            "\n".join(
                line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")
            )
            for event in text.split("\n\n")
            if "data:" in event
        ]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The events that are chunks of the answer."""
        values = [json.loads(data) for data in self.data if data.startswith("{")]
        return [value for value in values if "error" not in value]

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choices of all chunks."""
        return [choice for chunk in self.chunks for choice in chunk.get("choices") or ()]

    @property
    def text(self) -> str:
        """The text of the answer, whole or streamed."""
        if "event-stream" in self.headers.get("content-type", ""):
            deltas = [choice.get("delta") or {} for choice in self.choices]
            return "".join(delta.get("content") or "" for delta in deltas)
        value = self.value
        message = value["choices"][0]["message"] if self.status == 200 else {}
        return message.get("content") or ""

    @property
    def done(self) -> bool:
        """Whether the end mark came."""
        return "[DONE]" in self.data

    @property
    def failure(self) -> dict[str, Any] | None:
        """The error event of a stream; None where there is none."""
        for data in self.data:
            if data.startswith("{") and (error := _error_of(json.loads(data))):
                return error
        return None


def _error_of(value: object) -> dict[str, Any]:
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}


class Place(NamedTuple):
    """Where a gateway is: the base URL of its OpenAI surface, taken apart."""

    host: str
    port: int
    path: str
    secure: bool

    @classmethod
    def of(cls, base_url: str) -> Place:
        """The place that ``base_url`` names."""
        parts = urlsplit(base_url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        return cls(parts.hostname or "127.0.0.1", port, parts.path.rstrip("/"), secure)


class Line:
    """One connection with one request on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._began = asyncio.get_running_loop().time()

    def leave(self) -> float:
        """Close now, without a word; the instant of it."""
        self._writer.transport.abort()
        return asyncio.get_running_loop().time()

    async def until(self, mark: bytes) -> bytes:
        """Read until these bytes have come."""
        return await self._reader.readuntil(mark)

    async def answer(self) -> Answer:
        """Read the whole answer."""
        status, headers = await self._head()
        body, whole = await self._body(headers)
        seconds = asyncio.get_running_loop().time() - self._began
        return Answer(status, headers, body, whole, seconds)

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def _body(self, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        try:
            if "chunked" in headers.get("transfer-encoding", ""):
                while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    parts.append((await self._reader.readexactly(size + 2))[:-2])
                await self._reader.readuntil(b"\r\n")
            elif "content-length" in headers:
                parts.append(await self._reader.readexactly(int(headers["content-length"])))
            else:
                parts.append(await self._reader.read(_LIMIT))
        except asyncio.IncompleteReadError as cut:
            return b"".join(parts) + cut.partial, False
        except ConnectionError:
            return b"".join(parts), False
        return b"".join(parts), True


@asynccontextmanager
async def line(
    place: Place,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Line]:
    """A connection on which this request was sent; it is closed at the end.

    Raises:
        OSError: nobody is there.
    """
    reader, writer = await asyncio.open_connection(
        place.host, place.port, ssl=place.secure or None, limit=_LIMIT
    )
    try:
        lines = [f"{method} {place.path}{path} HTTP/1.1", f"host: {place.host}:{place.port}"]
        lines += ["content-type: application/json", "connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [f"content-length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + body)
        await writer.drain()
        yield Line(reader, writer)
    finally:
        writer.close()
