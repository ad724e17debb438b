"""An answer left at every place it can be left at, over real sockets, for every back end.

faults.md rows 56 to 59: whatever the step, the connection is freed, no task of ours is left, and
nothing is left on the remote side.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from types import AsyncGeneratorType

import pytest

from penstock.errors import StreamCancelledError
from tests.places import MODELS, Place, place
from tests.steps import cancelled_at

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
