"""Typed usages of the public API: mypy reads them, and one test runs them.

A change that makes one of these types weaker fails ``make check``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any, assert_never, assert_type

import pytest

import penstock
from penstock import (
    AnswerStream,
    ChatRequest,
    Conversation,
    Event,
    Finished,
    Message,
    ModelInfo,
    Reasoning,
    Reply,
    Started,
    Text,
    ToolCall,
    Usage,
    Waiting,
    sync,
)
from penstock.errors import Kind, PenstockError
from penstock.provider import Provider, ProviderConfig
from penstock.registry import Factory
from penstock.sandbox import Sandbox
from penstock.testing import ScriptedProvider
from penstock.transport import Session
from penstock.types import FinishReason, Notice

MODEL = "openai_compatible/sandbox-model"
Config = dict[str, dict[str, str]]


def said(event: Event) -> str:
    """The union of events is closed."""
    match event:
        case Text(text) | Reasoning(text):
            return assert_type(text, str)
        case ToolCall():
            return event.arguments
        case Waiting():
            return event.detail
        case Started():
            return event.id or ""
        case Finished():
            return ""
        case _:
            assert_never(event)


async def streamed(providers: Config) -> Reply:
    async with penstock.Client(providers=providers, timeout=5) as client:
        assert_type(client, penstock.Client)
        async with client.stream(MODEL, "hi", temperature=0.5, stop="x") as answer:
            assert_type(answer, AnswerStream)
            async for event in answer:
                assert_type(said(event), str)
            assert_type(answer.usage, Usage | None)
            assert_type(answer.finish_reason, FinishReason | None)
            assert_type(answer.conversation, Conversation | None)
            assert_type(answer.warnings, tuple[Notice, ...])
        async for piece in client.stream(MODEL, [{"role": "user", "content": "hi"}]).text():
            assert_type(piece, str)
        async for batch in client.stream(MODEL, [Message("user", "hi")]).batches():
            assert_type(batch, Sequence[Event])
        assert_type(await client.models("openai_compatible"), list[ModelInfo])
        request = ChatRequest(model=MODEL, messages=(Message("user", "hi"),))
        return assert_type(await client.complete(request, max_tokens=None), Reply)


def blocking(providers: Config) -> str:
    with sync.Client(providers=providers) as client:
        for event in client.stream(MODEL, "hi", seed=1):
            assert_type(said(event), str)
        assert_type(client.stream(MODEL, "hi").text(), Iterator[str])
        return assert_type(client.complete(MODEL, "hi").text, str)


async def refused(client: penstock.Client, twin: sync.Client) -> None:
    """What the types refuse; mypy reports an ignore that is not needed."""
    await client.complete(MODEL, "hi", temprature=1)  # type: ignore[call-arg]  # the point
    twin.complete(MODEL, "hi", temperature="hot")  # type: ignore[arg-type]  # the point
    sync.Client(provider={})  # type: ignore[call-arg]  # the point


def told(error: PenstockError) -> tuple[Kind, str, float | None, bool]:
    return assert_type(
        (error.kind, error.partial, error.retry_after, error.retryable),
        tuple[Kind, str, float | None, bool],
    )


def plug_in(session: Session, config: ProviderConfig) -> Provider:
    """A factory as an entry point names it."""
    return ScriptedProvider(["hi"], name=config.name)


FACTORY: Factory = plug_in


async def test_the_usages_run() -> None:
    async with Sandbox(["openai"]) as sandbox:
        assert (await streamed(sandbox.providers)).text == "hi"
        assert await asyncio.to_thread(blocking, sandbox.providers) == "hi"
        client: Any = penstock.Client(providers=sandbox.providers)
        with pytest.raises(TypeError):
            client.stream(MODEL, "hi", temprature=1)
        await client.aclose()
    assert "penstock-portal" not in {thread.name for thread in threading.enumerate()}
    assert told(PenstockError("x")) == ("server", "", None, False)
    async with Session() as session:
        assert FACTORY(session, ProviderConfig(name="mine")).name == "mine"
