"""A server that answers every request by telling it back, credentials and all.

The worst of servers: what it was sent stands in its error bodies, headers and reason phrases.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import quote

from aiohttp import web

from tests.served import served

Form = Callable[[str], tuple[str, str]]
"""What was sent -> a body and its content type."""

_JSON = "application/json"


def _json(make: Callable[[str], object]) -> Form:
    return lambda said: (json.dumps(make(said)), _JSON)


FORMS: Mapping[str, Form] = {
    "detail": _json(lambda said: {"detail": f"bad credential: {said}"}),
    "message": _json(lambda said: {"message": said, "errorCode": 0}),
    "error": _json(lambda said: {"error": said, "error_type": "generation"}),
    "nested": _json(lambda said: {"error": {"message": said, "code": said, "type": said}}),
    "validation": _json(lambda said: {"detail": [{"loc": ["body", said], "msg": said}]}),
    "problem": _json(lambda said: {"title": said, "detail": said, "status": said}),
    "text of json": _json(lambda said: said),
    "broken json": lambda said: (f'{{"detail": "{said}', _JSON),
    "html": lambda said: (f"<html><title>{said}</title><h1>{said}</h1>", "text/html"),
    "page": lambda said: (f"<p>{said}</p>", "text/html"),
    "text": lambda said: (said, "text/plain"),
    "no type": lambda said: (said, ""),
}


class Echo:
    """What the server does, changed by the tests as they go.

    Attributes:
        url: its origin.
        status: of every answer.
        form: shapes the body.
        before: text in front of what was sent, so that cuts fall anywhere.
        asked: how many requests came.
        sent: what was told back, one text for each request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 500
        self.form: Form = FORMS["detail"]
        self.before = ""
        self.asked = 0
        self.sent: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        values = [value for name, value in request.headers.items() if name.lower() not in _PLAIN]
        said = self.before + " ".join(values)
        self.sent.append(said)
        body, content_type = self.form(said)
        headers = {"X-Request-Id": said[-200:], "Content-Type": content_type}
        if 300 <= self.status < 400:
            headers["Location"] = f"http://elsewhere.invalid/{quote(said)}"
        reason = "".join(c if c.isprintable() else " " for c in said)[:200]
        data = body.encode()
        return web.Response(status=self.status, reason=reason, body=data, headers=headers)


_PLAIN = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type"}
_PLAIN |= {"origin", "referer", "connection", "cache-control"}


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    """The running server."""
    server = Echo()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", server.answer)
    async with served(application) as server.url:
        yield server


@contextmanager
def echo_in_a_thread() -> Iterator[Echo]:
    """The running server in a loop of its own, for callers that block or run their own loops."""
    started: Future[tuple[Echo, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with echo() as running:
            started.set_result((running, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running, loop, stop = started.result(10)
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
