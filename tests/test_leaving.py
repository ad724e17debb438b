"""An answer left at every place it can be left at, over real sockets, for every back end.

faults.md rows 56 to 59: whatever the step, the connection is freed, no task of ours is left, and
nothing is left on the remote side.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import AsyncGeneratorType

import msgspec
import pytest

from penstock import Client, ProviderConfig
from penstock.errors import StreamCancelledError
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.sandbox import Sandbox
from tests.steps import cancelled_at

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
QUICK = Pace(silence=1.0, look_every=0.02, poll=0.005, poll_most=0.01, patience=2.0)


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
            async with asyncio.timeout(5):
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
        return not (conversations["left"] or runs["running"] or state["open_streams"])


@asynccontextmanager
async def place(name: str) -> AsyncIterator[Place]:
    async with (
        Sandbox([name], pace=PACE, options=OPTIONS.get(name)) as sandbox,
        Client(providers=sandbox.providers) as client,
    ):
        if name == "openassistant":  # its waits are long enough for real workers
            config = msgspec.convert({"name": name, **sandbox.providers[name]}, ProviderConfig)
            quick = OpenAssistantProvider(client.session, config, pace=QUICK)
            client._providers[name] = quick
        yield Place(name, sandbox, client)


Work = Callable[[Place], Coroutine[object, object, None]]


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("work", [Place.complete, Place.stream, Place.leave_early])
@pytest.mark.parametrize("name", MODELS)
async def test_a_cancellation_at_any_step_leaves_nothing(
    name: str, work: Work, again: bool
) -> None:
    async with place(name) as here:
        await work(here)  # what is learned once is learned before the steps are counted
        await here.clean()
        step = 1
        while await cancelled_at(work(here), step, again=again):
            await here.clean()
            step += 1
        assert step > 2


@pytest.mark.parametrize("name", MODELS)
async def test_a_first_call_leaves_nothing_either(name: str) -> None:
    """Nothing is known of the server yet, and no connection is open."""
    step = 1
    more = True
    while more:
        async with place(name) as here:
            more = await cancelled_at(here.leave_early(), step)
            await here.clean()
        step += 1
    assert step > 4


@pytest.mark.parametrize("name", MODELS)
async def test_a_limit_around_and_a_sibling_that_fails_leave_nothing(name: str) -> None:
    """faults.md row 59: the exception is the caller's own, the cleanup runs once."""

    async def fail(pieces: asyncio.Event) -> None:
        await pieces.wait()
        raise LookupError("sibling")

    async def follow(pieces: asyncio.Event) -> None:
        async with here.client.stream(here.model, "word " * 200) as answer:
            async for _ in answer.text():
                pieces.set()

    async def beside_a_failure(pieces: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(pieces))
            group.create_task(fail(pieces))

    async def within_a_limit() -> None:
        async with asyncio.timeout(0.05):
            await follow(asyncio.Event())

    async with place(name) as here:
        first = asyncio.Event()
        with pytest.raises(ExceptionGroup) as caught:
            await beside_a_failure(first)
        assert caught.group_contains(LookupError)
        await here.clean()
        with pytest.raises(TimeoutError) as late:
            await within_a_limit()
        assert type(late.value) is TimeoutError
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_closing_while_another_task_reads_ends_that_reading(name: str) -> None:
    """faults.md row 63."""
    async with place(name) as here:
        answer = here.client.stream(here.model, "word " * 200)
        async with answer:
            assert await answer.next_batch()
            reading = asyncio.ensure_future(answer.reply())
            await asyncio.sleep(0)
            await answer.aclose()
        with pytest.raises(StreamCancelledError):
            await reading
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_a_dropped_answer_is_left_by_the_collector(name: str) -> None:
    """faults.md row 60."""
    async with place(name) as here:
        async for _ in here.client.stream(here.model, "word " * 200):
            break
        gc.collect()
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_no_generator_of_a_provider_is_left_to_the_collector(name: str) -> None:
    """Whoever leaves early closes them in order; else the loop makes a task for each."""
    hooks = sys.get_asyncgen_hooks()
    found: list[str] = []

    def finalized(generator: AsyncGenerator[object, None]) -> None:
        assert isinstance(generator, AsyncGeneratorType)
        if "providers" in Path(generator.ag_code.co_filename).parts:
            found.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(firstiter=hooks.firstiter, finalizer=finalized)
    try:
        async with place(name) as here:
            await here.leave_early()
            await here.clean()
            gc.collect()
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert found == []
