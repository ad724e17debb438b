"""The gateway as a part of another application, with and without the host's start and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from penstock.client import Client
from penstock.config import Settings
from penstock.config.gateway import GatewaySettings
from penstock.gateway.app import Gateway
from penstock.gateway.serve import listen
from penstock.sandbox import Sandbox

QUESTION = [{"role": "user", "content": "One two"}]
BODY = {"model": "openai_compatible/sandbox-model", "messages": QUESTION}


@asynccontextmanager
async def hosted(app: Starlette) -> AsyncIterator[str]:
    """``app`` on a plain uvicorn: its address."""
    listener = listen(GatewaySettings(port=0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
                assert not serving.done()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the host's own")


@pytest.mark.parametrize("tells_ends", [True, False])
async def test_a_gateway_below_a_prefix_of_another_application(tells_ends: bool) -> None:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(["openai"]))
        client = Client(config=Settings(), providers=sandbox.providers)
        gateway = Gateway(client)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await gateway.aclose()

        routes = [Route("/", home), Mount("/ai", app=gateway)]
        host = Starlette(routes=routes, lifespan=lifespan if tells_ends else None)
        url = await stack.enter_async_context(hosted(host))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with http.get(url) as answer:
            assert await answer.text() == "the host's own"
        async with http.post(f"{url}/ai/v1/chat/completions", json=BODY) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "One two"
        async with http.post(f"{url}/ai/v1/chat/completions", json={**BODY, "stream": True}) as got:
            assert (await got.read()).endswith(b"data: [DONE]\n\n")
        async with http.get(f"{url}/ai/v1/models/openai_compatible/sandbox-model") as answer:
            assert (await answer.json())["id"] == "openai_compatible/sandbox-model"
        async with http.get(f"{url}/ai/health/ready") as answer:
            assert answer.status == 200
        async with http.get(f"{url}/ai/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "unknown_path")
        if not tells_ends:
            await gateway.aclose()
    assert not gateway.ready


async def test_messages_below_a_prefix_are_refused_in_their_own_shape() -> None:
    gateway = Gateway(Client(config=Settings()))
    async with (
        hosted(Starlette(routes=[Mount("/ai", app=gateway)])) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/ai/v1/messages", json={"model": "x"}) as answer,
    ):
        told = await answer.json()
    assert (answer.status, told["type"], told["error"]["type"]) == (
        400,
        "error",
        "invalid_request_error",
    )
    await gateway.aclose()
