"""How an answer is written: the half of ASGI below the application that tokens pass.

uvicorn looks at each header of an answer twice with a regular expression, and writes the head by
itself, which is a system call, a packet, and an awakening of the caller more. Here the head goes
out with the first of the body, and what comes after may go past ``send`` (``Line``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from penstock.gateway.http import Message

_BODILESS = (204, 304)


class Line:
    """The way past ``send``; ``penstock.gateway.http.Line`` is the contract.

    An object of its own, for it is kept with what the connection serves: no ring.
    """

    __slots__ = ("_flow", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow

    @property
    def ready(self) -> bool:
        """The caller reads as fast as we write."""
        return not (self._flow.write_paused or self._transport.is_closing())

    def write(self, data: bytes) -> bool:
        """Write ``data``, and tell whether the line is ready for more."""
        transport = self._transport
        if transport.is_closing():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not self._flow.write_paused


class Cycle(RequestResponseCycle):
    """One request and its answer.

    Names of headers come in lower case from the application, as ASGI wants them.

    Attributes:
        gathered: writes a whole answer together with others, while there are others.
    """

    gathered: Callable[[bytes], None] | None = None
    _head: bytes | None = None
    _left: int | None = None  # bytes of the body that are still to come; None for any number
    _bodiless = False

    async def send(self, message: Any) -> None:
        """Write what the application says, as soon as the caller takes it.

        Raises:
            RuntimeError: the application speaks out of turn, or says something else than it told.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("the answer has ended")
        if self.response_started:
            if message["type"] != "http.response.body":
                raise RuntimeError("the answer has begun already")
            self._write(message.get("body", b""), last=not message.get("more_body", False))
        else:
            self._begin(message)

    def _begin(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError("the answer has no head")
        self.response_started = True
        self.waiting_for_100_continue = False
        status, headers = message["status"], message.get("headers", ())
        told = dict(headers)
        lines = [STATUS_LINE[status][:-2], *map(b": ".join, headers)]
        self._bodiless = self.scope["method"] == "HEAD" or status in _BODILESS
        if (length := told.get(b"content-length")) is not None:
            self._left = int(length)
        elif self.scope["http_version"] != "1.0" and not self._bodiless:
            # A caller of HTTP/1.0 reads to the end of the connection (RFC 9112 section 6.1).
            self.chunked_encoding = True
            if b"transfer-encoding" not in told:
                lines.append(b"transfer-encoding: chunked")
        if told.get(b"connection") == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close")
        every = b"".join(lines)
        if b"\n" in every or b"\r" in every:
            raise RuntimeError("a header holds a line break")
        self._head = b"\r\n".join(lines) + b"\r\n\r\n"

    def _write(self, body: bytes, *, last: bool) -> None:
        if self._bodiless:
            body = b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body += b"0\r\n\r\n" if last else b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (last and self._left):
                raise RuntimeError("the body is not as long as its head says")
        if self._head is not None:
            body, self._head = self._head + body, None
        gathered, self.gathered = self.gathered, None  # it holds who holds this: no ring
        if gathered is not None and last and self.keep_alive:
            gathered(body)
        elif body:
            self.transport.write(body)
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
