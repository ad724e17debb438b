"""The rows about leaving, over the back ends of Penstock that keep conversations.

Their servers are those of the sandbox, in this process; they tell what is open and what is left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from benchmarks.truth.asking import Place, line
from benchmarks.truth.ours import running_penstock
from benchmarks.truth.probing import CHAT, Result
from penstock.sandbox import Sandbox
from penstock.sandbox.server import State

MODELS = {
    "allenai": "allenai/Olmo-3-7B-Instruct",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "h2o": "h2o/falcon-40b",
    "chatui": "chatui/Qwen/Qwen3-8B",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
}
REQUIRED = "closed within 0.2 s; nothing is left there in the end"
_WORDS = "one two " * 25
_PACE = 0.02
_CLEAN = 15.0
"""Seconds for the cleanup; that of Open-Assistant has to wait for the model's last word."""


async def results(leave_limit: float) -> list[Result]:
    """A row for each back end.

    Raises:
        TimeoutError: a question does not reach one, or something is left there.
    """
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(tuple(MODELS), pace=_PACE))
        base_url, _, key = await stack.enter_async_context(
            running_penstock(0, providers=sandbox.providers)
        )
        return [await _row(name, Place.of(base_url), key, sandbox, leave_limit) for name in MODELS]


async def _row(name: str, place: Place, key: str, sandbox: Sandbox, limit: float) -> Result:
    def state() -> State:
        return msgspec.convert(sandbox.state(name), State)

    seen, passed = [], True
    for stream in (True, False):
        took = [await _left(MODELS[name], place, key, state, stream=stream) for _ in range(3)]
        closed, cleaned = (min(times) for times in zip(*took, strict=True))
        passed = passed and closed <= limit
        form = "stream" if stream else "whole"
        seen.append(f"{form}: closed after {closed * 1e3:.0f} ms, clean after {cleaned * 1e3:.0f}")
    return Result(f"caller leaves, {name}", REQUIRED, passed, "; ".join(seen))


async def _left(
    model: str, place: Place, key: str, state: Callable[[], State], *, stream: bool
) -> tuple[float, float]:
    """Ask and leave; seconds until the stream is closed there, and until nothing is left."""
    turn = [{"role": "user", "content": _WORDS}]
    body: Mapping[str, Any] = {"model": model, "messages": turn, "stream": stream}
    given = {"authorization": f"Bearer {key}"}
    async with line(place, "POST", CHAT, json.dumps(body).encode(), given) as sent:
        if stream:
            await sent.until(b"two")
        await _until(lambda: state().runs.running > 0)
        left = sent.leave()
        closed = await _until(lambda: not state().open_streams)
        clean = await _until(lambda: not (state().runs.running or state().conversations.left))
    return closed - left, clean - left


async def _until(condition: Callable[[], bool]) -> float:
    """The instant at which it holds.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(_CLEAN):
        while not condition():  # noqa: ASYNC110 - a server tells its state, and no changes of it
            await asyncio.sleep(0.001)
    return asyncio.get_running_loop().time()
