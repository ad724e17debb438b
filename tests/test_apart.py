"""What must not mix: two owners, two providers' conversations, one provider's failure and the rest.

threats.md rows 1, 9 and 15.
"""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from penstock import Client
from penstock.errors import BadRequestError, PenstockError
from penstock.sandbox import Sandbox
from tests.places import MODELS
from tests.providers.stage import Answer, Stage, stage

NAME = "openai_compatible"
THREADS = ("allenai", "openassistant", "h2o", "chatui")


def completion(text: str) -> Answer:
    chunk = {"id": "c", "choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
    return Answer(200, [body], {"content-type": "text/event-stream"})


def tenant(server: Stage, name: str) -> Client:
    config = {"base_url": f"{server.url}/v1", "api_key": f"key-{name}"}
    return Client(providers={"openai_compatible": config})


async def test_two_tenants_send_their_own_credentials_only() -> None:
    async with stage() as server:
        server.on("POST", "/v1/chat/completions", completion("ok"))
        async with tenant(server, "ann") as ann, tenant(server, "bob") as bob:

            async def ask(client: Client, name: str) -> None:
                async with client.stream("openai_compatible/m", f"I am {name}") as answer:
                    async for _ in answer:
                        await asyncio.sleep(0)

            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(ask(ann, "ann"))
                    group.create_task(ask(bob, "bob"))
            shown = (
                f"{ann!r} {ann.session!r} {ann.provider('openai_compatible')!r} {ann.settings!r}"
            )
            stream = ann.stream("openai_compatible/m", "hi")
            assert "key-ann" not in f"{shown} {stream!r} {stream.__dict__}"
    assert len(server.seen) == 40
    for seen in server.seen:
        name = seen.json["messages"][0]["content"].removeprefix("I am ")
        assert seen.headers["authorization"] == f"Bearer key-{name}"
        assert "cookie" not in seen.headers


async def test_a_conversation_never_travels_to_another_provider() -> None:
    async with Sandbox(list(MODELS)) as sandbox, Client(providers=sandbox.providers) as client:
        for own in THREADS:
            conversation = client.conversation(MODELS[own])
            await client.complete(MODELS[own], "hi", conversation=conversation)
            asked = {name: sandbox.state(name)["requests"] for name in THREADS}
            for other in MODELS:
                if other != own:
                    with pytest.raises(BadRequestError):
                        client.stream(MODELS[other], "hi", conversation=conversation)
                    with pytest.raises(BadRequestError):
                        await client.delete(MODELS[other], conversation)
            assert {name: sandbox.state(name)["requests"] for name in THREADS} == asked
            await client.delete(MODELS[own], conversation)


async def test_conversations_are_cleaned_up_with_the_client() -> None:
    """With ``cleanup=True``; else a conversation stays until its owner deletes it."""
    async with Sandbox(list(THREADS)) as sandbox:
        client = Client(providers=sandbox.providers, cleanup=True)
        for name in THREADS:
            conversation = client.conversation(MODELS[name])
            for question in ("one", "two"):
                await client.complete(MODELS[name], question, conversation=conversation)
        assert await client.aclose() == []
        for name in THREADS:
            state = sandbox.state(name)["conversations"]
            assert isinstance(state, dict)
            assert len(state["created"]) == 1
            assert state["left"] == []


async def test_what_could_not_be_undone_is_reported() -> None:
    async with Sandbox(["h2o"]) as sandbox:
        client = Client(providers=sandbox.providers, cleanup=True)
        conversation = client.conversation("h2o/falcon-40b")
        await client.complete("h2o/falcon-40b", "hi", conversation=conversation)
    left = await client.aclose()
    assert [label.partition(" ")[0] for label in left] == ["h2o:"]
    assert str(conversation.id) in left[0]


async def test_a_provider_that_is_down_does_not_hide_the_models_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Sandbox(["openai"]) as sandbox:
        providers = {**sandbox.providers, "vllm": {"base_url": "http://127.0.0.1:9/v1"}}
        async with Client(providers=providers) as client:
            with caplog.at_level(logging.WARNING):
                listed = await client.models()
            assert any(info.id == "openai_compatible/sandbox-model" for info in listed)
            assert "vllm" in caplog.text
            with pytest.raises(PenstockError):
                await client.models("vllm")
