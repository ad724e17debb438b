"""Gateways over the sandbox, on a thread of their own, for clients that are other programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from threading import Thread
from typing import Any

from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.gateway.keys import hash_of
from penstock.sandbox import Sandbox
from tests.foreign.asking import ARGUMENTS, FAULTS, Place
from tests.gateway.running import running_gateway
from tests.sandboxed import Speaker

KEY = "pk-of-the-clients-in-this-test"
BACKENDS = ("openai", "h2o", "chatui", "allenai", "replicate")
THROTTLED = "openai:busy"
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "openai": {"tool_calls": [{"name": "weather", "arguments": ARGUMENTS, "when": "weather"}]},
    THROTTLED: {"throttled": 1},
}


@contextmanager
def gateways() -> Iterator[Place]:
    """Two gateways and what is behind them."""
    ready: Future[Place] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        try:
            async with _serving() as place:
                ready.set_result(place)
                await asyncio.wrap_future(stop)
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = Thread(target=lambda: asyncio.run(serve()), name="gateways")
    thread.start()
    try:
        yield ready.result(20)
    finally:
        stop.set_result(None)
        thread.join(20)


@asynccontextmanager
async def _serving() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        sandbox = Sandbox([*BACKENDS, THROTTLED], script=Speaker(), options=OPTIONS)
        await stack.enter_async_context(sandbox)
        providers = _providers(sandbox)
        plain = await stack.enter_async_context(running_gateway(providers))
        keys = {"tester": GatewayKey(hash=hash_of(KEY))}
        settings = GatewaySettings(keys=keys, estimate_usage=True)
        keyed = await stack.enter_async_context(running_gateway(providers, settings))
        states = {name: f"{_origin(sandbox.urls[name])}/_sandbox/state" for name in BACKENDS}
        yield Place(url=plain.url, keyed=keyed.url, key=KEY, states=states)


def _providers(sandbox: Sandbox) -> Mapping[str, Any]:
    """Every back end, and one upstream for each fault."""
    faulty: dict[str, dict[str, Any]] = {
        name: {"base_url": sandbox.urls["openai"], "headers": {"X-Sandbox-Fault": fault}}
        for name, fault in FAULTS.items()
    }
    faulty["silent"]["timeout"] = 0.5
    return {**sandbox.providers, **faulty, "busy": {"base_url": sandbox.urls[THROTTLED]}}


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
