"""What must be undone on remote servers, until it is done."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.errors import ResponseStatusError
from penstock.transport import Outbox, shielded


class Undo:
    """An undo that waits for a door and counts how it ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.door = asyncio.Event()
        self.error = error
        self.done = 0
        self.cancelled = 0

    async def __call__(self) -> None:
        try:
            await self.door.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        self.done += 1


async def test_the_caller_waits_for_a_short_undo() -> None:
    outbox, undo = Outbox(), Undo()
    undo.door.set()
    await outbox.settle("p: delete c1", undo)
    assert undo.done == 1
    assert outbox.pending == []


async def test_a_long_undo_goes_on_by_itself() -> None:
    outbox, undo = Outbox(), Undo()
    await outbox.settle("p: delete c1", undo, wait=0.01)
    assert outbox.pending == ["p: delete c1"]
    undo.door.set()
    assert await outbox.drain() == []
    assert undo.done == 1


async def test_wait_zero_hands_over_at_once() -> None:
    outbox, undo = Outbox(), Undo()
    await outbox.settle("p: delete c1", undo, wait=0)
    assert outbox.pending == ["p: delete c1"]
    undo.door.set()
    await outbox.drain()


async def test_a_second_cancellation_does_not_stop_the_undo() -> None:
    """faults.md row 57."""
    outbox, undo = Outbox(), Undo()
    task = asyncio.ensure_future(outbox.settle("p: delete c1", undo, wait=5))
    await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undo.cancelled == 0
    undo.door.set()
    assert await outbox.drain() == []
    assert undo.done == 1


async def test_a_failed_undo_is_logged_and_kept_as_a_fact(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """faults.md row 69: it never replaces the caller's result."""
    outbox, undo = Outbox(), Undo(ResponseStatusError("the server failed", provider="p"))
    undo.door.set()
    with caplog.at_level(logging.WARNING, "penstock.outbox"):
        await outbox.settle("p: delete c1", undo)
    assert outbox.failed == ["p: delete c1"]
    assert "p: delete c1 failed: p: the server failed" in caplog.text


async def test_an_undo_has_a_limit_of_its_own() -> None:
    outbox, undo = Outbox(), Undo()
    await outbox.settle("p: delete c1", undo, wait=1, limit=0.01)
    assert (outbox.failed, undo.cancelled) == (["p: delete c1"], 1)


async def test_draining_gives_up_in_the_end_and_says_what_is_left() -> None:
    outbox, undo = Outbox(), Undo()
    await outbox.settle("p: delete c1", undo, wait=0)
    assert await outbox.drain(0.01) == ["p: delete c1"]
    assert (outbox.failed, outbox.pending, undo.cancelled) == (["p: delete c1"], [], 1)


async def test_only_the_last_failures_are_kept() -> None:
    outbox = Outbox()
    undo = Undo(ResponseStatusError("x"))
    undo.door.set()
    for number in range(105):
        await outbox.settle(f"undo {number}", undo)
    assert len(outbox.failed) == 100
    assert outbox.failed[-1] == "undo 104"


async def test_a_shielded_cleanup_survives_its_caller() -> None:
    undo = Undo()
    task = asyncio.ensure_future(shielded(undo))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    undo.door.set()
    async with asyncio.timeout(1):
        while not undo.done:
            await asyncio.sleep(0)


async def test_a_shielded_cleanup_raises_its_error_in_time() -> None:
    undo = Undo(LookupError("x"))
    undo.door.set()
    with pytest.raises(LookupError):
        await shielded(undo)


@pytest.mark.parametrize("once", [False, True])
def test_the_end_of_the_loop_begins_an_undo_once_more(once: bool) -> None:
    """``asyncio.run`` cancels all tasks at its end; what makes something there is not repeated."""
    begun: list[str] = []
    done: list[str] = []

    async def undo() -> None:
        begun.append("undo")
        await asyncio.sleep(0.05)
        done.append("undo")

    async def main() -> None:
        await Outbox().settle("x: undo", undo, wait=0.01, once=once)

    asyncio.run(main())
    assert len(begun) == (1 if once else 2)
    assert len(done) == (0 if once else 1)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("how", ["settle", "once", "shielded"])
def test_an_undo_whose_task_the_end_of_the_loop_meets_before_its_first_step(
    how: str, turns: int
) -> None:
    """It is done all the same; what makes something is not begun then.

    Without a turn of the loop the task is there, but not begun; after one it was begun.
    """
    seen: list[str] = []

    async def undo() -> None:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("done")

    async def leave() -> None:
        seen.append("left")
        if how == "shielded":
            await shielded(undo)
        else:
            await Outbox().settle("p: delete c1", undo, once=how == "once")

    async def main() -> None:
        leaving.append(asyncio.get_running_loop().create_task(leave()))
        for _ in range(turns):
            await asyncio.sleep(0)

    leaving: list[asyncio.Task[None]] = []
    asyncio.run(main())
    if how == "once" and turns == 0:
        assert seen == ["left"]
    elif how == "once":
        assert seen.count("begun") == 1
    else:
        assert seen[-1] == "done"
