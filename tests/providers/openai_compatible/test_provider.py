"""OpenAI-compatible servers over real sockets: what is sent, what comes back, nothing left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from penstock.errors import (
    BadRequestError,
    ConfigError,
    MissingAuthError,
    PenstockError,
    ProtocolError,
    TruncatedError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.openai_compatible.provider import create
from penstock.providers.openai_compatible.vendors import VENDORS
from penstock.registry import Registry
from penstock.sandbox import Sandbox
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Event,
    Finished,
    ImagePart,
    Message,
    Sampling,
    Started,
    Text,
    TextPart,
    Timeouts,
    Tool,
    ToolCallPart,
    Usage,
)
from tests.sockets import Peer, scripted

NAME = "openai_compatible"
CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session() as session:
        yield session
        assert session.open_connections == 0


def provider(session: Session, url: str, name: str = NAME, **fields: Any) -> Provider:
    limits = Timeouts(first_content=2.0, idle=2.0)
    return create(session, ProviderConfig(name=name, base_url=url, timeouts=limits, **fields))


def question(text: str = "hello there", **fields: Any) -> ChatRequest:
    return ChatRequest(**{"model": "sandbox-model", "messages": (Message("user", text),), **fields})


async def events_of(asked: Provider, request: ChatRequest) -> Sequence[Event]:
    stream = AnswerStream(lambda: asked.stream(request), provider=asked.name, model=request.model)
    async with stream:
        return [event async for event in stream]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_streamed_and_whole(session: Session, stream: bool) -> None:
    async with Sandbox(["openai"]) as sandbox:
        asked = provider(session, sandbox.urls["openai"])
        events = await events_of(asked, question(stream=stream))
        runs = sandbox.state("openai")["runs"]
    assert isinstance(events[0], Started)
    texts = [event.text for event in events if isinstance(event, Text)]
    assert "".join(texts) == "hello there"
    assert (len(texts) > 1) is stream
    assert events[-1] == Finished("stop", Usage(2, 2, 4))
    assert runs == {"started": 1, "finished": 1, "cancelled": 0, "running": 0}


async def test_models_are_the_servers_or_the_configured_ones(session: Session) -> None:
    async with Sandbox(["openai"]) as sandbox:
        listed = await provider(session, sandbox.urls["openai"]).models()
        assert [info.id for info in listed] == ["sandbox-model", "sandbox-small"]
    listed = await provider(session, "http://127.0.0.1:9", models=("a", "b")).models()
    assert [info.id for info in listed] == ["a", "b"]


@pytest.mark.parametrize(
    ("request_", "kind", "param"),
    [
        (question(model="nope"), "unknown_model", "model"),
        (question(sampling=Sampling(temperature=9.0)), "bad_request", "temperature"),
        (question("word " * 30), "context_length", "messages"),
    ],
)
async def test_refusals_keep_the_servers_words(
    session: Session, request_: ChatRequest, kind: str, param: str | None
) -> None:
    async with Sandbox(["openai"], options={"openai": {"context": 10}}) as sandbox:
        with pytest.raises(PenstockError) as caught:
            await events_of(provider(session, sandbox.urls["openai"]), request_)
    assert (caught.value.kind, caught.value.param) == (kind, param)
    assert caught.value.detail


async def test_a_wrong_key_is_not_shown(session: Session) -> None:
    async with Sandbox(["openai"], options={"openai": {"api_key": "right"}}) as sandbox:
        asked = provider(session, sandbox.urls["openai"], api_key="canary-key")
        with pytest.raises(PenstockError) as caught:
            await events_of(asked, question())
        assert caught.value.kind == "auth"
        assert "canary" not in f"{caught.value} {caught.value!r} {asked!r}"
        good = provider(session, sandbox.urls["openai"], api_key=" right\n")
        assert await events_of(good, question())


async def capture(body: bytes, *, content_type: str = "text/event-stream") -> Any:
    """A handler that answers with ``body`` and keeps the request."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, 200, f"Content-Type: {content_type}")

    return handler


async def test_everything_travels_under_the_vendors_names(session: Session) -> None:
    messages = (
        Message("system", "s"),
        Message("user", (TextPart("look"), ImagePart(b"x", "image/png")), name="ann"),
        Message("assistant", "", tool_calls=(ToolCallPart("t", "f", "{}"),)),
        Message("tool", "42", tool_call_id="t"),
    )
    request = question(
        messages=messages,
        sampling=Sampling(temperature=0.5, max_tokens=7, stop=("a", "b")),
        tools=(Tool("f", "does", {"type": "object"}), Tool("g")),
        extra={"logit_bias": {"1": 2}},
    )
    handler = await capture(CHUNK % (b"a", b'"stop"') + b"data: [DONE]\n\n")
    async with scripted(handler) as server:
        await events_of(provider(session, f"{server.url}/v1", "openai", api_key="k"), request)
        head, body = server.peers[0].requests[0]
    sent = json.loads(body)
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: bearer k" in head.lower()
    assert sent == {
        "model": "sandbox-model",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
                ],
                "name": "ann",
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "t",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "content": "42", "tool_call_id": "t"},
        ],
        "stream": True,
        "temperature": 0.5,
        "max_completion_tokens": 7,
        "stop": ["a", "b"],
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "parameters": {"type": "object"},
                    "description": "does",
                },
            },
            {"type": "function", "function": {"name": "g", "parameters": {}}},
        ],
        "logit_bias": {"1": 2},
    }


async def test_a_server_without_stream_usage_is_not_asked_for_it(session: Session) -> None:
    handler = await capture(b"data: [DONE]\n\n")
    async with scripted(handler) as server:
        await events_of(provider(session, f"{server.url}/v1", "mistral", api_key="k"), question())
        assert "stream_options" not in json.loads(server.peers[0].requests[0][1])


