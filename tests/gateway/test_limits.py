"""What one caller may cost: requests and tokens a minute, answers at a time, bytes, seconds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penstock.config.gateway import GatewayKey, GatewaySettings, Limits
from penstock.gateway.auth import Caller
from penstock.gateway.costs import used
from penstock.gateway.exchange import Exchange
from penstock.gateway.http import Refused
from penstock.gateway.keys import hash_of
from penstock.gateway.server import HEADERS
from penstock.gateway.surfaces.surface import Asked
from penstock.sandbox import Sandbox
from penstock.types import ChatRequest, Message, Usage
from tests.gateway.raw import PATIENCE, question, quiet, raw, request
from tests.gateway.running import Running, running_gateway
from tests.sockets import Peer, ScriptedServer, scripted

MODEL = "openai_compatible/sandbox-model"
SHORT = Limits(header=0.3, upload=0.3, write=0.4, body=4096, connections=3, streams=2)


def key_with(
    rpm: int | None = None, tpm: int | None = None, concurrency: int | None = None
) -> GatewayKey:
    return GatewayKey(hash=hash_of("k"), rpm=rpm, tpm=tpm, concurrency=concurrency)


def caller(
    rpm: int | None = None, tpm: int | None = None, concurrency: int | None = None
) -> Caller:
    return Caller("k", key_with(rpm, tpm, concurrency))


def refused(caller: Caller, now: float, tokens: float = 0.0) -> tuple[float, str]:
    with pytest.raises(Refused) as caught:
        caller.take(now, tokens)
    failure = caught.value.failure
    assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
    assert failure.retry_after is not None
    return failure.retry_after, failure.message


# -- the limits of a key, with the clock as an argument ------------------------------------------


def test_requests_a_minute() -> None:
    key = caller(rpm=3)
    for second in (0.0, 10.0, 20.0):
        key.take(second, 0.0)
    after, message = refused(key, 21.0)
    assert after == pytest.approx(39)
    assert message == "this key may use 3 requests a minute; ask again in 39 s"
    key.take(60.0, 0.0)
    refused(key, 60.0)


def test_tokens_a_minute_are_corrected_by_what_was_used() -> None:
    key = caller(tpm=1000)
    key.take(0.0, 1000.0)
    after, message = refused(key, 0.0, 50.0)
    assert after == pytest.approx(60)
    assert "1000 tokens a minute" in message
    key.leave(-90.0)
    key.take(0.0, 50.0)
    key.leave(+400.0)
    assert refused(key, 0.0, 1.0)[0] == pytest.approx(60)


def test_answers_at_a_time() -> None:
    key = caller(concurrency=1)
    key.take(0.0, 0.0)
    assert refused(key, 0.0)[0] == 1.0
    key.leave(0.0)
    key.take(0.0, 0.0)


def test_what_is_left_is_told() -> None:
    key = caller(rpm=100, tpm=10_000)
    key.take(0.0, 600.0)
    assert dict(key.headers(0.0)) == {
        b"x-ratelimit-limit-requests": b"100",
        b"x-ratelimit-remaining-requests": b"99",
        b"x-ratelimit-reset-requests": b"60.000s",
        b"x-ratelimit-limit-tokens": b"10000",
        b"x-ratelimit-remaining-tokens": b"9400",
        b"x-ratelimit-reset-tokens": b"60.000s",
    }
    assert caller().headers(0.0) == []


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (Usage(prompt_tokens=30, completion_tokens=20), 100),
        (Usage(completion_tokens=20), 60),
        (Usage(prompt_tokens=30), 60 + 14),
        (None, 20 + 14),
    ],
)
def test_what_is_not_counted_is_guessed(usage: Usage | None, tokens: float) -> None:
    exchange = Exchange({"method": "POST", "path": "/", "headers": []}, 0.0)
    exchange.usage, exchange.characters, exchange.pieces = usage, 40, 4
    message = Message(role="user", content="x" * 40)
    asked = Asked(request=ChatRequest(model="a/b", messages=(message,)), copies=2)
    assert used(exchange, asked) == tokens


# -- the limits of a key, on the wire ------------------------------------------------------------


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai"], pace=0.0) as servers:
        yield servers


def keyed(
    rpm: int | None = None, tpm: int | None = None, concurrency: int | None = None
) -> GatewaySettings:
    other = GatewayKey(hash=hash_of("other"))
    return GatewaySettings(keys={"k": key_with(rpm, tpm, concurrency), "other": other})


KEY, OTHER = {"x-api-key": "k"}, {"x-api-key": "other"}


async def test_a_caller_over_its_limit_is_told_when_and_others_are_not_hit(
    sandbox: Sandbox,
) -> None:
    async with running_gateway(sandbox.providers, keyed(rpm=1)) as gateway:
        status, _, headers = await gateway.stream(MODEL, headers=KEY)
        assert status == 200
        assert headers["x-ratelimit-limit-requests"] == "1"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        status, body, headers = await gateway.chat(MODEL, headers=KEY)
        assert (status, body["error"]["type"]) == (429, "rate_limit_error")
        assert body["error"]["code"] == "rate_limit_exceeded"
        assert 50 <= int(headers["retry-after"]) <= 60
        assert headers["x-ratelimit-remaining-requests"] == "0"
        url = f"{gateway.url}/v1/messages"
        async with gateway.http.post(url, json={}, headers=KEY) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (
                429,
                "rate_limit_error",
            )
        assert (await gateway.chat(MODEL, headers=OTHER))[0] == 200


async def test_the_tokens_of_an_answer_count(sandbox: Sandbox) -> None:
    async with running_gateway(sandbox.providers, keyed(tpm=200)) as gateway:
        text = "word " * 100
        status, body, headers = await gateway.chat(MODEL, text, headers=KEY)
        assert status == 200
        used = body["usage"]["total_tokens"]
        assert used > 200
        _, _, headers = await gateway.chat(MODEL, "hi", headers=KEY)
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        assert int(headers["retry-after"]) >= (used - 199) * 60 / 200 - 2


class Held:
    """An upstream whose answers begin, and end when they are told to.

    Attributes:
        begun: answers that have begun.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        """Answer every request of a connection."""
        while True:
            await peer.request()
            await peer.head(200, "Content-Type: text/event-stream")
            await peer.chunk(event("Hello"))
            self.begun += 1
            await self.go_on.wait()
            await peer.chunk(event("", "stop") + b"data: [DONE]\n\n")
            await peer.end()


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def upstream(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"mine": {"base_url": f"{server.url}/v1", **more}}


