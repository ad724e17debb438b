"""What the tests of this folder stand on: a server of exact bytes or a sandbox, and a client of it.

Both contexts check both sides at their end: no connection of the client in use, no cleanup waiting
or failed, no socket left open in this process; there no connection, no stream, no run and no
conversation left.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import Client, ProviderConfig
from penstock.config import Settings
from penstock.errors import PenstockError
from penstock.providers.allenai import exchange
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.sandbox import Sandbox
from penstock.sandbox.byte_server import ByteServer, Handler, Request, Send, Step, Steps
from penstock.sandbox.server import Server, State
from penstock.types import Reply, Timeouts
from tests.places import MODELS

MODEL = "openai_compatible/m"
DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
PATIENT = Timeouts(connect=5.0, first_content=20.0, idle=20.0)
"""Limits that no test reaches."""

QUICK = Pace(silence=1.0, look_every=0.02, poll=0.005, poll_most=0.01, patience=4.0)
OPTIONS: dict[str, dict[str, object]] = {
    "allenai": {"dialect": "threads"},
    "openassistant": {"patience": 0.02, "tick": 0.01},
}

STREAMS = {
    "allenai": "/v4/threads/",
    "openassistant": "/events",
    "h2o": "/conversation/.",
    "tgi": "/generate_stream",
    "chatui": "/conversation/.",
    "replicate": "stream",
    "cog": "/predictions",
    "openai": "/chat/completions",
}
"""Paths of the requests whose answer is the stream."""


def frame(text: str, finish: str | None = None) -> bytes:
    """An event of an OpenAI-compatible stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    chunk = json.dumps({"id": "c", "choices": [choice]}, ensure_ascii=False)
    return b"data: " + chunk.encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(body: bytes, *headers: str, head: bytes = STREAM) -> bytes:
    """An answer with its length."""
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
    return head + lines.encode("latin-1") + b"\r\n" + body


def sends(*writes: bytes | Step) -> list[Step]:
    """The steps of a server that reads a request, says this and closes."""
    return [Request(), *(Send(one) if isinstance(one, bytes) else one for one in writes)]


class Outcome(msgspec.Struct):
    """How a call ended.

    Attributes:
        pieces: texts that were handed out.
        reply: the whole answer; None where it failed.
        error: why it failed.
    """

    pieces: list[str]
    reply: Reply | None = None
    error: PenstockError | None = None

    @property
    def text(self) -> str:
        """All the text that was handed out."""
        return "".join(self.pieces)

    @property
    def kind(self) -> str | None:
        """The word for its failure."""
        return self.error.kind if self.error else None

    @property
    def failure(self) -> PenstockError:
        """Its failure, which there must be."""
        assert self.error is not None, f"whole: {self.text[:80]!r}"
        return self.error


class Ground:
    """A client and a server.

    Attributes:
        client: the client.
        model: what to ask.
    """

    def __init__(self, client: Client, model: str = MODEL) -> None:
        self.client = client
        self.model = model

    async def ask(self, question: str = "hi", **call: Any) -> Outcome:
        """Ask, and read to the end, whatever it is."""
        outcome = Outcome([])
        try:
            async with self.client.stream(self.model, question, **call) as answer:
                async for piece in answer.text():
                    outcome.pieces.append(piece)
                outcome.reply = await answer.reply()
        except PenstockError as error:
            outcome.error = error
        if outcome.error is not None:  # it tells all the text that came, and no other
            assert outcome.error.partial == outcome.text
        return outcome


class Bytes(Ground):
    """A client and a server of exact bytes.

    Attributes:
        server: the server.
    """

    def __init__(self, client: Client, server: ByteServer) -> None:
        super().__init__(client)
        self.server = server


@asynccontextmanager
async def saying(
    script: Steps | Sequence[Steps] | Handler,
    *,
    timeout: Timeouts = PATIENT,
    tls: ssl.SSLContext | None = None,
    **client: Any,
) -> AsyncIterator[Bytes]:
    """A server of exact bytes that is asked as an OpenAI-compatible one."""
    before = sockets()
    async with ByteServer(script, tls=tls) as server:
        async with asking(f"{server.url}/v1", timeout=timeout, **client) as made:
            yield Bytes(made.client, server)
        await server.quiet()
    await until(lambda: sockets() <= before, "sockets are left open")