async def test_a_server_that_ignores_stream_is_understood(session: Session) -> None:
    body = b'{"id":"c","choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}'
    handler = await capture(body, content_type="application/json")
    async with scripted(handler) as server:
        events = await events_of(provider(session, server.url), question())
        assert server.heads[0].startswith("POST /v1/chat/completions "), "a bare origin gets /v1"
    assert events[1:] == [Text("whole"), Finished("stop")]


async def test_a_body_that_breaks_on_the_way_is_no_fault_of_the_address(session: Session) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        json_type = "Content-Type: application/json"
        await peer.answer(b"this is not gzip", 200, json_type, "Content-Encoding: gzip")

    async with scripted(handler) as server:
        with pytest.raises(ProtocolError) as caught:
            await events_of(provider(session, server.url), question(stream=False))
    assert "base_url" not in caught.value.message


async def test_a_web_page_is_no_answer(session: Session) -> None:
    """faults.md row 32."""
    handler = await capture(b"<html>please wait</html>", content_type="text/html; charset=utf-8")
    async with scripted(handler) as server:
        asked = provider(session, server.url)
        with pytest.raises(ProtocolError, match="web page"):
            await events_of(asked, question())
    async with scripted(handler) as server:
        with pytest.raises(ProtocolError, match="web page"):
            await provider(session, server.url).models()


async def test_models_that_are_none(session: Session) -> None:
    handler = await capture(b'{"data":7}', content_type="application/json")
    async with scripted(handler) as server:
        with pytest.raises(ProtocolError):
            await provider(session, server.url).models()
    handler = await capture(b'[{"id":"a"}]', content_type="application/json")
    async with scripted(handler) as server:
        assert [m.id for m in await provider(session, server.url).models()] == ["a"]


@pytest.mark.parametrize("reset", [True, False])
async def test_a_broken_stream_keeps_its_text_and_is_no_end(session: Session, reset: bool) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(CHUNK % (b"par", b"null"))
        await asyncio.sleep(0.02)
        if reset:
            peer.reset()

    async with scripted(handler) as server:
        with pytest.raises(TruncatedError) as caught:
            await events_of(provider(session, server.url), question())
    assert caught.value.partial == "par"


async def test_a_reset_after_the_finish_reason_breaks_nothing(session: Session) -> None:
    """faults.md row 43."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(CHUNK % (b"all", b'"stop"'))
        await asyncio.sleep(0.02)
        peer.reset()

    async with scripted(handler) as server:
        events = await events_of(provider(session, server.url), question())
    assert events[1:] == [Text("all"), Finished("stop")]


async def test_leaving_and_cancelling_stop_the_server(session: Session) -> None:
    async with Sandbox(["openai"], pace=0.05, script="multilingual") as sandbox:
        asked = provider(session, sandbox.urls["openai"])
        stream = AnswerStream(lambda: asked.stream(question()), provider=NAME, model="m")
        async with stream:
            async for event in stream:
                if isinstance(event, Text):
                    break
        assert session.open_connections == 0
        for phase in ("connecting", "first piece"):
            stream = AnswerStream(lambda: asked.stream(question()), provider=NAME, model="m")
            task = asyncio.ensure_future(stream.reply())
            while phase == "first piece" and not stream.partial:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert session.open_connections == 0
        async with asyncio.timeout(2):
            while sandbox.state("openai")["open_streams"] or sandbox.servers["openai"]._running:
                await asyncio.sleep(0.005)


async def test_two_callers_at_once_are_not_mixed_up(session: Session) -> None:
    async with Sandbox(["openai"], pace=0.002) as sandbox:
        asked = provider(session, sandbox.urls["openai"])
        texts = [f"question number {number} of many" for number in range(8)]
        answers = await asyncio.gather(*(events_of(asked, question(text)) for text in texts))
    for text, events in zip(texts, answers, strict=True):
        assert "".join(e.text for e in events if isinstance(e, Text)) == text


async def test_what_is_missing_is_said_before_anything_is_sent(session: Session) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        create(session, ProviderConfig(name=NAME))
    with pytest.raises(MissingAuthError, match="api_key is missing"):
        await events_of(create(session, ProviderConfig(name="openai")), question())
    asked = provider(session, "http://127.0.0.1:9")
    with pytest.raises(BadRequestError, match="name a model"):
        await events_of(asked, question(model=""))
    with pytest.raises(BadRequestError, match="conversation"):
        asked.conversation("m")
    with pytest.raises(BadRequestError, match="odd"):
        provider(session, "http://127.0.0.1:9", options={"odd": 1})
    await asked.delete(Conversation("m"))


def test_every_vendor_is_in_the_registry_and_the_other_way_round() -> None:
    entries = Registry().entries
    listed = {name for name, entry in entries.items() if "openai_compatible" in entry.factory}
    assert listed == {*VENDORS, NAME}
    for name, vendor in VENDORS.items():
        assert entries[name].key_env == vendor.key_env, name


async def test_a_404_in_the_shape_of_the_protocol_says_nothing_about_the_address(
    session: Session,
) -> None:
    told = b'{"error":{"message":"The deployment is gone","type":"x","param":null,"code":"y"}}'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(told, 404, "Content-Type: application/json")

    async with scripted(script) as server:
        with pytest.raises(PenstockError) as caught:
            await events_of(provider(session, server.url), question())
    assert caught.value.kind == "not_found"
    assert "The deployment is gone" in str(caught.value)
    assert "base_url" not in str(caught.value)
