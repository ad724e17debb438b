"""A sandbox server of each kind with a client, and a look at what both have left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from penstock.client import Client
from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.sandbox import Sandbox
from penstock.sandbox.script import Script

MODELS = {
    "allenai": "allenai/Olmo-3-7B-Instruct",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "h2o": "h2o/falcon-40b",
    "tgi": "tgi/",
    "chatui": "chatui/",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "cog": "cog/",
    "openai": "openai_compatible/sandbox-model",
}
PACE = 0.002
OPTIONS = {"openassistant": {"openassistant": {"patience": 0.02, "tick": 0.01}}}
QUICK = Pace(silence=1.0, look_every=0.02, poll=0.005, poll_most=0.01, patience=15.0)


class Place:
    """A sandbox server and a client of it."""

    def __init__(self, name: str, sandbox: Sandbox, client: Client) -> None:
        self.model = MODELS[name]
        self.client = client
        self._name = name
        self._sandbox = sandbox

    async def complete(self) -> None:
        await self.client.complete(self.model, "one two three")

    async def stream(self) -> None:
        async with self.client.stream(self.model, "one two three") as answer:
            async for _ in answer:
                pass

    async def leave_early(self) -> None:
        async with self.client.stream(self.model, "one two three") as answer:
            async for _ in answer.text():
                break

    async def clean(self) -> None:
        """Wait until nothing is open here and nothing is left there."""
        session = self.client.session
        try:
            async with asyncio.timeout(20):
                while session.open_connections or session.outbox.pending or not self._empty():
                    await asyncio.sleep(0.001)
        except TimeoutError:
            here = (session.open_connections, session.outbox.pending, session.outbox.failed)
            pytest.fail(f"left behind: {here} here, {self._sandbox.state(self._name)} there")
        assert not session.outbox.failed

    def _empty(self) -> bool:
        state = self._sandbox.state(self._name)
        conversations, runs = state["conversations"], state["runs"]
        assert isinstance(conversations, dict)
        assert isinstance(runs, dict)
        # One that we have closed may still bring a request that the server has not seen yet.
        seen = state["open_connections"] == self._kept()
        return seen and not (conversations["left"] or runs["running"] or state["open_streams"])

    def _kept(self) -> int:
        """Connections that are open for the next request."""
        connectors = [pool.connector for pool in self.client.session._pools.values()]
        return sum(len(kept) for one in connectors for kept in one._conns.values())


@asynccontextmanager
async def place(name: str, script: str | Script = "echo") -> AsyncIterator[Place]:
    """The server of ``name``, a client of it, and what they leave behind."""
    async with (
        Sandbox([name], script=script, pace=PACE, options=OPTIONS.get(name)) as sandbox,
        Client(providers=sandbox.providers) as client,
    ):
        if name == "openassistant":  # its waits are long enough for real workers
            config = msgspec.convert({"name": name, **sandbox.providers[name]}, ProviderConfig)
            quick = OpenAssistantProvider(client.session, config, pace=QUICK)
            client._providers[name] = quick
        yield Place(name, sandbox, client)
