"""A server on two origins that answers each request as a test says, and remembers what it saw."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

CASES = Path(__file__).parents[2] / "cassettes" / "replicate"
KEY = "r8_test_token_0000000000000000000000000"
API = "https://api.replicate.com"
STREAM = "https://stream.replicate.com"
SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}


@dataclass
class Seen:
    """A request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    stream_origin: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What is sent back. A gate among the parts holds the rest until it is set.

    Attributes:
        closed: ``clean``, ``reset``, or ``open`` to keep the connection until the client goes.
    """

    status: int = 200
    parts: Sequence[bytes | asyncio.Event] = ()
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    closed: str = "clean"
    before: asyncio.Event | None = None


def said(status: int, body: object) -> Answer:
    """A JSON answer."""
    return Answer(status, [json.dumps(body).encode()])


def events(*parts: bytes | asyncio.Event, closed: str = "open") -> Answer:
    """A stream."""
    return Answer(200, parts, dict(SSE), closed)


def output(text: str, number: int | None = None) -> bytes:
    """An ``output`` event as nchan writes it."""
    lines = "".join(f"data: {line}\n" for line in text.split("\n"))
    ident = "" if number is None else f"id: 1700000000:{number}\n"
    return f"event: output\n{ident}{lines}\n".encode()


DONE = b"event: done\ndata: {}\n\n"


def prediction(status: str = "starting", *, stream: bool = True, **more: object) -> dict[str, Any]:
    """A prediction object whose id is ``p1``."""
    urls = {
        "get": f"{API}/v1/predictions/p1",
        "cancel": f"{API}/v1/predictions/p1/cancel",
        **({"stream": f"{STREAM}/v1/streams/s1"} if stream else {}),
    }
    base = {"id": "p1", "model": "m/o", "status": status, "output": None, "error": None}
    return {**base, "urls": urls, **more}


class Upstream:
    """The running server.

    Attributes:
        seen: all requests, in order.
        streaming: streams that are open now.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.streaming = 0
        self.api = ""
        self.stream = ""
        self._routes: dict[tuple[str, str], list[Answer]] = {}

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answers to come, in order; the last one repeats."""
        self._routes.setdefault((method, path), []).extend(answers)

    def creates(self, answer: Answer, path: str | None = None) -> None:
        self.on("POST", path or "/v1/models/meta/meta-llama-3-70b-instruct/predictions", answer)

    def count(self, method: str, ending: str) -> int:
        return len(self.requests(method, ending))

    def requests(self, method: str, ending: str) -> list[Seen]:
        return [s for s in self.seen if s.method == method and s.path.endswith(ending)]

    @property
    def create(self) -> Seen:
        return self.requests("POST", "/predictions")[0]

    @property
    def cancels(self) -> int:
        return self.count("POST", "/cancel")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, for five seconds at most."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        own = f"http://{request.headers['host']}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.seen.append(
            Seen(
                request.method, request.path, request.query_string, headers, body,
                own == self.stream,
            )
        )  # fmt: skip
        listed = self._routes.get((request.method, request.path))
        if not listed:
            return web.json_response({"detail": "Not found."}, status=404)
        answer = listed.pop(0) if len(listed) > 1 else listed[0]
        if answer.before is not None:
            await answer.before.wait()
        return await self._send(request, answer)

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.enable_chunked_encoding()
        self.streaming += 1
        try:
            await response.prepare(request)
            for part in answer.parts:
                if isinstance(part, bytes):
                    await response.write(self._local(part))
                else:
                    await part.wait()
            await self._finish(request, response, answer)
        finally:
            self.streaming -= 1
        return response

    async def _finish(
        self, request: web.Request, response: web.StreamResponse, answer: Answer
    ) -> None:
        if answer.closed == "open":
            await asyncio.Event().wait()  # the handler is cancelled when the client goes
        if answer.closed == "reset":
            await asyncio.sleep(0.05)  # what was written must be read before the reset
            assert request.transport is not None
            raw = request.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()

    def _local(self, data: bytes) -> bytes:
        data = data.replace(API.encode(), self.api.encode())
        return data.replace(STREAM.encode(), self.stream.encode())


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """A server for one test."""
    server = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for _ in ("api", "stream"):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports = [address[1] for address in runner.addresses]
        server.api, server.stream = (f"http://127.0.0.1:{port}" for port in ports)
        yield server
    finally:
        await runner.cleanup()


def load(name: str) -> dict[str, Any]:
    """A recorded case."""
    loaded: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return loaded


def play(server: Upstream, case: dict[str, Any], cut: Callable[[bytes], list[bytes]]) -> None:
    """Let ``server`` answer as recorded in ``case``, the bodies cut by ``cut``."""
    for exchange in case["exchanges"]:
        request, response = exchange["request"], exchange["response"]
        body = b"".join(b64decode(chunk["b64"]) for chunk in response["chunks"])
        kept = {k: v for k, v in response["headers"] if k.lower() != "content-length"}
        closed = "open" if response.get("left_open") else response["closed"]
        # Placeholders of hosts must not be cut: only streams are.
        parts = cut(body) if kept["content-type"].startswith("text/event") else [body]
        server.on(
            request["method"], request["path"], Answer(response["status"], parts, kept, closed)
        )
