"""Hostile callers, foreign pages and talkative upstreams: nothing leaks, nothing gets through."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.config.gateway import GatewayKey, GatewaySettings, Limits
from penstock.gateway.keys import hash_of
from penstock.sandbox import Sandbox
from tests.gateway.raw import PATIENCE, Raw, question, quiet, raw, request
from tests.gateway.running import Running, running_gateway
from tests.sockets import Peer, scripted

MODEL = "openai_compatible/sandbox-model"
CANARY = "sk-canary-0123456789abcdef"
PLAIN_CANARY = "canary.of.no.known.shape"
TELLING = (200, 302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai"], pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Running]:
    settings = GatewaySettings(
        hosts=("chat.example.com",), origins=("https://friend.example",), limits=Limits(header=2)
    )
    async with running_gateway(sandbox.providers, settings) as running:
        yield running


# -- the Host header -----------------------------------------------------------------------------


HOSTS = (
    ("localhost", 200),
    ("LocalHost:8787", 200),
    ("localhost.", 200),
    ("127.0.0.1:1", 200),
    ("[::1]:8787", 200),
    ("192.168.1.5:8787", 200),
    ("chat.example.com", 200),
    ("Chat.Example.com:443", 200),
    ("evil.example", 421),
    ("evil.example:8787", 421),
    ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421),
    ("evilchat.example.com", 421),
    ("chat.example.com.evil", 421),
    ("evil@localhost", 421),
    ("[evil]", 421),
    ("", 421),
)


async def test_a_name_that_is_not_ours_is_refused(gateway: Running) -> None:
    async with raw(gateway) as caller:
        for host, status in [pair for pair in HOSTS for _ in range(2)]:
            await caller.send(request("GET", "/health/live", f"Host: {host}"))
            assert (await caller.answer())[0] == status, host
            await caller.send(question(MODEL, "One two", f"Host: {host}"))
            assert (await caller.answer())[0] == status, host


async def test_the_spellings_of_names_that_are_remembered_are_bounded(gateway: Running) -> None:
    async with raw(gateway) as caller:
        for port in range(300):
            await caller.send(request("GET", "/health/live", f"Host: localhost:{port}"))
            assert (await caller.answer())[0] == 200
    assert len(gateway.gateway._admission._known) == 256


# -- pages of other sites ------------------------------------------------------------------------


ORIGINS = (
    ("http://localhost:8787", "localhost:8787", 200),
    ("https://chat.example.com", "chat.example.com", 200),
    ("https://friend.example", "localhost:8787", 200),
    ("HTTPS://Friend.example", "localhost:8787", 200),
    ("http://localhost:3000", "localhost:8787", 403),
    ("https://evil.example", "localhost:8787", 403),
    ("https://friend.example.evil", "localhost:8787", 403),
    ("http://friend.example", "localhost:8787", 403),
    ("null", "localhost:8787", 403),
    ("", "localhost:8787", 403),
    ("localhost:8787", "localhost:8787", 403),
)


async def test_pages_of_other_sites_may_not_ask(gateway: Running) -> None:
    async with raw(gateway) as caller:
        for origin, host, status in ORIGINS:
            await caller.send(question(MODEL, "a", f"Origin: {origin}", f"Host: {host}"))
            got, headers, _ = await caller.answer()
            assert got == status, origin
            friend = origin.lower() == "https://friend.example"
            assert headers.get("access-control-allow-origin") == (origin if friend else None)
            assert "access-control-allow-credentials" not in headers


async def test_no_method_that_changes_things_is_forgotten(gateway: Running) -> None:
    async with raw(gateway) as caller:
        for method in ("DELETE", "PUT", "PATCH", "POST", "PURGE"):
            for path in ("/v1/chat/completions", "/v1/models", "/", "/health/live"):
                await caller.send(request(method, path, "Origin: https://evil.example"))
                assert (await caller.answer())[0] == 403, method


async def test_a_friend_is_told_what_it_may_and_others_are_not(gateway: Running) -> None:
    beforehand = (
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization, content-type",
    )
    async with raw(gateway) as caller:
        path = "/v1/chat/completions"
        await caller.send(request("OPTIONS", path, "Origin: https://friend.example", *beforehand))
        status, headers, body = await caller.answer()
        assert (status, body) == (200, b"")
        assert headers["access-control-allow-origin"] == "https://friend.example"
        assert headers["access-control-allow-headers"] == "authorization, content-type"
        assert headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in headers
        await caller.send(request("OPTIONS", path, "Origin: https://evil.example", *beforehand))
        status, headers, _ = await caller.answer()
        assert status == 405
        assert not any(name.startswith("access-control-") for name in headers)


async def test_a_friend_can_read_refusals_too(sandbox: Sandbox) -> None:
    settings = GatewaySettings(
        keys={"k": GatewayKey(hash=hash_of("k"))}, origins=("https://friend.example",)
    )
    origin = {"Origin": "https://friend.example"}
    async with running_gateway(sandbox.providers, settings) as gateway:
        status, _, headers = await gateway.chat(MODEL, headers=origin)
        assert (status, headers["access-control-allow-origin"]) == (401, origin["Origin"])
        status, _, headers = await gateway.stream(MODEL, headers={**origin, "x-api-key": "k"})
        assert (status, headers["access-control-allow-origin"]) == (200, origin["Origin"])


async def test_nobody_is_a_friend_unless_named(sandbox: Sandbox) -> None:
    async with running_gateway(sandbox.providers) as gateway, raw(gateway) as caller:
        await caller.send(request("GET", "/health/live", "Origin: https://a.example"))
        status, headers, _ = await caller.answer()
        assert status == 200
        assert not any(name.startswith("access-control-") for name in headers)


# -- hostile bytes -------------------------------------------------------------------------------

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


IMPROPER = (
    HEAD + b"X-A: a\x00b\r\n\r\n",
    HEAD + b"X-A: a\rb\r\n\r\n",
    HEAD + b"X-A: a\r\n folded\r\n\r\n",
    HEAD + b"X A: b\r\n\r\n",
    HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
    HEAD + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
    HEAD + b"X-Api-Key: a\r\nX-Api-Key: b\r\n\r\n",
    HEAD + b"Host: evil.example\r\n\r\n",
    b"GET /health/live HTTP/1.1\r\n\r\n",
)


async def test_what_is_no_proper_request_is_refused_in_the_usual_shape(gateway: Running) -> None:
    for said in IMPROPER:
        async with raw(gateway) as caller:
            await caller.send(said)
            status, _, body = await caller.answer()
            assert status == 400, said
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    await alive(gateway)


ODD = (
    "X-Client-Request-Id: a\tb",
    "X-Client-Request-Id: " + "a" * 200,
    "Authorization: Bearer \xff\xfe",
    "X-Api-Key: ' OR 1=1; --",
    "X-Penstock-Lenient: \xff",
    "Accept-Encoding: " + "gzip, " * 500,
    "Range: bytes=" + "0-1," * 1000,
    "X-Forwarded-For: 127.0.0.1",
    "Forwarded: for=127.0.0.1",
)


async def test_odd_headers_do_no_harm(gateway: Running) -> None:
    async with raw(gateway) as caller:
        for header in ODD:
            await caller.send(question(MODEL, "One two", header))
            status, headers, _ = await caller.answer()
            assert status == 200, header
            assert "x-client-request-id" not in headers
            await caller.send(request("GET", "/", header))
            assert (await caller.answer())[0] in (200, 503), header


async def test_an_offered_upgrade_is_declined_by_an_answer(gateway: Running) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    whole = question(MODEL, "One two upgrade:", *offer)
    head, end, body = whole.partition(b"\r\n\r\n")
    for parts in ([whole], [head + end, body]):
        async with raw(gateway) as caller:
            for part in parts:
                await caller.send(part)
            status, _, said = await caller.answer()
            assert (status, b"One two upgrade:" in said) == (200, True)


async def test_no_path_leads_elsewhere(sandbox: Sandbox) -> None:
    settings = GatewaySettings(keys={"k": GatewayKey(hash=hash_of("k"))})
    async with running_gateway(sandbox.providers, settings) as gateway:
        for path in (
            "/health/live/../../v1/models",
            "/health/live%2f..%2f..%2fv1/models",
            "//v1/models",
            "/V1/models",
            "/assets/../../app.py",
            "/assets/%2e%2e/%2e%2e/app.py",
            "http://elsewhere.example/v1/models",
        ):
            async with raw(gateway) as caller:
                await caller.send(request("GET", path))
                assert (await caller.answer())[0] == 401, path


async def test_garbage_behind_a_request_is_never_answered_inside_its_answer(
    sandbox: Sandbox,
) -> None:
    """It is dropped, the answer goes on to its end, and the connection closes."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(event("Hello"))
        begun.set()
        await go_on.wait()
        await peer.chunk(event(" world"))
        await peer.end()

    async with (
        scripted(upstream) as server,
        running_gateway({"mine": {"base_url": f"{server.url}/v1"}}) as gateway,
        raw(gateway) as caller,
    ):
        await caller.send(question("mine/x", stream=True))
        await begun.wait()
        assert b"Hello" in await until(caller, b"Hello")
        await caller.send(b"garbage\r\n\r\n")
        go_on.set()
        rest = await caller.rest()
        assert b" world" in rest
        assert b"HTTP/1.1" not in rest
        assert rest.endswith(b"\r\n0\r\n\r\n")
        await quiet(gateway)


