"""The provider for text-generation-inference by itself, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    ContextLengthError,
    ModelError,
    OverloadedError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.h2o.provider import create_tgi
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Message, Sampling, Usage
from tests.providers.stage import Answer, Held, said, stage, until


def provider(session: Session, url: str | None, **config: Any) -> Provider:
    return create_tgi(session, ProviderConfig(name="tgi", base_url=url, **config))


def asked(provider: Provider, text: str = "Hi", **sampling: Any) -> AnswerStream:
    made = ChatRequest(
        model="m",
        messages=(Message(role="user", content=text),),
        sampling=Sampling(**sampling),
    )
    return AnswerStream(lambda: provider.stream(made), provider="tgi", model="m")


@asynccontextmanager
async def sandboxed(
    script: Held | str = "echo", **options: object
) -> AsyncIterator[tuple[Sandbox, Session, Provider]]:
    async with Sandbox(["tgi"], script=script, options={"tgi": options}) as sandbox:
        async with Session() as session:
            yield sandbox, session, provider(session, sandbox.urls["tgi"])
            assert session.open_connections == 0
        runs: Any = sandbox.servers["tgi"]
        await until(lambda: runs.state()["runs"]["running"] == 0)


@pytest.mark.parametrize("version", ["0.8.2", "1.4.0", "2.1.0"])
async def test_every_release_streams(version: str) -> None:
    async with sandboxed(version=version) as (_, _, tgi):
        reply = await asked(tgi, "Hello there").reply()
        assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
        assert reply.usage == Usage(completion_tokens=3)


async def test_limits_and_stops_tell_the_finish() -> None:
    async with sandboxed("lorem") as (_, _, tgi):
        assert (await asked(tgi, max_tokens=3).reply()).finish_reason == "length"
        stopped = await asked(tgi, stop=(" dolor",)).reply()
        assert (stopped.text, stopped.finish_reason) == ("Lorem ipsum dolor", "stop")


async def test_failures_in_the_stream() -> None:
    async with sandboxed(max_concurrent=0) as (_, _, tgi):
        with pytest.raises(OverloadedError):
            await asked(tgi).reply()
    async with sandboxed(max_input_length=4) as (_, _, tgi):
        with pytest.raises(ContextLengthError):
            await asked(tgi, "far too many words for this one to take").reply()
    async with sandboxed(Held(" a", ModelFailure("CUDA"))) as (_, _, tgi):
        with pytest.raises(ModelError, match="CUDA") as caught:
            await asked(tgi).reply()
        assert caught.value.partial == " a"


async def test_leaving_closes_the_connection_which_stops_the_generation() -> None:
    async with sandboxed(Held(" a", asyncio.Event())) as (sandbox, session, tgi):
        async with asked(tgi) as answer:
            await answer.next_batch()
        assert session.open_connections == 0
        runs: Any = sandbox.servers["tgi"]
        await until(lambda: runs.state()["runs"]["cancelled"] == 1)
        work = asyncio.create_task(asked(tgi).reply())
        await until(lambda: runs.state()["runs"]["running"] == 1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await until(lambda: runs.state()["runs"]["cancelled"] == 2)


async def test_models_are_asked_for() -> None:
    async with sandboxed(model="m/served") as (_, session, tgi):
        assert [model.id for model in await tgi.models()] == ["m/served"]
        named = provider(session, "http://h", models=("m/x",))
        assert [model.id for model in await named.models()] == ["m/x"]


async def test_the_key_travels_and_is_not_told() -> None:
    async with stage() as server, Session() as session:
        server.on("POST", "/generate_stream", said(401, {"error": "bad key hf_secret_key"}))
        server.on("GET", "/info", Answer(401, [b"bad key hf_secret_key"]))
        tgi = provider(session, server.url, api_key="hf_secret_key")
        for call in (asked(tgi).reply, tgi.models):
            with pytest.raises(AuthError) as caught:
                await call()
            assert "hf_secret_key" not in str(caught.value)
        assert [seen.headers["authorization"] for seen in server.seen] == [
            "Bearer hf_secret_key",
            "Bearer hf_secret_key",
        ]


async def test_there_are_no_conversations() -> None:
    async with Session() as session:
        tgi = provider(session, "http://h")
        with pytest.raises(BadRequestError, match="no native conversations"):
            tgi.conversation("m")
        await tgi.delete(Conversation(id="x"))
        with pytest.raises(ConfigError, match="base_url"):
            provider(session, None)
