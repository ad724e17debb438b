"""Calls of the provider for tests: servers to ask, and what must hold after each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.provider import ProviderConfig
from penstock.providers.allenai.provider import AllenAIProvider, create
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Message,
    Reply,
)
from tests.sockets import Handler, Peer, ScriptedServer, scripted

OLD, NEW = "message-stream", "threads"
MODEL = {OLD: "tulu3-405b", NEW: "Olmo-3-7B-Instruct"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


class Slow:
    """Says one piece and then nothing more until it is cancelled."""

    async def pieces(self, prompt: Prompt) -> AsyncIterator[Said]:
        yield f"{prompt.question} "
        await asyncio.Event().wait()


class Failing:
    """Says one piece and fails."""

    async def pieces(self, prompt: Prompt) -> AsyncIterator[Said]:
        yield "half"
        raise ModelFailure("CUDA out of memory")


def question(text: str = "Hello there", *, model: str = MODEL[NEW], **fields: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=(Message("user", text),), **fields)


@asynccontextmanager
async def sandbox(
    dialect: str = NEW, script: Any = "echo", **options: Any
) -> AsyncIterator[Sandbox]:
    options = {"allenai": {"dialect": dialect, **options}}
    async with Sandbox(["allenai"], script=script, options=options) as running:
        yield running


@asynccontextmanager
async def provider(url: str, **config: Any) -> AsyncIterator[AllenAIProvider]:
    async with Session() as session:
        made = create(session, ProviderConfig(name="allenai", base_url=url, **config))
        assert isinstance(made, AllenAIProvider)
        yield made
        assert session.open_connections == 0


@asynccontextmanager
async def serving(reply: Handler) -> AsyncIterator[ScriptedServer]:
    """A server that answers each request by ``reply``, until one of the two leaves."""

    async def serve(peer: Peer) -> None:
        while True:
            await reply(peer)

    async with scripted(serve) as server:
        yield server


def session_of(made: AllenAIProvider) -> Session:
    return made._session


def answer(made: AllenAIProvider, request: ChatRequest) -> AnswerStream:
    return AnswerStream(lambda: made.stream(request), provider=made.name, model=request.model)


async def whole(made: AllenAIProvider, request: ChatRequest) -> Reply:
    return await answer(made, request).reply()


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"never came true: {what}")


def state(running: Sandbox) -> dict[str, Any]:
    return dict(running.state("allenai"))


def paths(running: Sandbox) -> list[str]:
    return [f"{entry['method']} {entry['path']}" for entry in state(running)["log"]]


async def nothing_left(running: Sandbox, made: AllenAIProvider) -> None:
    """No connection here, no stream, run or thread there."""
    session = session_of(made)
    await until(lambda: session.open_connections == 0, "no connection in use")
    await until(lambda: not session.outbox.pending, "all undone")
    await until(lambda: state(running)["open_streams"] == 0, "no stream open there")
    await until(lambda: state(running)["runs"]["running"] == 0, "no model running there")
    assert state(running)["conversations"]["left"] == []
    assert session.outbox.failed == []