@asynccontextmanager
async def asking(
    base_url: str, *, timeout: Timeouts = PATIENT, **client: Any
) -> AsyncIterator[Ground]:
    """A client of the server at this address, which must have freed everything at the end."""
    settings = client.pop("config", Settings())
    config = {"base_url": base_url, "api_key": "sk-c4nary-secret"}
    async with Client(
        config=settings, providers={"openai_compatible": config}, timeout=timeout, **client
    ) as made:
        yield Ground(made)
        assert made.session.open_connections == 0
        assert made.session.outbox.pending == made.session.outbox.failed == []


class Site(Ground):
    """A client and the sandbox of one back end.

    Attributes:
        server: that back end.
        undone: True where a cleanup must have failed, and been told; None where the server says
            that there was nothing to clean up.
    """

    def __init__(self, client: Client, model: str, server: Server) -> None:
        super().__init__(client, model)
        self.server = server
        self.undone: bool | None = False

    @property
    def state(self) -> State:
        """What is there."""
        return msgspec.convert(self.server.state(), State)

    @property
    def calls(self) -> list[str]:
        """Method and path of the requests there."""
        return [f"{one.method} {one.path}" for one in self.state.log]

    async def clean(self) -> None:
        """Wait until nothing is open here and nothing is left there."""
        session = self.client.session
        await until(
            lambda: not (session.open_connections or session.outbox.pending),
            "connections or cleanups are left here",
        )
        if self.undone:
            assert session.outbox.failed
            return
        assert session.outbox.failed == []
        if self.undone is None:
            return
        await until(self._empty, f"left there: {self.server.state()}")

    def _empty(self) -> bool:
        now = self.state
        return not (now.conversations.left or now.runs.running or now.open_streams)


@asynccontextmanager
async def site(
    name: str,
    *,
    pace: float = 0.0,
    options: Mapping[str, object] | None = None,
    timeout: Timeouts = PATIENT,
    **sandboxed: Any,
) -> AsyncIterator[Site]:
    """A client of the sandbox of the back end ``name``."""
    with pytest.MonkeyPatch.context() as patch:
        # It looks for threads that the server stores late; this server does so at once.
        patch.setattr(exchange, "_SWEEPS", (0.0, 0.01, 0.05))
        before = sockets()
        async with _running(name, pace, options or {}, timeout, sandboxed) as here:
            yield here
        await until(lambda: sockets() <= before, "sockets are left open")


@asynccontextmanager
async def _running(
    name: str,
    pace: float,
    options: Mapping[str, object],
    timeout: Timeouts,
    sandboxed: Mapping[str, Any],
) -> AsyncIterator[Site]:
    given = {name: {**OPTIONS.get(name, {}), **options}}
    async with Sandbox([name], pace=pace, options=given, **sandboxed) as sandbox:
        async with Client(
            config=Settings(), providers=sandbox.providers, timeout=timeout
        ) as client:
            if name == "openassistant":  # its waits are long enough for real workers
                config = msgspec.convert(
                    {"name": name, "timeouts": timeout, **sandbox.providers[name]}, ProviderConfig
                )
                client._providers[name] = OpenAssistantProvider(client.session, config, pace=QUICK)
            here = Site(client, MODELS[name], sandbox.servers[name])
            yield here
            await here.clean()
        await until(lambda: here.state.open_connections == 0, "connections are left there")


async def until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for ``condition``, for five seconds at most."""
    try:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        pytest.fail(otherwise)


def sockets() -> int:
    """Sockets that this process has open; 0 where the system does not tell."""
    count = 0
    try:
        for entry in Path("/proc/self/fd").iterdir():
            try:
                count += str(entry.readlink()).startswith("socket:")
            except OSError:
                continue  # the one that lists this directory
    except OSError:
        return 0
    return count
