"""An answer of the HTTP library, whose headers have come and whose body is read as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from http.cookies import CookieError, SimpleCookie

import aiohttp

from penstock.errors import PenstockError, ProtocolError
from penstock.transport.connections import Loss
from penstock.transport.failures import failure_of, from_library
from penstock.transport.listening import Body, unread
from penstock.wire.encoding import ContentDecoder

MAX_ERROR_BODY = 64 << 10
MAX_BODY = 16 << 20
ERROR_BODY_WAIT = 5.0
"""Seconds that the body of an error answer may take; the status is told in any case."""


class Response:
    """An answer whose headers have come.

    Attributes:
        status: HTTP status.
        content_type: the media type in lower case, without parameters; empty if none was sent.
    """

    def __init__(self, raw: aiohttp.ClientResponse, host: str) -> None:
        self._raw = raw
        self._host = host
        self._ended = False
        self._loss = Loss(raw)
        self.status = raw.status
        encoding = raw.headers.get("content-encoding", "identity").strip().lower()
        plain = encoding in ("", "identity") or raw.method == "HEAD"
        self._decoder = None if plain else ContentDecoder(encoding)
        media = raw.headers.get("content-type", "").partition(";")[0]
        self.content_type = media.strip().lower()

    @cached_property
    def headers(self) -> dict[str, str]:
        """Name in lower case -> value; of repeated headers the first."""
        made: dict[str, str] = {}
        for name, value in self._raw.headers.items():
            made.setdefault(name.lower(), value)
        return made

    @property
    def url(self) -> str:
        """Where it came from."""
        return str(self._raw.url)

    @property
    def cookies(self) -> dict[str, str]:
        """Name -> value of the cookies that this answer sets."""
        found: dict[str, str] = {}
        for line in self._raw.headers.getall("Set-Cookie", []):
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
                data = await self._raw.content.readany()
            except Exception as error:
                if not from_library(error):
                    raise
                data = unread(self._raw.content)
                failure = failure_of(error, "read", self._host, None)
            if failure is not None and not data:
                raise failure  # out here: the library's error may name what was sent
            if not data:
                self._ended = True
                if self._decoder is not None:
                    self._decoder.eof()
            elif self._decoder is None:
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
        content = self._raw.content
        if self._decoder is None and isinstance(content, Body):
            await content.listen(take)

    @property
    def here(self) -> bool:
        """All of the body has come; reading it waits for nothing."""
        return self._raw.content.is_eof()

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
        self._raw.close()

    def free(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        self._loss.forget()
        if self._ended:
            self._raw.release()
        else:
            self._raw.close()
