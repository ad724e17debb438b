"""A running Replicate for tests, and a client of it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

import aiohttp

from penstock.sandbox import Sandbox
from penstock.sandbox.replicate import TOKEN
from penstock.sandbox.script import Script

LLAMA_3 = "meta/meta-llama-3-70b-instruct"
LLAMA_2 = "meta/llama-2-70b-chat"
VERSION = "02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3"


class Serve(Protocol):
    """Starts a service with a script and options; it lasts as long as the stack."""

    async def __call__(
        self, script: Script | str = "echo", pace: float = 0.0, **options: object
    ) -> "Service": ...


class Service:
    """A running service and a client with the key that is right."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.api = sandbox.urls["replicate"]
        self.server = sandbox.servers["replicate"]

    async def ask(
        self, method: str, path: str, **more: Any
    ) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
        url = path if path.startswith("http") else self.api + path
        async with self.session.request(method, url, **more) as answer:
            said: dict[str, Any] = await answer.json(content_type=None)
            return answer, said

    async def create(
        self,
        model: str = LLAMA_3,
        given: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        body: dict[str, object] = {"input": {"prompt": "x", **(given or {})}}
        path = f"/v1/models/{model}/predictions"
        if len(model) == 64 or ":" in model:
            path, body["version"] = "/v1/predictions", model
        answer, said = await self.ask("POST", path, json=body, headers=headers)
        assert answer.status == 201, said
        return said

    async def get(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        return (await self.ask("GET", prediction["urls"]["get"]))[1]

    async def over(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while (said := await self.get(prediction))["status"] in ("starting", "processing"):
                await asyncio.sleep(0.002)
        return said

    async def listen(
        self, prediction: Mapping[str, Any], until: bytes = b"event: done", **headers: str
    ) -> bytes:
        """Read the stream until those bytes came, or to its end."""
        sent = {"Accept": "text/event-stream", **headers}
        body = b""
        async with (
            asyncio.timeout(5),
            self.session.get(prediction["urls"]["stream"], headers=sent) as answer,
        ):
            assert answer.status == 200
            async for data in answer.content.iter_any():
                body += data
                if until and until in body and body.endswith(b"\n\n"):
                    break
        return body

    @property
    def state(self) -> dict[str, Any]:
        return self.sandbox.state("replicate")


def serving(stack: AsyncExitStack) -> Serve:
    """Give what starts services that end with `stack`."""

    async def start(script: Script | str = "echo", pace: float = 0.0, **options: object) -> Service:
        chosen = {"replicate": options}
        sandbox = Sandbox(("replicate",), script=script, pace=pace, options=chosen)
        await stack.enter_async_context(sandbox)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        return Service(sandbox, session)

    return start