async def test_answers_at_a_time_on_the_wire(sandbox: Sandbox) -> None:
    held = Held()
    async with (
        scripted(held) as server,
        running_gateway(upstream(server), keyed(concurrency=1)) as gateway,
        raw(gateway) as first,
    ):
        await first.send(question("mine/x", "a", "X-Api-Key: k", stream=True))
        assert b"200 OK" in await first.some()
        status, body, headers = await gateway.chat("mine/x", headers=KEY)
        assert (status, headers["retry-after"]) == (429, "1")
        assert "1 answers under way" in body["error"]["message"]
        first.leave()
        await quiet(gateway)
        held.go_on.set()
        assert (await gateway.stream("mine/x", headers=KEY))[0] == 200
    assert server.open == 0


async def test_a_failed_answer_gives_its_place_back(sandbox: Sandbox) -> None:
    async with running_gateway(sandbox.providers, keyed(concurrency=1, tpm=100_000)) as gateway:
        for _ in range(3):
            sandbox.servers["openai"].faults.next("status=500")
            assert (await gateway.chat(MODEL, headers=KEY))[0] == 502
        assert (await gateway.chat(MODEL, headers=KEY))[0] == 200
        assert (await gateway.chat("nobody/x", headers=KEY))[0] == 404
        assert (await gateway.chat(MODEL, headers=KEY))[0] == 200


async def test_total_streams(sandbox: Sandbox) -> None:
    held = Held()
    async with (
        scripted(held) as server,
        running_gateway(upstream(server), GatewaySettings(limits=Limits(streams=2))) as gateway,
        AsyncExitStack() as stack,
    ):
        for _ in range(2):
            caller = await stack.enter_async_context(raw(gateway))
            await caller.send(question("mine/x", stream=True))
            assert b"200 OK" in await caller.some()
        status, body, headers = await gateway.chat("mine/x")
        assert (status, headers["retry-after"]) == (503, "1")
        assert body["error"]["type"] == "server_error"
        assert held.begun == 2, "nothing was asked for the one that was refused"


# -- bytes ---------------------------------------------------------------------------------------


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Running]:
    async with running_gateway(sandbox.providers, GatewaySettings(limits=SHORT)) as running:
        yield running


