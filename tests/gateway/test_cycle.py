"""How answers are written: whole ones together, all in full, to callers of any age."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from penstock.config.gateway import GatewaySettings, Limits
from penstock.gateway.serve import listen
from penstock.gateway.server import BoundedProtocol
from penstock.sandbox import Sandbox
from penstock.transport.gathered import Gathered
from tests.gateway.raw import PATIENCE, question, raw, request
from tests.gateway.running import Running, running_gateway
from tests.gateway.test_safety import is_connected
from tests.sockets import Peer, scripted

MODEL = "openai_compatible/sandbox-model"
Application = Callable[[Any, Any, Any], Awaitable[None]]
OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with Sandbox(["openai"], pace=0.0) as sandbox, running_gateway(sandbox.providers) as at:
        yield at


class Served:
    """An application on a socket, below the protocol of the gateway."""

    def __init__(self, url: str, server: uvicorn.Server) -> None:
        self.url = url
        self._server = server

    def known(self) -> list[Any]:
        """The connections that are open."""
        return list(self._server.server_state.connections)


@asynccontextmanager
async def served(application: Application) -> AsyncIterator[Served]:
    listener = listen(GatewaySettings(port=0))
    protocol = type("Protocol", (BoundedProtocol,), {"gathered": Gathered()})
    config = uvicorn.Config(application, http=protocol, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            server.should_exit = True
        await serving


async def test_callers_at_a_time_get_their_own_answers(gateway: Running) -> None:
    texts = [f"caller {number}" for number in range(50)]
    for _ in range(2):
        answers = await asyncio.gather(*(gateway.chat(MODEL, text) for text in texts))
        for text, (status, body, _) in zip(texts, answers, strict=True):
            assert (status, body["choices"][0]["message"]["content"]) == (200, text)


@pytest.mark.parametrize("end", ["shutdown", "eof", "raised"])
async def test_an_answer_that_waits_for_others_goes_out_before_its_connection_closes(
    end: str,
) -> None:
    both, came = asyncio.Event(), 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal came
        came += 1
        if came == 2:
            both.set()
        await both.wait()
        await send(OK)
        await send({"type": "http.response.body", "body": b"whole"})
        for connection in at.known():
            if end == "shutdown":
                connection.shutdown()
            elif end == "raised":
                raise RuntimeError("after the answer")
            elif connection.cycle.response_complete:  # what the loop does where a caller closes
                connection.eof_received()
                connection.transport.close()

    async with served(application) as at, raw(at) as one, raw(at) as other:
        for caller in (one, other):
            await caller.send(request("GET", "/"))
        for caller in (one, other):
            assert (await caller.rest()).endswith(b"\r\n\r\nwhole")


@pytest.mark.parametrize("status", [499, 529])
async def test_a_status_of_no_name_is_an_answer(status: int) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({**OK, "status": status})
        await send({"type": "http.response.body", "body": b"whole"})

    async with served(application) as at, raw(at) as caller:
        await caller.send(request("GET", "/"))
        assert (await caller.answer())[0] == status


async def test_an_answer_begins_once() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with pytest.raises(RuntimeError, match="begun"):
            await send(OK)
        await send({"type": "http.response.body", "body": b"whole"})

    async with served(application) as at, raw(at) as caller:
        await caller.send(request("GET", "/", "Connection: close"))
        assert b"\r\n\r\n5\r\nwhole\r\n0\r\n\r\n" in await caller.rest()


@pytest.mark.parametrize("target", [b"GET http://localhost", b"CONNECT a:443"])
async def test_what_has_no_path_is_refused_on_a_kept_connection_too(
    gateway: Running, target: bytes
) -> None:
    async with raw(gateway) as caller:
        await caller.send(request("GET", "/health/live"))
        assert (await caller.answer())[0] == 200
        await caller.send(target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await caller.answer())[0] == 400


async def test_an_answer_that_waited_for_others_and_is_not_read_keeps_no_connection() -> None:
    whole = json.dumps({"choices": [{"index": 0, "message": {"content": "x" * 60_000}}]})

    async def upstream(peer: Peer) -> None:
        while True:
            await peer.request()
            if b'"stream":true' in peer.requests[-1][1]:
                await peer.head(200, "Content-Type: text/event-stream")
                await peer.chunk(b": waits\n\n")
                await asyncio.Event().wait()
            await peer.answer(whole.encode(), 200, "Content-Type: application/json")

    limits = GatewaySettings(limits=Limits(write=0.3))
    async with (
        scripted(upstream) as server,
        running_gateway({"mine": {"base_url": f"{server.url}/v1"}}, limits, buffer=4096) as gateway,
        raw(gateway) as other,
        raw(gateway, buffer=4096) as caller,
    ):
        await other.send(question("mine/x", stream=True))
        async with asyncio.timeout(PATIENCE):
            while gateway.gateway.open_streams < 1:
                await asyncio.sleep(0.01)
            await caller.send(question("mine/x"))
            while is_connected(caller):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_of_http_1_0_gets_no_chunks(gateway: Running, stream: bool) -> None:
    """RFC 9112 section 6.1: who speaks 1.0 reads to the end of the connection."""
    asked = question(MODEL, "One two", stream=stream).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with raw(gateway) as caller:
        await caller.send(asked)
        head, _, body = (await caller.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    if stream:
        lines = body.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        assert all(line.startswith("data: ") for line in lines[:-1])
    else:
        assert json.loads(body)["choices"][0]["message"]["content"] == "One two"


@pytest.mark.parametrize(
    ("headers", "bodies"),
    [
        ([(b"x-name", b"one\r\nx-other: two")], [b""]),
        ([(b"x-name", b"one\ntwo")], [b""]),
        ([(b"content-length", b"3")], [b"four"]),
        ([(b"content-length", b"5")], [b"four"]),
    ],
)
async def test_an_answer_that_would_be_read_as_another_is_not_written(
    headers: list[tuple[bytes, bytes]], bodies: list[bytes]
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def answer() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for body in bodies:
                await send({"type": "http.response.body", "body": body})

        with pytest.raises(RuntimeError):
            await answer()

    async with served(application) as at, raw(at) as caller:
        await caller.send(request("GET", "/"))
        came = await caller.rest()
    assert b"four" not in came
    assert b"two" not in came