# -- callers that do not read --------------------------------------------------------------------


async def test_a_caller_who_does_not_read_stops_the_upstream_and_is_given_up(
    sandbox: Sandbox,
) -> None:
    sent, ended = 0, asyncio.Event()

    async def upstream(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        piece = event("x" * 16_000)
        with suppress(ConnectionError):
            while True:
                await peer.chunk(piece)
                sent += len(piece)
        ended.set()

    limits = GatewaySettings(limits=Limits(write=0.5))
    async with (
        scripted(upstream) as server,
        running_gateway({"mine": {"base_url": f"{server.url}/v1"}}, limits) as gateway,
        raw(gateway, buffer=4096) as caller,
    ):
        await caller.send(question("mine/x", stream=True))
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        await quiet(gateway)
        assert sent < 40_000_000, "what is on the way is bounded by the buffers of the sockets"
        await server.quiet()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its connections")
@pytest.mark.parametrize(
    "size", [pytest.param(60_000, id="below the mark"), pytest.param(2_000_000, id="above it")]
)
async def test_an_answer_that_is_not_read_does_not_keep_its_connection(size: int) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "x" * size}}]}).encode()

    asked = asyncio.Event()

    async def upstream(peer: Peer) -> None:
        while True:
            await peer.request()
            asked.set()
            await peer.answer(body, 200, "Content-Type: application/json")

    limits = GatewaySettings(limits=Limits(write=0.3))
    async with (
        scripted(upstream) as server,
        running_gateway({"mine": {"base_url": f"{server.url}/v1"}}, limits, buffer=4096) as gateway,
        raw(gateway, buffer=4096) as caller,
    ):
        await caller.send(question("mine/x"))
        await asked.wait()
        await quiet(gateway)
        assert is_connected(caller)
        async with asyncio.timeout(PATIENCE):
            while is_connected(caller):
                await asyncio.sleep(0.02)


