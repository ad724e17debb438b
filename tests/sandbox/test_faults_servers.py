"""The common faults reach the answer of every server, told by what a client makes of it."""

from __future__ import annotations

import pytest

import penstock
from penstock.sandbox import Sandbox

MODELS = {
    "allenai": "allenai/tulu3-405b",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "h2o": "h2o/falcon-40b",
    "tgi": "tgi/h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1",
    "chatui": "chatui/h2oai/h2ogpt-4096-llama2-13b-chat",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "openai": "openai_compatible/sandbox-model",
}
OPTIONS: dict[str, dict[str, object]] = {
    "allenai": {"dialect": "message-stream"},
    "openassistant": {"tick": 0.05},
}
QUESTION = "one two three four five six"


async def failure(name: str, fault: str, method: str | None = None, path: str = "") -> str:
    """What kind of error a client tells, and that the sandbox is well again afterwards."""
    options = {name: OPTIONS[name]} if name in OPTIONS else {}
    async with Sandbox([name], options=options) as sandbox:
        async with penstock.Client(providers=sandbox.providers) as client:
            sandbox.servers[name].faults.next(fault, method=method, path=path)
            with pytest.raises(penstock.PenstockError) as caught:
                await client.complete(MODELS[name], QUESTION)
            sandbox.servers[name].faults.clear()
            reply = await client.complete(MODELS[name], QUESTION)
            assert reply.text == QUESTION
        return caught.value.kind


@pytest.mark.parametrize("name", MODELS)
async def test_a_request_is_refused_with_the_status_asked_for(name: str) -> None:
    assert await failure(name, "status=429; retry-after=3", method="POST") == "rate_limited"


# chat-ui runs a failed generation once more without a word (wire/h2o.md section 9).
@pytest.mark.parametrize("name", [name for name in MODELS if name != "chatui"])
async def test_a_model_fails_in_the_words_of_its_protocol(name: str) -> None:
    assert await failure(name, "model-fails=2") == ("server" if name == "openai" else "model")


# The request whose answer is the stream, and what its loss is to a client. Open-Assistant and
# Replicate have another way to the answer: they ask for it where the stream is lost.
STREAMS = {
    "allenai": "/message/stream",
    "h2o": "/conversation/.",
    "tgi": "/generate_stream",
    "chatui": "/conversation/.",
    "openai": "/chat/completions",
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("fault", ["break-bytes=30", "reset-bytes=30", "end-bytes=30"])
async def test_a_stream_is_cut_where_it_was_asked_for(name: str, fault: str) -> None:
    # There the whole answer is one JSON text; half of it at an orderly end is not JSON.
    half_json = name == "openai" and fault.startswith("end")
    expected = "protocol" if half_json else "truncated"
    assert await failure(name, fault, path=STREAMS[name]) == expected


@pytest.mark.parametrize("name", ["openassistant", "replicate"])
async def test_a_lost_stream_is_made_good_by_the_protocol(name: str) -> None:
    options = {name: OPTIONS[name]} if name in OPTIONS else {}
    path = "/events" if name == "openassistant" else "stream"
    async with (
        Sandbox([name], options=options) as sandbox,
        penstock.Client(providers=sandbox.providers) as client,
    ):
        sandbox.servers[name].faults.next("break-bytes=60", path=path)
        reply = await client.complete(MODELS[name], QUESTION)
    assert reply.text == QUESTION


@pytest.mark.parametrize("name", ["h2o", "chatui"])
@pytest.mark.parametrize("how", ["404", "500", "close", "reset"])
async def test_a_cleanup_that_fails_leaves_the_answer_alone(name: str, how: str) -> None:
    async with Sandbox([name]) as sandbox:
        async with penstock.Client(providers=sandbox.providers) as client:
            sandbox.servers[name].faults.next(f"cleanup={how}")
            assert (await client.complete(MODELS[name], QUESTION)).text == QUESTION
        log = sandbox.servers[name].state()["log"]
    assert isinstance(log, list)
    assert any(entry["method"] == "DELETE" for entry in log)


async def test_the_fault_of_a_model_name_waits_for_the_stream_and_strikes_once() -> None:
    async with Sandbox(["openai"]) as sandbox:
        faults = sandbox.servers["openai"].faults
        assert faults.choose("POST", "/conversation", model="stall-after=1; status=500") == {
            "status": 500
        }
        assert faults.choose("POST", "/conversation/1") == {}
        assert faults.take("body") == {"stall-after": 1}
        assert faults.take("body") == {}
