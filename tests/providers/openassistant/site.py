"""A site of one chat that does what a test tells it: refusals, states of the answer, the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.sockets import Peer, ScriptedServer, scripted

CHAT, QUESTION, ANSWER = "c-1", "q-1", "a-1"
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"  # as the website says on every answer

Stream = Callable[[Peer], Awaitable[None]]


def frame(kind: str, **fields: Any) -> bytes:
    return b"data: " + json.dumps({"event_type": kind, **fields}).encode() + b"\r\n\r\n"


def token(text: str) -> bytes:
    return frame("token", text=text)


def final(content: str) -> bytes:
    return frame("message", message={"id": ANSWER, "state": "complete", "content": content})


def pending(position: int = 1) -> bytes:
    return frame("pending", queue_position=position, queue_size=1)


def sends(*frames: bytes, then: str = "end") -> Stream:
    """A stream of these frames and its end: ``end``, ``reset`` or ``hang``."""

    async def play(peer: Peer) -> None:
        await peer.head(200, CLOSE)
        for data in frames:
            await peer.chunk(data)
        if then == "end":
            await peer.end()
        elif then == "reset":
            await asyncio.sleep(0.02)  # what was sent is read first
            peer.reset()
        else:
            await peer.gone()

    return play


def waits(*then: bytes, release: asyncio.Event | None = None) -> Stream:
    """A stream that is pending until ``release``, then goes on."""

    async def play(peer: Peer) -> None:
        await peer.head(200, CLOSE)
        while release is None or not release.is_set():
            await peer.chunk(pending(0))
            await asyncio.sleep(0.01)
        for data in then:
            await peer.chunk(data)
        await peer.end()

    return play


class Site:
    """The site.

    Attributes:
        log: method and route of each request, in order.
        bodies: JSON bodies by route, the last one.
        heads: the requests' heads.
        stream: what the event stream does.
        states: (state, content) of the answer, one for each look; the last one stays.
        refusals: "METHOD /route" -> (status, body), instead of the good answer.
        held: "METHOD /route" -> waits before its answer.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.heads: list[str] = []
        self.stream: Stream = sends(token("Hi"), final("Hi"))
        self.states: list[tuple[str, str | None]] = [("complete", "Hi")]
        self.refusals: dict[str, tuple[int, bytes]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.server: ScriptedServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def count(self, route: str) -> int:
        return self.log.count(route)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, for two seconds at most."""
        async with asyncio.timeout(2):
            while not condition():
                await asyncio.sleep(0.002)

    async def serve(self, peer: Peer) -> None:
        head = await peer.request()
        method, target, _ = head.split(" ", 2)
        route = f"{method} {_route(target.partition('?')[0])}"
        self.log.append(route)
        self.heads.append(head)
        if body := peer.requests[-1][1]:
            self.bodies[route] = json.loads(body)
        if route in self.held:
            await self.held[route].wait()
        if route in self.refusals:
            status, said = self.refusals[route]
            await peer.answer(said, status, CLOSE, *([JSON] if said[:1] == b"{" else []))
        elif route.endswith(" events"):
            await self.stream(peer)
        else:
            await peer.answer(self._answer(route), 200, CLOSE, JSON)

    def _answer(self, route: str) -> bytes:
        state, content = self.states[0]
        if route == "GET message" and len(self.states) > 1:
            self.states.pop(0)
        answer = {"id": ANSWER, "parent_id": QUESTION, "role": "assistant", "state": state}
        made: Any = {
            "POST chat": {"id": CHAT},
            "GET chat": {"id": CHAT, "messages": [{**answer, "content": content}]},
            "POST question": {"id": QUESTION, "role": "prompter", "state": "manual"},
            "POST answer": {**answer, "state": "pending"},
            "GET message": {**answer, "content": content},
            "GET models": [{"name": "m"}],
        }.get(route)
        return b"" if made is None else json.dumps(made).encode()


def _route(path: str) -> str:
    """One name for the routes of both dialects."""
    last = path.rsplit("/", 1)[1]
    named = {
        "prompter_message": "question",
        "assistant_message": "answer",
        "events": "events",
        "models": "models",
        "model_configs": "models",
        "trusted": "trusted",
        "message": "message",
    }
    if "/messages/" in path and last not in named:
        return "message"
    return named.get(last, "chat")


@asynccontextmanager
async def running() -> AsyncIterator[Site]:
    site = Site()
    async with scripted(site.serve) as server:
        site.server = server
        yield site