async def alive(gateway: Running) -> None:
    """Others are answered, and nothing is left under way."""
    await quiet(gateway)
    assert (await gateway.chat(MODEL))[0] == 200


async def test_a_declared_length_is_refused_before_the_body_is_read(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(request("POST", "/v1/chat/completions", "Content-Length: 4097"))
        status, headers, body = await caller.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body)["error"]["code"] == "too_large"
        await caller.send(b"x" * 5000)
        assert await caller.rest() == b"", "the rest is thrown away, and then it is closed"
    await alive(gateway)


async def test_who_sends_all_of_a_refused_body_still_reads_the_answer(gateway: Running) -> None:
    for _ in range(5):
        async with raw(gateway) as caller:
            head = request("POST", "/v1/chat/completions", "Content-Length: 3000000")
            await caller.send(head)
            sent = asyncio.create_task(caller.send(b"x" * 3_000_000))
            assert (await caller.answer())[0] == 413
            await sent
            assert await caller.some() == b"", "closed in order, not reset"


async def test_a_body_without_a_length_is_counted_while_it_is_read(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked"))
        for _ in range(5):
            await caller.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        status, headers, _ = await caller.answer()
        assert (status, headers["connection"]) == (413, "close")
        await caller.send(b"0\r\n\r\n")
        assert await caller.rest() == b""
    await alive(gateway)


async def test_a_refused_request_does_not_make_us_read_its_body(sandbox: Sandbox) -> None:
    settings = GatewaySettings(keys={"k": GatewayKey(hash=hash_of("k"))}, limits=SHORT)
    async with running_gateway(sandbox.providers, settings) as gateway:
        async with raw(gateway) as caller:
            await caller.send(request("POST", "/v1/chat/completions", "Content-Length: 999999"))
            assert (await caller.answer())[0] == 401
            assert await caller.rest() == b""
        async with raw(gateway) as caller:  # a small one is read over, and the connection is kept
            await caller.send(question(MODEL))
            assert (await caller.answer())[0] == 401
            await caller.send(question(MODEL, "One two", "X-Api-Key: k"))
            assert (await caller.answer())[0] == 200


async def test_who_waits_for_leave_to_send_gets_the_refusal_instead(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(
            request("POST", "/v1/chat/completions", "Content-Length: 4097", "Expect: 100-continue")
        )
        assert (await caller.answer())[0] == 413
    async with raw(gateway) as caller:
        body = question(MODEL).partition(b"\r\n\r\n")[2]
        head = f"Content-Length: {len(body)}"
        await caller.send(request("POST", "/v1/chat/completions", head, "Expect: 100-continue"))
        assert await caller.some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(body)
        assert (await caller.answer())[0] == 200


@pytest.mark.parametrize(
    "header",
    ["Content-Encoding: gzip", "Content-Encoding: br, gzip", "Transfer-Encoding: gzip, chunked"],
)
async def test_a_compressed_body_is_refused(gateway: Running, header: str) -> None:
    async with raw(gateway) as caller:
        await caller.send(
            request("POST", "/v1/chat/completions", header)
            if "Transfer" in header
            else question(MODEL, "a", header)
        )
        assert (await caller.error())[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b"[" * 4000,
        b'{"model":"x","messages":[],"n":' + b"9" * 4000 + b"}",
        b'{"model":"x","messages":[],"temperature":NaN}',
        b'{"model":"x","messages":[],"temperature":1e999}',
        b'{"model":"\xff","messages":[]}',
        b'{"model":"\\ud800","messages":[{"role":"user","content":"a"}]}',
        b"",
    ],
)
async def test_json_that_is_made_to_break_is_refused(gateway: Running, body: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        async with raw(gateway) as caller:
            await caller.send(request("POST", path, body=body))
            assert (await caller.error())[0] in (400, 404), path


async def test_messages_are_counted(sandbox: Sandbox) -> None:
    limits = Limits(messages=3)
    async with running_gateway(sandbox.providers, GatewaySettings(limits=limits)) as gateway:
        said = [{"role": "user", "content": "a"}] * 4
        for path in ("/v1/chat/completions", "/v1/messages"):
            asked = {"model": MODEL, "messages": said, "max_tokens": 5}
            async with gateway.http.post(gateway.url + path, json=asked) as answer:
                assert answer.status == 400
                assert "more than 3 messages" in (await answer.json())["error"]["message"]
        asked = {"model": MODEL, "input": said}
        async with gateway.http.post(f"{gateway.url}/v1/responses", json=asked) as answer:
            assert answer.status == 400


# -- seconds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"\r\n\r\n", b"GET /health/live HTTP/1.1\r\nHost: local"])
async def test_who_does_not_finish_the_headers_is_closed(gateway: Running, begun: bytes) -> None:
    async with raw(gateway) as caller:
        await caller.send(begun)
        assert await caller.rest() == b""


async def test_who_sends_empty_lines_after_an_answer_is_closed(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(request("GET", "/health/live"))
        assert (await caller.answer())[0] == 200
        await caller.send(b"\r\n")
        assert await caller.rest() == b""


async def test_headers_that_trickle_are_not_waited_for(gateway: Running) -> None:
    async with raw(gateway) as caller:
        ended = asyncio.create_task(caller.rest())
        await caller.send(b"GET /health/live HTTP/1.1\r\n")
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                await caller.send(b"X: a\r\n")
                await asyncio.sleep(0.02)
        assert ended.result() == b""
    await alive(gateway)


async def test_a_body_that_trickles_is_not_waited_for(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with raw(gateway) as caller:
        await caller.send(request("POST", "/v1/chat/completions", "Content-Length: 4000"))
        ended = asyncio.create_task(caller.rest())
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                await caller.send(b" ")
                await asyncio.sleep(0.02)
        assert ended.result().startswith(b"HTTP/1.1 408 ")
    own = ended.result().partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
    async with asyncio.timeout(PATIENCE):
        while '"status":408' not in caplog.text:
            await asyncio.sleep(0.005)
    assert own.startswith("req_")
    assert own in caplog.text
    await alive(gateway)


async def test_the_rest_of_a_refused_body_may_not_trickle_either(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(request("POST", "/nothing", "Content-Length: 4000"))
        assert (await caller.answer())[0] == 404
        ended = asyncio.create_task(caller.rest())
        async with asyncio.timeout(PATIENCE):
            while not ended.done():
                await caller.send(b" ")
                await asyncio.sleep(0.02)
        assert ended.result() == b"", "there is no second answer to one request"


async def test_what_is_no_request_has_an_id_in_its_answer_all_the_same(gateway: Running) -> None:
    async with raw(gateway) as caller:
        await caller.send(b"this is no HTTP\r\n\r\n")
        answer = await caller.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nx-request-id: req_" in answer


async def test_headers_are_bounded(sandbox: Sandbox) -> None:
    line = b"X: " + b"a" * 8000 + b"\r\n"
    patient = GatewaySettings(limits=Limits(header=2 * PATIENCE))
    async with running_gateway(sandbox.providers, patient) as gateway:
        async with raw(gateway) as caller:
            await caller.send(b"GET /health/live HTTP/1.1\r\n")
            ended = asyncio.create_task(caller.rest())
            for _ in range(100 + HEADERS // len(line)):
                await caller.send(line)
                await asyncio.sleep(0)
            assert (await ended)[:13] in (b"HTTP/1.1 431 ", b"")
        await alive(gateway)


async def test_trailers_change_nothing(gateway: Running) -> None:
    body = question(MODEL).partition(b"\r\n\r\n")[2]
    async with raw(gateway) as caller:
        await caller.send(request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked"))
        await caller.send(b"%x\r\n%s\r\n0\r\n" % (len(body), body) + b"X-Api-Key: k\r\n" * 1000)
        await caller.send(b"\r\n")
        assert (await caller.answer())[0] == 200
        await caller.send(question(MODEL))
        assert (await caller.answer())[0] == 200


async def test_connections_are_bounded(gateway: Running) -> None:
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw(gateway)) for _ in range(3)]
        for caller in held:
            await caller.send(request("GET", "/health/live"))
            assert (await caller.answer())[0] == 200
        async with raw(gateway) as one_too_many:
            assert await one_too_many.rest() == b""
        held[0].leave()
        async with asyncio.timeout(PATIENCE):
            while not await admitted(gateway):
                pass


async def admitted(gateway: Running) -> bool:
    async with raw(gateway) as caller:
        await caller.send(request("GET", "/health/live"))
        try:
            return (await caller.answer())[0] == 200
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
