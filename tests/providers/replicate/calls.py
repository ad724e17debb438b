"""Calls of the provider, as the tests make them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock.provider import Provider, ProviderConfig
from penstock.providers.replicate.provider import create, create_cog
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Message
from tests.providers.replicate.upstream import KEY, Upstream

MODEL = "meta/meta-llama-3-70b-instruct"
GET = "/v1/predictions/p1"
STREAM = "/v1/streams/s1"


def ask(text: str = "x", **more: Any) -> ChatRequest:
    return ChatRequest(model=MODEL, messages=(Message("user", text),), **more)


def provider(session: Session, server: Upstream, **more: Any) -> Provider:
    options = {"poll_interval": 0.01, **more.pop("options", {})}
    config: dict[str, Any] = {"api_key": KEY, "base_url": server.api, **more}
    return create(session, ProviderConfig(name="replicate", options=options, **config))


def stream(some: Provider, request: ChatRequest) -> AnswerStream:
    return AnswerStream(lambda: some.stream(request), provider=some.name, model=request.model)


async def pieces(answer: AnswerStream) -> list[str]:
    return [piece async for piece in answer.text()]


async def cancelled(server: Upstream, task: asyncio.Task[Any], when: Callable[[], bool]) -> float:
    """Cancel ``task`` once ``when`` holds; seconds until it has ended."""
    await server.until(when)
    start = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return asyncio.get_running_loop().time() - start


def cog(session: Session, server: Upstream) -> Provider:
    config = ProviderConfig(
        name="cog", base_url=server.api, headers={"accept": "text/plain", "x-own": "1"}
    )
    return create_cog(session, config)
