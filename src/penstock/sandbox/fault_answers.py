"""The faults of the stages ``answer`` and ``framing``: bytes that no HTTP library would write.

An answer under a framing fault is recorded whole, then written anew, so that the fault is in the
HTTP alone and the protocol inside is the server's own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Literal, TypeAlias, cast

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from penstock.sandbox.faults import Given

RawAct: TypeAlias = bytes | float | Literal["keep", "close", "reset", "stall"]

_READ_TIME = 0.05
_PAGE = "<!DOCTYPE html>\n<html><body><h1>{}</h1><p>sandbox fault</p></body></html>\n"
_JSON: Mapping[str, bytes] = {
    "cut": b'{"id": "one", "choices": [{"mess',
    "text": b"upstream connect error",
    "depth": b"[" * 100_000 + b"]" * 100_000,
    "nan": b'{"id": NaN, "created": Infinity}',
    "surrogate": b'{"id": "\\ud83d", "text": "\\udc00"}',
    "big": b'{"id": 18446744073709551616}',
    "duplicate": b'{"id": "one", "id": "two"}',
}
_STATUSES = ("status", "status-html", "status-empty")


class Raw(web.StreamResponse):
    """An answer whose bytes are given, status line included."""

    def __init__(self, acts: Iterator[RawAct], told: int | None = None) -> None:
        super().__init__()
        self.told = told
        self._acts = acts
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Perform the acts instead of sending headers."""
        transport = request.transport
        for act in self._acts:
            if transport is None or transport.is_closing():
                break
            match act:
                case bytes():
                    transport.write(act)
                    await request.writer.drain()
                case float():
                    await asyncio.sleep(act)
                case "stall":
                    await asyncio.Event().wait()
                case "keep":
                    self._keep_alive = True
                case "close":
                    transport.close()
                case "reset":
                    # What was written before is to be read, not lost.
                    await asyncio.sleep(_READ_TIME)
                    linger = struct.pack("ii", 1, 0)
                    transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, linger
                    )
                    transport.abort()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing more."""


class Recorded(web.StreamResponse):
    """A stream that is kept instead of sent."""

    def __init__(self, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.kept = bytearray()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send no headers."""
        return None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep bytes."""
        self.kept += data

    async def write_eof(self, data: bytes = b"") -> None:
        """Keep the last bytes."""
        self.kept += data


def instead(request: web.Request, given: Given) -> web.StreamResponse | None:
    """Give the answer that takes the place of the server's own, if a fault wants one."""
    for name, end in (("silence", "stall"), ("close", "close"), ("reset", "reset")):
        if name in given:
            return Raw(iter([cast("RawAct", end)]))
    for name in ("redirect", "redirect-host", "redirect-loop", "redirect-file"):
        if name in given:
            headers = {"Location": _location(name, request)}
            return web.Response(status=int(given[name]), headers=headers)
    if "html" in given:
        return web.Response(text=_PAGE.format("Just a moment"), content_type="text/html")
    if "error-200" in given:
        return _error(200, {})
    if "json" in given:
        body = _JSON.get(str(given["json"]), _JSON["cut"])
        return web.Response(body=body, content_type="application/json")
    if "empty" in given:
        return web.Response(status=200)
    return _status(given)


def _location(name: str, request: web.Request) -> str:
    match name:
        case "redirect-host":
            return f"http://elsewhere.invalid{request.path}"
        case "redirect-loop":
            return request.path_qs
        case "redirect-file":
            return "file:///etc/hostname"
        case _:
            return "/_sandbox/elsewhere"


def _status(given: Given) -> web.Response | None:
    headers: dict[str, str] = {}
    if "retry-after" in given:
        headers["Retry-After"] = str(given["retry-after"])
    if "retry-after-date" in given:
        then = datetime.now(UTC) + timedelta(seconds=float(given["retry-after-date"]))
        headers["Retry-After"] = format_datetime(then, usegmt=True)
    for name in _STATUSES:
        if name in given:
            return _of_status(name, int(given[name]), headers)
    return _error(429, headers) if headers else None


def _of_status(name: str, status: int, headers: Mapping[str, str]) -> web.Response:
    match name:
        case "status-html":
            page = _PAGE.format(f"{status} {_reason(status)}")
            return web.Response(status=status, text=page, content_type="text/html", headers=headers)
        case "status-empty":
            return web.Response(status=status, headers=headers)
        case _:
            return _error(status, headers)


