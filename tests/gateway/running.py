"""A gateway on a real socket, in this loop, over a sandbox or any other upstream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from penstock.client import Client
from penstock.config import Settings
from penstock.config.gateway import GatewaySettings
from penstock.gateway.app import Gateway
from penstock.gateway.serve import listen
from penstock.gateway.server import server_of
from penstock.gateway.view import View


class Running:
    """A gateway that listens, and an HTTP client for it."""

    def __init__(self, gateway: Gateway, url: str, http: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.url = url
        self.http = http

    async def chat(
        self, model: str, question: str = "One two", headers: Mapping[str, str] = {}, **body: Any
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Ask for a whole answer: status, body, headers."""
        asked = {"model": model, "messages": [{"role": "user", "content": question}], **body}
        url = f"{self.url}/v1/chat/completions"
        async with self.http.post(url, json=asked, headers=dict(headers)) as answer:
            return answer.status, await answer.json(), answer.headers

    async def stream(
        self, model: str, question: str = "One two", headers: Mapping[str, str] = {}, **body: Any
    ) -> tuple[int, str, Mapping[str, str]]:
        """Ask for a stream and read it to its end: status, body as it came, headers."""
        asked = {"model": model, "messages": [{"role": "user", "content": question}], **body}
        url = f"{self.url}/v1/chat/completions"
        asked["stream"] = True
        async with self.http.post(url, json=asked, headers=dict(headers)) as answer:
            return answer.status, (await answer.read()).decode(), answer.headers


@asynccontextmanager
async def running_gateway(
    providers: Mapping[str, Any],
    settings: GatewaySettings | None = None,
    *,
    config: Settings | None = None,
    buffer: int | None = None,
) -> AsyncIterator[Running]:
    """A gateway whose providers are ``providers``, on a free port of loopback.

    With ``buffer`` the system takes about as many bytes from it that its callers do not read.
    """
    view = View()
    client = Client(config=config or Settings(), providers=providers, observer=view)
    gateway = Gateway(client, settings, view=view)
    listener = listen(GatewaySettings(port=0))
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    started = asyncio.Event()
    server = server_of(gateway, on_started=started.set)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve(sockets=[listener]))
        await started.wait()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with aiohttp.ClientSession() as http:
            try:
                yield Running(gateway, url, http)
            finally:
                server.should_exit = True
        await task