def is_connected(caller: Raw) -> bool:
    """Whether the gateway's side of a connection is established (01), by the system's table."""
    rows = [row.split() for row in Path("/proc/self/net/tcp").read_text().splitlines()]
    return any(row[2].endswith(f":{caller.port:04X}") and row[3] == "01" for row in rows)


# -- secrets -------------------------------------------------------------------------------------


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def until(caller: Raw, wanted: bytes) -> bytes:
    came = b""
    while wanted not in came:
        part = await caller.some()
        if not part:
            break
        came += part
    return came


async def alive(gateway: Running) -> None:
    await quiet(gateway)
    assert (await gateway.chat(MODEL))[0] == 200


@pytest.mark.parametrize("secret", [CANARY, PLAIN_CANARY])
async def test_an_upstream_that_tells_our_key_is_not_passed_on(
    secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    status = 0

    async def upstream(peer: Peer) -> None:
        while True:
            seen.append(await peer.request())
            given = f"you sent Authorization: Bearer {secret} and {secret}"
            body = json.dumps({"error": {"message": given, "type": given, "code": given}})
            extra = [f"X-Request-Id: {secret}", f"Location: http://127.0.0.1:1/{secret}"]
            await peer.answer(body.encode(), status, "Content-Type: application/json", *extra)

    caplog.set_level(logging.DEBUG)
    settings = GatewaySettings(keys={"k": GatewayKey(hash=hash_of("caller-key"))})
    async with (
        scripted(upstream) as server,
        running_gateway(
            {"mine": {"base_url": f"{server.url}/v1", "api_key": secret}}, settings
        ) as gateway,
    ):
        for status in TELLING:
            for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
                for stream in (True, False):
                    said = await everything(gateway, path, stream=stream)
                    assert secret[:12] not in said, (status, path)
    assert len(seen) >= 6 * len(TELLING)
    assert all(f"Bearer {secret}" in head for head in seen), "it was told to its upstream alone"
    assert not any("caller-key" in head for head in seen)
    assert secret not in caplog.text
    assert "caller-key" not in caplog.text


async def everything(gateway: Running, path: str, *, stream: bool) -> str:
    """All that a caller gets to see of a failed answer."""
    asked: dict[str, Any] = {"model": "mine/x", "stream": stream, "max_tokens": 5}
    said = [{"role": "user", "content": "hi"}]
    asked |= {"input": said} if path.endswith("responses") else {"messages": said}
    if path.endswith("responses"):
        asked["max_output_tokens"] = asked.pop("max_tokens")
    async with gateway.http.post(
        gateway.url + path, json=asked, headers={"x-api-key": "caller-key"}
    ) as answer:
        return f"{answer.status} {answer.headers} {await answer.text()}"


@pytest.mark.parametrize("secret", [CANARY, PLAIN_CANARY])
async def test_an_upstream_that_tells_our_key_inside_a_stream_is_not_passed_on(
    secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def upstream(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.head(200, "Content-Type: text/event-stream")
            await peer.chunk(event("Hello"))
            error = {"error": {"message": f"key {secret} is wrong", "code": secret}}
            await peer.chunk(b"data: " + json.dumps(error).encode() + b"\n\n")
            await peer.end()

    caplog.set_level(logging.DEBUG)
    async with (
        scripted(upstream) as server,
        running_gateway({"mine": {"base_url": f"{server.url}/v1", "api_key": secret}}) as gateway,
    ):
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
            said = await everything(gateway, path, stream=True)
            assert "Hello" in said
            assert "error" in said
            assert secret not in said
    assert secret not in caplog.text


# -- the log -------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "penstock.access"
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_prompts_are_in_the_log_only_if_asked_for(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    ask = Running.stream if stream else Running.chat
    for wanted in (False, True):
        caplog.clear()
        settings = GatewaySettings(
            log_prompts=wanted, keys={"ci": GatewayKey(hash=hash_of("geheim"))}
        )
        async with running_gateway(sandbox.providers, settings) as gateway:
            await ask(gateway, MODEL, "Tell nobody", headers={"x-api-key": "geheim"}, n=2)
        assert "geheim" not in caplog.text
        (line,) = lines(caplog)
        assert (line["key"], line["status"]) == ("ci", 200)
        if wanted:
            assert line["messages"] == [{"role": "user", "text": "Tell nobody"}]
            assert line["answers"] == ["Tell nobody"] * 2
        else:
            assert "Tell nobody" not in caplog.text