def _error(status: int, headers: Mapping[str, str]) -> web.Response:
    said = {"error": {"code": status, "message": "sandbox fault", "type": "sandbox_fault"}}
    body = msgspec.json.encode(said)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class _Answer(msgspec.Struct, frozen=True):
    """A whole answer, before it is written."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def head(self, *lines: str, version: str = "HTTP/1.1") -> bytes:
        told = [f"{name}: {value}" for name, value in self.headers]
        first = f"{version} {self.status} {_reason(self.status)}"
        return "\r\n".join([first, *told, *lines, "", ""]).encode()

    def sized(self, *lines: str) -> bytes:
        """The answer as it should be, with these further lines."""
        return self.head(*lines, f"Content-Length: {len(self.body)}") + self.body

    def chunked(self, *lines: str) -> bytes:
        """Headers and the one chunk that holds the body."""
        head = self.head(*lines, "Transfer-Encoding: chunked")
        return head + _chunk(self.body) if self.body else head


def _chunk(data: bytes, extension: str = "") -> bytes:
    return f"{len(data):x}{extension}\r\n".encode() + data + b"\r\n"


def reframed(answer: web.StreamResponse, given: Given) -> Iterator[RawAct]:
    """Write a recorded answer anew, with the framing fault that is given."""
    body = answer.body if isinstance(answer, web.Response) else getattr(answer, "kept", b"")
    headers = [
        (name, value)
        for name, value in answer.headers.items()
        if name.lower() not in {"content-length", "transfer-encoding"}
    ]
    headers += [("Set-Cookie", one.OutputString()) for one in answer.cookies.values()]
    whole = _Answer(
        answer.status, tuple(headers), bytes(body) if isinstance(body, bytes | bytearray) else b""
    )
    for name, write in _FRAMINGS.items():
        if name in given:
            return write(whole, int(given[name]) if name != "slow-headers" else 0, given)
    return iter([whole.sized()])


_Write: TypeAlias = Callable[[_Answer, int, Given], Iterator[RawAct]]


def _lost(_answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield "close"


def _interim(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    for _ in range(n):
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    yield answer.sized()
    yield "keep"


def _slow_headers(answer: _Answer, _n: int, given: Given) -> Iterator[RawAct]:
    whole = answer.sized()
    size = len(whole) - len(answer.body)
    for place in range(size):
        yield whole[place : place + 1]
        yield float(given["slow-headers"])
    yield whole[size:]
    yield "keep"


def _long_header(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.sized("X-Long: " + "x" * n)


def _many_headers(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.sized(*(f"X-Many-{number}: x" for number in range(n)))


def _nul_header(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.sized("X-Nul: a\0b")


def _no_colon(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.sized("no colon in this line")


def _both_lengths(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.chunked(f"Content-Length: {len(answer.body)}") + b"0\r\n\r\n"


def _two_lengths(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.sized(f"Content-Length: {len(answer.body) + 1}")


def _long_length(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.head(f"Content-Length: {len(answer.body) + n}") + answer.body


def _short_length(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.head(f"Content-Length: {max(len(answer.body) - n, 0)}") + answer.body
    yield "keep"


def _extra_answer(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    other = _Answer(200, (("Content-Type", "application/json"),), b'{"error": "of another"}')
    yield answer.sized() + other.sized()
    yield "keep"


def _until_close(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.head("Connection: close") + answer.body[: max(len(answer.body) - n, 0)]


def _bad_chunk(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.chunked() + b"zz\r\n"


def _chunk_overflow(answer: _Answer, _n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.chunked() + b"f" * 18 + b"\r\n"


def _chunk_cut(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.chunked()[: -2 - n]


def _chunk_extension(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    head = answer.head("Transfer-Encoding: chunked")
    yield head + _chunk(answer.body, ";" + "e" * n) + b"0\r\n\r\n"
    yield "keep"


def _trailers(answer: _Answer, n: int, _given: Given) -> Iterator[RawAct]:
    yield answer.chunked() + b"0\r\n"
    yield b"".join(b"X-Trailer-%d: x\r\n" % number for number in range(n)) + b"\r\n"
    yield "keep"


_FRAMINGS: Mapping[str, _Write] = {
    "lost": _lost,
    "interim": _interim,
    "slow-headers": _slow_headers,
    "long-header": _long_header,
    "many-headers": _many_headers,
    "nul-header": _nul_header,
    "no-colon": _no_colon,
    "both-lengths": _both_lengths,
    "two-lengths": _two_lengths,
    "long-length": _long_length,
    "short-length": _short_length,
    "extra-answer": _extra_answer,
    "until-close": _until_close,
    "bad-chunk": _bad_chunk,
    "chunk-overflow": _chunk_overflow,
    "chunk-cut": _chunk_cut,
    "chunk-extension": _chunk_extension,
    "trailers": _trailers,
}
