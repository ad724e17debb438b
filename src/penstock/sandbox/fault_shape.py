"""What the faults of stage ``body`` do to the frames of an answer.

A `Shape` takes the frames a server writes and gives acts: bytes to send, seconds to wait, or
how it all ends. It is a pure state machine; `server.Stream` performs the acts. The order is

1. frames are left out, repeated, swapped or added;
2. their bytes are rewritten and encoded;
3. the limit of bytes is looked at;
4. what is left is cut in network writes.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from typing import Literal, TypeAlias

from penstock.sandbox.faults import Given

Ending: TypeAlias = Literal["stall", "end", "break", "reset", "comments"]
Act: TypeAlias = bytes | float | Ending

_AFTER: tuple[Ending, ...] = ("stall", "end", "break", "reset", "comments")
_BYTES: tuple[Ending, ...] = ("stall", "end", "break", "reset")
_MEBIBYTE = b"x" * 1_048_576
_LINE = re.compile(rb"(?<=\n)")
_EVENT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_GZIP = 31  # window bits of zlib for gzip, RFC 1952
_ENCODED = ("gzip", "gzip-whole", "gzip-cut", "gzip-corrupt", "gzip-members", "gzip-bomb")


def content_type(given: Given, usual: str) -> str:
    """The content type that is told."""
    told = str(given.get("type", usual))
    return f"{told.partition(';')[0]}; charset={given['charset']}" if "charset" in given else told


def content_encoding(given: Given) -> str | None:
    """The content encoding that is told, if any."""
    if "encoding" in given:
        return str(given["encoding"])
    if "deflate" in given:
        return "deflate"
    return "gzip" if any(name in given for name in _ENCODED) else None


class Shape:
    """The faults of one answer, from `opening` over each `frame` to `closing`."""

    def __init__(self, given: Given, usual_type: str) -> None:
        self._given = given
        self._lines = "json" in usual_type
        self._number = 0
        self._sent = 0
        self._over = False
        held = int(given.get("drop-last", 0)) + any(n in given for n in ("no-last-newline", "swap"))
        self._hold = held
        self._held: deque[bytes] = deque()
        self._encoder = _encoder(given)
        self._tail = b""
        self._spoilt = False

    @property
    def every(self) -> float:
        """Seconds between two keep-alives."""
        return float(self._given.get("every", 0.1))

    @property
    def comment(self) -> bytes:
        """A keep-alive: a comment of an event stream, or a blank line among JSON lines."""
        return b"\n" if self._lines else b": keep-alive\n\n"

    def opening(self) -> Iterator[Act]:
        """What comes before the first frame."""
        if "bom" in self._given:
            yield from self._out(b"\xef\xbb\xbf")
        yield from self._due()

    def frame(self, data: bytes) -> Iterator[Act]:
        """What becomes of the frames of one write; they are an event or a line each."""
        ends = _LINE if self._lines else _EVENT
        for each in filter(None, ends.split(data)):
            for one in self._kept(each):
                yield from self._counted(one)

    def closing(self) -> Iterator[Act]:
        """What comes after the last frame; without an ending it is the orderly end."""
        if "no-last-newline" in self._given and self._held:
            yield from self._counted(self._held.popleft().rstrip(b"\r\n"))
        elif "swap" in self._given and self._held:
            yield from self._counted(self._held.popleft())
        if not self._over and self._encoder is not None:
            yield from self._limited(self._cut_tail(self._encoder.flush(), last=True))
        if not self._over and {"reset-end", "break-character"} & self._given.keys():
            yield "reset" if "reset-end" in self._given else "break"

    def _kept(self, data: bytes) -> Iterator[bytes]:
        """Hold frames back as far as the faults of the last ones need it."""
        if "swap" in self._given and self._held:
            yield data
            yield self._held.popleft()
            return
        for _ in range(2 if "duplicate" in self._given else 1):
            self._held.append(data)
            if len(self._held) > self._hold:
                yield self._held.popleft()

    def _counted(self, data: bytes) -> Iterator[Act]:
        if self._over:
            return
        yield from self._out(data)
        self._number += 1
        yield from self._due()

    def _due(self) -> Iterator[Act]:
        """What comes now that so many frames are out."""
        for added in self._added():
            yield from self._out(added)
        for ending in _AFTER:
            if not self._over and self._given.get(f"{ending}-after") == self._number:
                self._over = True
                yield ending

    def _added(self) -> Iterator[bytes]:
        due = {name for name, value in self._given.items() if value == self._number}
        if "garbage-after" in due:
            yield self._framed(b'{"garbage":')
        if "error-after" in due:
            yield self._framed(b'{"error": {"message": "sandbox fault", "type": "server_error"}}')
        if "bytes-after" in due:
            yield self._framed(b'"\xff\xfe\x80"')
        if self._number == 1:
            yield from self._large()

    def _large(self) -> Iterator[bytes]:
        if "huge-event" in self._given:
            yield self._framed(b'"' + b"x" * int(self._given["huge-event"]) + b'"')
        if "endless-line" in self._given:
            times = int(self._given["endless-line"])
            yield from repeat(_MEBIBYTE, times) if times else repeat(_MEBIBYTE)
        if "gzip-bomb" in self._given:
            yield from repeat(_MEBIBYTE, int(self._given["gzip-bomb"]))

    def _framed(self, data: bytes) -> bytes:
        return data + b"\n" if self._lines else b"data: " + data + b"\n\n"

    def _out(self, data: bytes) -> Iterator[Act]:
        if "crlf" in self._given or "cr" in self._given:
            data = re.sub(rb"\r?\n", b"\r\n" if "crlf" in self._given else b"\r", data)
        yield from self._limited(self._encoded(data))

    def _encoded(self, data: bytes) -> bytes:
        if "gzip-members" in self._given:
            return gzip.compress(data)
        if self._encoder is None:
            return data
        packed = self._encoder.compress(data)
        if "gzip-whole" not in self._given:
            packed += self._encoder.flush(zlib.Z_SYNC_FLUSH)
        if "gzip-corrupt" in self._given and not self._spoilt:
            self._spoilt = True
            # The tenth byte ends gzip's header; the next begins a block of an unknown type.
            packed = packed[:10] + b"\xff" + packed[11:]
        return self._cut_tail(packed)

    def _cut_tail(self, data: bytes, *, last: bool = False) -> bytes:
        """Hold back the last bytes, which are never sent."""
        size = int(self._given.get("gzip-cut", 0))
        if not size:
            return data
        data, self._tail = self._tail + data, b""
        if not last:
            self._tail = data[-size:]
        return data[:-size]

    def _limited(self, data: bytes) -> Iterator[Act]:
        ending: Ending | None = None
        first = re.search(rb"[\xc2-\xf4]", data) if "break-character" in self._given else None
        if first is not None:
            data, ending = data[: first.end()], "break"
        for name in _BYTES:
            limit = self._given.get(f"{name}-bytes")
            if limit is not None and self._sent + len(data) >= int(limit):
                data, ending = data[: int(limit) - self._sent], name
        self._sent += len(data)
        if not self._over:
            yield from self._cut(data)
        if ending is not None and not self._over:
            self._over = True
            yield ending

    def _cut(self, data: bytes) -> Iterator[Act]:
        size = 1 if "trickle" in self._given else int(self._given.get("bytes-of", 0)) or len(data)
        for start in range(0, len(data), size or 1):
            yield data[start : start + size]
            if "trickle" in self._given or "bytes-of" in self._given:
                yield float(self._given.get("trickle", 0.0))


def _encoder(given: Given) -> zlib._Compress | None:
    if "deflate" in given:
        return zlib.compressobj()
    encoded = any(name in given for name in _ENCODED if name != "gzip-members")
    return zlib.compressobj(wbits=_GZIP) if encoded else None
