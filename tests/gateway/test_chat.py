"""Chat completions through the gateway, on real sockets over the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import aiohttp
import msgspec
import pytest

from penstock.config.gateway import GatewaySettings, Limits
from penstock.sandbox import Sandbox
from penstock.sandbox.server import State
from tests.gateway.running import Running, running_gateway

MODEL = "openai_compatible/sandbox-model"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai", "h2o", "chatui"], pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Running]:
    async with running_gateway(sandbox.providers) as running:
        yield running


def chunks(body: str) -> list[dict[str, Any]]:
    events = [part for part in body.split("\n\n") if part.startswith("data: {")]
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_a_stream_has_the_order_that_clients_need(gateway: Running) -> None:
    status, body, headers = await gateway.stream(MODEL, "One two")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    first, *middle, last = chunks(body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == "One two"
    assert [chunk["choices"][0]["finish_reason"] for chunk in (first, *middle)] == [None] * (
        1 + len(middle)
    )
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert all("usage" not in chunk for chunk in (first, *middle, last))
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks(body)}) == 1
    assert body.endswith("data: [DONE]\n\n")


async def test_usage_comes_in_a_chunk_of_its_own_if_asked_for(gateway: Running) -> None:
    _, body, _ = await gateway.stream(MODEL, stream_options={"include_usage": True})
    *others, last = chunks(body)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in others)


async def test_a_whole_answer(gateway: Running) -> None:
    status, body, headers = await gateway.chat(MODEL, "One two")
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == MODEL
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "One two",
        "refusal": None,
    }
    assert headers["x-penstock-target"] == MODEL
    assert headers["x-penstock-attempts"] == "1"
    assert headers["x-request-id"].startswith("req_")


async def test_several_choices_are_asked_for_one_by_one(gateway: Running, sandbox: Sandbox) -> None:
    _, body, _ = await gateway.chat(MODEL, "One two", n=3)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    status, text, _ = await gateway.stream(MODEL, "One two", n=2)
    assert status == 200
    said = {0: "", 1: ""}
    for chunk in chunks(text):
        choice = chunk["choices"][0]
        said[choice["index"]] += choice["delta"].get("content", "")
    assert said == {0: "One two", 1: "One two"}
    assert text.count("[DONE]") == 1


async def test_stop_texts_are_cut_here_where_the_back_end_knows_none(gateway: Running) -> None:
    _, body, _ = await gateway.chat("chatui/Qwen/Qwen3-8B", "One two three", stop=["tw"])
    assert body["choices"][0]["message"]["content"] == "One "
    assert body["choices"][0]["finish_reason"] == "stop"
    _, text, _ = await gateway.stream("chatui/Qwen/Qwen3-8B", "One two three", stop="o th")
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(text))
    assert said == "One tw"
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"model": "x"}', 400, "messages"),
        (b'{"model": 3, "messages": []}', 400, "model"),
        (b'{"model": "h2o/falcon-40b", "messages": []}', 400, "messages"),
        (b'{"model": "nobody/x", "messages": [{"role": "user", "content": "a"}]}', 404, None),
        (b"[" * 100_000, 400, None),
        (b" " * ((1 << 20) + 1), 413, None),
    ],
)
async def test_a_body_that_is_wrong_is_refused_with_the_name_of_the_field(
    gateway: Running, body: bytes, status: int, param: str | None
) -> None:
    async with gateway.http.post(
        f"{gateway.url}/v1/chat/completions", data=BytesIO(body)
    ) as answer:
        told = (await answer.json())["error"]
        assert (answer.status, told["param"]) == (status, param)
        assert set(told) == {"message", "type", "param", "code"}


async def test_a_parameter_nobody_can_honour_is_refused_or_left_out_if_allowed(
    gateway: Running,
) -> None:
    status, body, _ = await gateway.chat("chatui/Qwen/Qwen3-8B", seed=3)
    assert (status, body["error"]["param"]) == (400, "seed")
    lenient = {"X-Penstock-Lenient": "true"}
    status, body, headers = await gateway.chat("chatui/Qwen/Qwen3-8B", headers=lenient, seed=3)
    assert status == 200
    assert "seed" in headers["warnings"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_leaves_stops_the_upstream(
    sandbox: Sandbox, gateway: Running, stream: bool
) -> None:
    sandbox.servers["h2o"].faults.next("model-stalls")
    body = {
        "model": "h2o/falcon-40b",
        "messages": [{"role": "user", "content": "One two three"}],
        "stream": stream,
    }

    async def ask() -> None:
        url = f"{gateway.url}/v1/chat/completions"
        async with gateway.http.post(url, json=body) as answer:
            await answer.read()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(), 0.5)

    def left() -> list[str]:
        return msgspec.convert(sandbox.state("h2o"), State).conversations.left

    async with asyncio.timeout(1):
        while gateway.gateway.open_streams or left():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_has_not_begun_is_stopped_with_the_gateway(stream: bool) -> None:
    limits = Limits(drain=0.2)
    async with (
        Sandbox(["h2o"]) as sandbox,
        running_gateway(sandbox.providers, GatewaySettings(limits=limits)) as gateway,
    ):
        sandbox.servers["h2o"].faults.next("delay=4", method="POST", path="/conversation/.")
        asking = asyncio.create_task(gateway.chat("h2o/falcon-40b", stream=stream))
        async with asyncio.timeout(3):
            while not msgspec.convert(sandbox.state("h2o"), State).conversations.left:
                await asyncio.sleep(0.01)
            await gateway.gateway.drain()
            status, body, _ = await asking
        assert (status, body["error"]["code"]) == (503, "stopping")
        async with asyncio.timeout(3):
            while msgspec.convert(sandbox.state("h2o"), State).conversations.left:
                await asyncio.sleep(0.01)


async def test_what_is_not_there_is_said_in_the_same_shape(gateway: Running) -> None:
    async with gateway.http.get(f"{gateway.url}/nothing") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "unknown_path")
    async with gateway.http.get(f"{gateway.url}/v1/chat/completions") as answer:
        assert answer.status == 405
    async with gateway.http.get(f"{gateway.url}/v1/models/{MODEL}") as answer:
        assert (await answer.json())["id"] == MODEL


async def test_every_answer_tells_how_often_a_target_was_asked(gateway: Running) -> None:
    for asked in ({"model": "nobody/model"}, {"model": MODEL, "n": 0}):
        _, _, headers = await gateway.chat(**asked)
        assert headers["x-penstock-attempts"] == "0"
    async with gateway.http.get(f"{gateway.url}/health/live") as answer:
        assert answer.headers["x-penstock-attempts"] == "0"


async def test_the_connection_survives_a_refusal(gateway: Running) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        for _ in range(3):
            async with http.post(f"{gateway.url}/v1/chat/completions", data=b"{") as answer:
                assert answer.status == 400
