"""An answer of the HTTP library, whose headers have come and whose body is read as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from http.cookies import CookieError, SimpleCookie

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

from penstock.errors import PenstockError, ProtocolError
from penstock.transport.connections import Loss, close, give_back
from penstock.transport.failures import failure_of, from_library
from penstock.transport.listening import Body, Handler, unread
from penstock.wire.encoding import ContentDecoder
from penstock.wire.request import HttpRequest

MAX_ERROR_BODY = 64 << 10
MAX_BODY = 16 << 20
ERROR_BODY_WAIT = 5.0
"""Seconds that the body of an error answer may take; the status is told in any case."""


class Response:
    """An answer whose headers have come.

    Attributes:
        status: HTTP status.
        url: where it came from.
        content_type: the media type in lower case, without parameters; empty if none was sent.
    """

    _ended = False
    _freed = False
    _decoder: ContentDecoder | None = None

    def __init__(
        self,
        connection: Connection,
        sending: asyncio.Task[None] | None,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        request: HttpRequest,
        host: str,
    ) -> None:
        self._headers = message.headers
        self._content = content
        self._way = connection, sending
        self._host = host
        self.content_type = _media(message.headers.get("content-type", ""))
        self.url = request.url
        self.status: int = message.code
        encoding = message.headers.get("content-encoding")
        if encoding is not None and request.method != "HEAD":
            self._decoder = _decoder(encoding.strip().lower())
        protocol = connection.protocol
        self._loss = None if isinstance(protocol, Handler) else Loss(content, protocol)
        content.on_eof(partial(give_back, *self._way))

    def __del__(self) -> None:
        if not self._freed:
            give_back(*self._way)  # which closes it, unless the whole body has come

    @cached_property
    def headers(self) -> dict[str, str]:
        """Name in lower case -> value; of repeated headers the first."""
        made: dict[str, str] = {}
        for name, value in self._headers.items():
            made.setdefault(name.lower(), value)
        return made

    @property
    def cookies(self) -> dict[str, str]:
        """Name -> value of the cookies that this answer sets."""
        found: dict[str, str] = {}
        for line in self._headers.getall("Set-Cookie", []):
            cookie: SimpleCookie = SimpleCookie()
            try:
                cookie.load(line)
            except CookieError:
                continue
            found.update({name: morsel.value for name, morsel in cookie.items()})
        return found

    async def read_some(self) -> bytes:
        """The bytes that have arrived, or wait for some; ``b""`` at the end of the body.

        Raises:
            TruncatedError: the body broke off.
            ProtocolError: it is not proper HTTP, or not properly encoded.
        """
        while not self._ended:
            if self._decoder is not None:
                self._decoder.check()
            failure: PenstockError | None = None
            try:
                data = await self._content.readany()
            except Exception as error:
                if not from_library(error):
                    raise
                data = unread(self._content)
                failure = failure_of(error, "read", self._host, None)
            if failure is not None and not data:
                raise failure  # out here: the library's error may name what was sent
            if not data:
                self._ended = True
                if self._decoder is not None:
                    self._decoder.eof()
            elif self._decoder is None:
                self._ended = self._content.at_eof()
                return data
            elif decoded := self._decoder.feed(data):
                return decoded
        return b""

    async def listen(self, take: Callable[[bytes], bool]) -> None:
        """Give what comes to ``take`` from within each read, until that returns False.

        It returns as soon as there is something that only ``read_some`` tells: an end, a failure,
        or that the body is encoded.

        A cancellation passes through at once; what has not been given stays to be read.
        """
        if self._decoder is None and isinstance(self._content, Body):
            await self._content.listen(take)

    @property
    def here(self) -> bool:
        """All of the body has come; reading it waits for nothing."""
        return self._content.is_eof()

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The whole body.

        Raises:
            ProtocolError: it is longer than ``limit`` bytes.
        """
        parts: list[bytes] = []
        size = 0
        while data := await self.read_some():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise ProtocolError(f"{self._host} sent a body of more than {limit} bytes")
        return b"".join(parts)

    async def read_error(self, wait: float = ERROR_BODY_WAIT) -> bytes:
        """As much of an error answer's body as comes within ``wait`` seconds and is worth reading.

        It raises no error: what has come is what can be told.

        A cancellation passes through at once.
        """
        parts: list[bytes] = []
        size = 0
        with suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(wait):
                while size < MAX_ERROR_BODY and (data := await self.read_some()):
                    parts.append(data)
                    size += len(data)
        return b"".join(parts)[:MAX_ERROR_BODY]

    def abort(self) -> None:
        """Close the connection; a pending read ends with an error."""
        close(*self._way)
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientConnectionError("closed"))

    def free(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        if self._loss is not None:
            self._loss.forget()
        self._freed = True
        if not self._ended:  # else it was given back with the end of the body
            self.abort()


@lru_cache(maxsize=64)
def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decoder(encoding: str) -> ContentDecoder | None:
    return None if encoding in ("", "identity") else ContentDecoder(encoding)
