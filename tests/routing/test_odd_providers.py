"""Targets that do what none should, and streams that another task leaves in the meantime."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.config.routing import Pool, Routing, TargetLimits
from penstock.errors import ModelError, NetworkError, PenstockError, StreamCancelledError
from penstock.observe import AttemptEnded, RequestEnded
from penstock.provider import Batch
from penstock.testing.scripted import Hold, Script
from penstock.types import Finished, Text
from tests.routing.stage import REQUEST, Stage


class Odd:
    """A provider that opens, says and closes as it is told.

    Attributes:
        open: contexts entered and not left.
    """

    def __init__(
        self,
        *batches: Sequence[Any],
        opening: Hold | None = None,
        reading: Hold | None = None,
        closing: PenstockError | None = None,
    ) -> None:
        self.open = 0
        self._batches = batches
        self._opening = opening
        self._reading = reading
        self._closing = closing

    @asynccontextmanager
    async def stream(self, _: object) -> AsyncIterator[AsyncIterator[Batch]]:
        if self._opening is not None:
            await self._opening._pass()
        self.open += 1
        try:
            yield self._said()
        finally:
            self.open -= 1
            if self._closing is not None:
                raise self._closing

    async def _said(self) -> AsyncIterator[Batch]:
        if self._reading is not None:
            await self._reading._pass()
            raise NetworkError("the connection is closed")
        for batch in self._batches:
            yield batch


def stage_of(odd: Odd, **rules: Any) -> Stage:
    """``a`` is the odd one; ``b`` says ``b``."""
    stage = Stage({"a": [], "b": [["b"]]}, **rules)
    stage.providers["a"] = odd  # type: ignore[assignment]
    return stage


async def test_a_target_that_ends_without_an_end_is_passed_by_before_its_first_piece() -> None:
    stage = stage_of(Odd())
    assert (await stage.read())[0] == "b"
    assert stage.told(AttemptEnded)[0].kind == "protocol"


async def test_a_target_that_ends_without_an_end_is_at_fault_after_it() -> None:
    stage = stage_of(Odd([Text("a")], [], [Text("a")]))
    error, _ = await stage.fail()
    assert (error.kind, error.provider) == ("protocol", "a")
    assert stage.told(AttemptEnded)[0].tokens == 2
    stage.nothing_left()


async def test_a_cleanup_that_fails_is_told_to_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """faults.md row 69: the answer is kept."""
    stage = stage_of(Odd([Text("a")], [Finished()], closing=ModelError("no such conversation")))
    with caplog.at_level(logging.WARNING, "penstock.routing"):
        assert (await stage.read())[0] == "a"
    assert "a cleanup failed: no such conversation" in caplog.text
    assert stage.told(RequestEnded)[0].kind is None


@pytest.mark.parametrize("model", ["both", "a/m"])
async def test_one_left_while_it_is_opened_is_closed_as_soon_as_it_is_open(model: str) -> None:
    hold = Hold()
    odd = Odd([Text("a")], [Finished()], opening=hold)
    stage = stage_of(odd)
    routed = stage.router.stream(model, REQUEST)
    async with asyncio.TaskGroup() as group:
        entering = group.create_task(_cancelled(routed.__aenter__()))
        await hold.reached()
        await routed.__aexit__(None, None, None)
        hold.release()
        await entering
    assert odd.open == 0
    assert stage.asked() == "a"


@pytest.mark.parametrize("model", ["both", "a/m"])
async def test_one_left_while_it_is_read_asks_nobody_else(model: str) -> None:
    hold = Hold()
    odd = Odd(reading=hold)
    stage = stage_of(odd, retries=3)
    routed = stage.router.stream(model, REQUEST)
    batches = await routed.__aenter__()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_cancelled(anext(batches)))
        await hold.reached()
        await routed.__aexit__(None, None, None)
        hold.release()
        await reading
    assert (odd.open, stage.asked()) == (0, "a")
    assert routed.route.failures == ()
    assert [end.kind for end in stage.told(AttemptEnded)] == ["cancelled"]


async def test_one_left_while_it_waits_for_its_turn_takes_none() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"], ["never"]]}, limits={"a/m": TargetLimits(concurrency=1)})
    waiting = stage.router.stream("a/m", REQUEST)
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.read("a/m"))
        await hold.reached()
        entering = group.create_task(_cancelled(waiting.__aenter__()))
        await asyncio.sleep(0)
        await waiting.__aexit__(None, None, None)
        hold.release()
        await entering
    assert len(stage.providers["a"].asked) == 1
    standing = stage.router._standings.of(stage.router.plan("a/m").targets[0])
    assert standing is not None
    assert standing.under_way == 0


async def _cancelled(work: Any) -> None:
    with pytest.raises(StreamCancelledError):
        await work


async def test_new_limits_replace_the_old_ones_and_keep_their_count() -> None:
    hold = Hold()
    scripts: dict[str, list[Script]] = {"a": [[hold, "1"], ["2"], ["3"]], "b": [["b"]] * 3}
    stage = Stage(scripts, limits={"a/m": TargetLimits(concurrency=2, wait=0)})
    pools = {"both": Pool(targets=("a/m", "b/m"))}
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.read())
        await hold.reached()
        tight = TargetLimits(concurrency=1, wait=0)
        stage.router.adopt(Routing(pools=pools, targets={"a/m": tight}))
        assert (await stage.read())[0] == "b"
        stage.router.adopt(Routing(pools=pools))
        assert (await stage.read())[0] == "2"
        hold.release()
    assert stage.router.breakers() == {"a/m": "closed", "b/m": "closed"}
