"""The little of HTTP that every endpoint needs: a bounded body in, one answer out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from penstock.gateway.errors import Failure, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")


class Refused(Exception):
    """The request is answered with ``failure``; nothing was sent upstream."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ClientGone(Exception):
    """The caller closed the connection, or does not read."""


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
