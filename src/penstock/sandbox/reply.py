"""What a route gives: a whole answer, with the headers it names and no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
# aiohttp puts this type on an answer that was given none; no server here sends it.
_UNSET_TYPE = "application/octet-stream"


def reply(
    status: int,
    body: bytes | str = b"",
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Give a whole answer, with exactly this content type, or with none."""
    data = body.encode("utf-8") if isinstance(body, str) else body
    sent = dict(headers or {})
    if content_type is not None:
        sent["Content-Type"] = content_type
    return web.Response(status=status, body=data, headers=sent)


def unadorned(response: web.StreamResponse) -> None:
    """Take away the headers that aiohttp adds of itself."""
    response.headers.pop("Server", None)
    if response.headers.get("Content-Type") == _UNSET_TYPE:
        del response.headers["Content-Type"]
