"""The little of HTTP that every endpoint needs: a bounded body in, one answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from penstock.gateway.errors import Failure, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]


class Line(Protocol):
    """How a piece of a body that is under way is written without waiting."""

    @property
    def ready(self) -> bool:
        """The caller reads as fast as we write."""

    def write(self, data: bytes) -> bool:
        """Write ``data``, which is not empty; for a caller who is gone it is dropped.

        Returns:
            Whether the line is ready for more.
        """


REFUSED_BELOW = "penstock.refused_below"
"""Where the server notes the status with which it refused a request that had begun."""

LINE = "penstock.line"
"""Where the server has the ``Line`` of the caller, if it has such a thing."""

JSON: Header = (b"content-type", b"application/json")

CLOSED = "the handler is closed"
"""What uvloop says of a write where the caller left a moment before."""

LINGER = 2.0
"""Seconds for which the rest of a body is still read after its refusal."""


class Refused(Exception):
    """The request is answered with ``failure``; nothing was sent upstream.

    Args:
        headers: further headers of the answer.
    """

    def __init__(self, failure: Failure, headers: Sequence[Header] = ()) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.headers = headers


class ClientGone(Exception):
    """The caller closed the connection, or does not read."""


def is_gone(error: BaseException) -> bool:
    """True for what it comes to where a caller has left, also a moment before a write."""
    return isinstance(error, ClientGone | OSError) or CLOSED in str(error)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body of a request. How long it may take is the server's business.

    Raises:
        Refused: it is longer than ``limit`` bytes.
        ClientGone: the caller left.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise Refused(refusal(413, f"the body is larger than {limit} bytes", code="too_large"))
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, status: int, body: bytes, headers: Iterable[Header]) -> None:
    """Send one whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_and_close(
    send: Send, receive: Receive, status: int, body: bytes, headers: Iterable[Header]
) -> None:
    """Send one whole answer to a request whose body is not wanted, and close the connection.

    What the caller is still sending is read and thrown away for a moment: closing at once would
    reset the connection, and the caller could lose the answer.
    """
    length = (b"content-length", str(len(body)).encode())
    every = [*headers, (b"connection", b"close"), length]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})
