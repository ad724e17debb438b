"""The body of an answer, and how to listen to it: what comes is handed on without waking a task.

To wake the task that waits for a token, through all that is between it and the connection, is most
of what the token costs while many streams are open: by then what it needs has left the caches. So
whoever needs the pieces only to pass them on has them from within the read that brings them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import aiohttp
from aiohttp import http_exceptions
from aiohttp.client_proto import ResponseHandler


class Handler(ResponseHandler):
    """A connection that can be listened to, and on which only what was paused is resumed.

    The library asks to resume after every read, and parses and resumes anew each time: a
    twentieth of what a token costs. Once an answer was paused, its parser may hold a rest that only
    this asking sets free.

    Attributes:
        listener: who listens to the body that comes.
        paused_once: the answer that comes was paused.
        used: a request has gone out over it.
        ear: tells whether something has come, though the loop has not seen it yet.
    """

    __slots__ = ("ear", "listener", "paused_once", "used")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.listener: Listener | None = None
        self.paused_once = False
        self.used = False
        self.ear: Callable[[], bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; the loop sends small packets at once, unasked."""
        self.transport = cast(asyncio.Transport, transport)

    def set_response_params(self, **parameters: Any) -> None:
        """An answer is about to come."""
        self.paused_once = self._reading_paused
        super().set_response_params(**parameters)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The head of an answer has come, and with it a reader of its body."""
        _, reader = data
        if type(reader) is aiohttp.StreamReader:  # else it is the one of all empty answers
            reader.__class__ = Body
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        ResponseHandler.data_received(self, data)  # ``super()`` would be looked up for each token
        if self.listener is not None:
            self.listener.heard()

    def connection_lost(self, error: BaseException | None) -> None:
        """The connection is gone."""
        body = self._payload
        super().connection_lost(error)
        # Where nobody else has told why, the parser gave up, and the library closed for it.
        _fail(body, http_exceptions.TransferEncodingError, "bad body")
        if self.listener is not None:
            self.listener.end()

    def close(self) -> None:
        """Close the connection: its request is over, or all of them are."""
        body = self._payload
        super().close()
        _fail(body, aiohttp.ClientConnectionError, "closed")

    def abort(self) -> None:
        """Close it at once."""
        body = self._payload
        super().abort()
        _fail(body, aiohttp.ClientConnectionError, "closed")

    def _reschedule_timeout(self) -> None:
        """Nothing: how long a read may take is not for the library to say here."""

    def pause_reading(self) -> None:
        """Read no more: too much is unread."""
        self.paused_once = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading."""
        if self.paused_once:
            super().resume_reading(resume_parser)


class Body(aiohttp.StreamReader):
    """A body that can be listened to.

    The library's parser makes a reader of the library's own kind and cannot be told to make
    another, so ``Handler`` turns that into this once the head has come. The ends of chunks, which
    nobody asks for, are not noted from then on.
    """

    __slots__ = ()
    _protocol: Handler

    def begin_http_chunk_receiving(self) -> None:
        """A chunk begins."""

    def end_http_chunk_receiving(self) -> None:
        """A chunk is complete."""

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Some of the body has come."""
        if self._protocol.listener is not None:  # who takes it as soon as this read is over, so
            self._buffer.append(data)  # that there is nothing to count
            return False
        super().feed_data(data)
        if len(self._buffer) > self._high_water_chunks:  # small ones take more room than they say
            self._protocol.pause_reading()
        return False

    def feed_eof(self) -> None:
        """The body is complete."""
        super().feed_eof()
        self._end()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """The body fails."""
        super().set_exception(exc, *cause)
        self._end()

    def _end(self) -> None:
        listener = self._protocol.listener
        if listener is not None and listener.body is self:
            listener.end()

    def drain(self) -> bytes:
        """All that has come since somebody listens."""
        buffer = self._buffer
        if len(buffer) == 1:
            return buffer.popleft()
        data = b"".join(buffer)
        buffer.clear()
        return data

    async def listen(self, take: Callable[[bytes], bool]) -> None:
        """Give what comes to ``take`` from within each read, until that returns False.

        It returns as soon as there is something that only reading tells: the end, a failure, or
        what has come before.

        A cancellation passes through at once; what has not been given stays to be read.
        """
        if self._buffer or self._eof or self._exception is not None:
            return
        listener = self._protocol.listener = Listener(self, self._protocol, take)
        try:
            await listener.over
        finally:
            listener.end()


class Listener:
    """Who listens to ``body``, which comes over ``handler``.

    Attributes:
        body: what is listened to.
        over: done when nothing more is given.
    """

    __slots__ = ("_handler", "_take", "body", "over")

    def __init__(self, body: Body, handler: Handler, take: Callable[[bytes], bool]) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.body = body
        self._handler = handler
        self._take = take

    def heard(self) -> None:
        """A read is over."""
        data = self.body.drain()
        if not data:
            return
        try:
            if not self._take(data):
                self.end()
        except BaseException as error:  # whoever waits is to know why the connection is closed
            if not self.over.done():
                self.over.set_exception(error)
            self.end()
            raise
        if self._handler.paused_once:
            self._handler.resume_reading()

    def end(self) -> None:
        """Listen no more."""
        if self._handler.listener is self:  # else the connection serves another answer already
            self._handler.listener = None
        if not self.over.done():
            self.over.set_result(None)


def _fail(body: aiohttp.StreamReader | None, kind: type[Exception], words: str) -> None:
    """Let who reads ``body`` know, unless it has ended or failed: the library forgets it then."""
    if body is not None and not body.is_eof() and body.exception() is None:
        body.set_exception(kind(words))


def unread(content: aiohttp.StreamReader) -> bytes:
    """What came before ``content`` failed and was not read yet; it is taken out."""
    buffer = getattr(content, "_buffer", None)
    if not buffer:
        return b""
    rest = b"".join(buffer)
    buffer.clear()
    return rest
