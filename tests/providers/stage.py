"""A server that answers each request as a test says and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said
from penstock.transport import Session
from tests.served import served


@dataclass
class Seen:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What is sent back.

    Attributes:
        parts: of the body, one write each; an event among them holds the rest until it is set.
        before: held until set, before the status is sent.
        closed: ``clean``, or ``reset`` for a connection that breaks after the parts.
    """

    status: int = 200
    parts: Sequence[bytes | asyncio.Event] = ()
    headers: dict[str, str] = field(default_factory=dict)
    before: asyncio.Event | None = None
    closed: str = "clean"


def said(status: int, body: object, **headers: str) -> Answer:
    """A JSON answer."""
    return Answer(
        status, [json.dumps(body).encode()], {"content-type": "application/json", **headers}
    )


class Stage:
    """The running server.

    Attributes:
        url: its origin.
        seen: all requests, in order.
        streaming: answers that are being sent now.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.streaming = 0
        self._routes: list[tuple[str, re.Pattern[str], list[Answer]]] = []

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answers to ``method`` on paths of that pattern, in order; the last one repeats.

        A route that is set later goes first.
        """
        self._routes.insert(0, (method, re.compile(path), list(answers)))

    @property
    def calls(self) -> list[str]:
        """Method and path of each request."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    def requests(self, method: str, path: str) -> list[Seen]:
        """The requests to paths of that pattern."""
        return [
            seen for seen in self.seen if seen.method == method and re.fullmatch(path, seen.path)
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, for five seconds at most."""
        await until(condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.path, headers, await request.read())
        self.seen.append(seen)
        for method, path, answers in self._routes:
            if method == request.method and path.fullmatch(request.path):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                return await self._send(request, answer)
        return web.json_response({"message": "no such route"}, status=404)

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.before is not None:
            await answer.before.wait()
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await response.prepare(request)
        self.streaming += 1
        try:
            for part in answer.parts:
                if isinstance(part, asyncio.Event):
                    await part.wait()
                else:
                    await response.write(part)
            if answer.closed == "reset":
                _reset(request)
            else:
                await response.write_eof()
        finally:
            self.streaming -= 1
        return response


async def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def calls(sandbox: Sandbox, name: str) -> list[str]:
    """Method, path and status of each request that a sandbox server got."""
    log: Any = sandbox.state(name)["log"]
    return [f"{entry['method']} {entry['path']} {entry['status']}" for entry in log]


def left(sandbox: Sandbox, name: str) -> list[str]:
    """The remote conversations that exist."""
    conversations: Any = sandbox.state(name)["conversations"]
    found: list[str] = conversations["left"]
    return found


def running(sandbox: Sandbox, name: str) -> int:
    """The generations that go on."""
    runs: Any = sandbox.state(name)["runs"]
    count: int = runs["running"]
    return count


@asynccontextmanager
async def leaving_nothing(sandbox: Sandbox, name: str) -> AsyncIterator[Session]:
    """A session, and at its end the proof that nothing is open here or left there."""
    async with Session() as session:
        yield session
        assert await session.outbox.drain() == []
        assert session.outbox.failed == []
        assert session.open_connections == 0
    assert left(sandbox, name) == []
    await until(lambda: running(sandbox, name) == 0)


async def cancelled(work: asyncio.Task[Any]) -> None:
    """Cancel ``work``; it ends at once, by the cancellation and nothing else."""
    work.cancel()
    async with asyncio.timeout(0.5):
        with pytest.raises(asyncio.CancelledError):
            await work


def _reset(request: web.Request) -> None:
    transport = request.transport
    assert transport is not None
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A running server without routes."""
    server = Stage()
    application = web.Application(client_max_size=4 << 20)
    application.router.add_route("*", "/{tail:.*}", server.handle)
    async with served(application, cancelling=True) as server.url:
        yield server


class Held:
    """A sandbox script that says its pieces, waits at each event and fails at a failure.

    Attributes:
        prompts: what the model was asked, in order.
        said: how many pieces were said.
    """

    def __init__(self, *parts: str | asyncio.Event | ModelFailure) -> None:
        self.prompts: list[Prompt] = []
        self.said = 0
        self.parts = parts

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.prompts.append(prompt)
        for part in self.parts:
            if isinstance(part, asyncio.Event):
                await part.wait()
            elif isinstance(part, ModelFailure):
                raise part
            else:
                self.said += 1
                yield part
