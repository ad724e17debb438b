"""The limits of a target: exact in any minute, first come first served, nothing lost."""

from __future__ import annotations

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.routing import TargetLimits
from penstock.routing.limits import MINUTE, Gate, Waiter, Window, tokens_of, turn, useful
from penstock.types import ChatRequest, Message, Sampling
from tests.routing.warp import in_no_time

# -- the window ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 9, 60, 1000])
def test_all_of_a_minute_may_come_at_once_and_then_nothing_until_it_is_over(limit: int) -> None:
    window = Window(limit)
    for number in range(limit):
        assert window.left(1000.0) == limit - number
        assert window.delay(1000.0) == 0.0
        window.take(1000.0)
    assert (window.left(1000.0), window.delay(1000.0), window.full_in(1000.0)) == (0, 60.0, 60.0)
    assert window.delay(1059.9) == pytest.approx(0.1)
    assert (window.delay(1060.0), window.left(1060.0), window.full_in(1060.0)) == (0.0, limit, 0.0)


@given(st.integers(1, 200), st.lists(st.floats(0, 20), max_size=300))
def test_never_more_than_the_limit_in_any_minute(limit: int, gaps: list[float]) -> None:
    window, now = Window(limit), 1000.0
    taken: list[float] = []
    for gap in gaps:
        now += gap / limit
        if window.delay(now) == 0.0:
            window.take(now)
            taken.append(now)
    for begin in taken:
        assert sum(begin <= at < begin + MINUTE - 1e-5 for at in taken) <= limit


@pytest.mark.parametrize("limit", [1, 7, 60, 2000])
def test_after_the_delay_it_is_free_and_all_of_the_limit_can_be_used(limit: int) -> None:
    window, now = Window(limit), 1000.0
    end, count = now + 600.0, 0
    while now < end:
        assert window.delay(now) == 0.0
        window.take(now)
        count += 1
        now += window.delay(now)
    assert count == 10 * limit


def test_what_is_remembered_is_bounded() -> None:
    window = Window(1_000_000)
    for number in range(100_000):
        window.take(1000.0 + number / 1000)
    assert len(window._known) <= 257


def test_more_than_the_limit_waits_until_all_is_free_and_is_then_taken_whole() -> None:
    window = Window(1000)
    window.take(1000.0, 500.0)
    assert window.delay(1000.0, 5000.0) == 60.0
    assert window.delay(1060.0, 5000.0) == 0.0
    window.take(1060.0, 5000.0)
    assert window.delay(1119.0) == pytest.approx(1.0)


def test_what_was_taken_too_much_is_given_back_and_too_little_is_taken_later() -> None:
    window = Window(1000)
    window.take(1000.0, 300.0)
    window.take(1010.0, 700.0)
    window.correct(-800.0)
    assert window.left(1010.0) == 800
    window.correct(+900.0)
    assert (window.left(1010.0), window.delay(1010.0)) == (0, 50.0)
    window.correct(-5000.0)
    assert window.left(1010.0) == 1000


@pytest.mark.parametrize(
    ("delays", "left", "wait"),
    [
        ([3.0, 2.0], 10.0, 2.0),
        ([3.0, inf], 10.0, 3.0),
        ([30.0], 10.0, None),
        ([30.0, inf], 10.0, 10.0),
        ([], 10.0, None),
    ],
)
def test_which_delay_is_worth_waiting_for(
    delays: list[float], left: float, wait: float | None
) -> None:
    assert useful(delays, left) == wait


def test_a_request_is_weighed_by_its_text_and_the_answer_it_allows() -> None:
    messages = (Message(role="user", content="x" * 400), Message(role="user", content="y" * 40))
    request = ChatRequest(model="m", messages=messages, sampling=Sampling(max_tokens=50))
    assert tokens_of(request) == 160


# -- the gate --------------------------------------------------------------------------------------


class Visit:
    """Requests through one gate, in a loop whose time costs nothing."""

    def __init__(self, limits: TargetLimits) -> None:
        self.gate = Gate(limits)
        self.order: list[str] = []
        self.most = 0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def go(self, name: str, lasts: float, patience: float = 1000.0) -> bool:
        def look(waiter: Waiter, left: float) -> float | None:
            delay = self.gate.delay(self.now, 0.0, waiter)
            if delay == 0.0:
                self.gate.take(self.now, 0.0)
            return useful([delay], left) if delay else 0.0

        clock = asyncio.get_running_loop().time
        if not await turn(look, [self.gate], clock=clock, patience=patience):
            return False
        self.order.append(name)
        self.most = max(self.most, self.gate.under_way)
        try:
            await asyncio.sleep(lasts)
        finally:
            self.gate.leave()
        return True


def test_as_many_at_a_time_as_allowed_in_the_order_they_came() -> None:
    async def main() -> None:
        visit = Visit(TargetLimits(concurrency=2))
        async with asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(visit.go(name, 5.0 - ord(name) % 3))
        assert "".join(visit.order) == "abcdefgh"
        assert (visit.most, visit.gate.under_way) == (2, 0)

    in_no_time(main())


def test_requests_beyond_a_minute_wait_for_the_next_in_the_order_they_came() -> None:
    async def main() -> None:
        visit = Visit(TargetLimits(rpm=60))
        start = visit.now
        async with asyncio.TaskGroup() as group:
            for number in range(150):
                group.create_task(visit.go(str(number), 0.0))
        assert visit.order == [str(number) for number in range(150)]
        assert visit.now - start == pytest.approx(120.0, rel=0.02)

    in_no_time(main())


def test_one_that_leaves_the_queue_wakes_the_next_and_loses_nothing() -> None:
    async def main() -> None:
        visit = Visit(TargetLimits(concurrency=1))
        async with asyncio.TaskGroup() as group:
            group.create_task(visit.go("a", 10.0))
            impatient = group.create_task(visit.go("b", 1.0, patience=3.0))
            cancelled = group.create_task(visit.go("c", 1.0))
            group.create_task(visit.go("d", 1.0))
            await asyncio.sleep(5.0)
            assert impatient.result() is False
            cancelled.cancel()
        assert visit.order == ["a", "d"]
        assert visit.gate.under_way == 0

    in_no_time(main())


def test_one_cancelled_in_the_very_instant_of_its_turn_passes_it_on() -> None:
    async def main() -> None:
        visit = Visit(TargetLimits(concurrency=1))
        async with asyncio.TaskGroup() as group:
            group.create_task(visit.go("a", 10.0))
            next_one = group.create_task(visit.go("b", 1.0))
            group.create_task(visit.go("c", 1.0))
            await asyncio.sleep(10.0)  # "a" leaves now and wakes "b"
            await asyncio.sleep(0)
            next_one.cancel()
        assert visit.order[0] == "a"
        assert visit.order[-1] == "c"
        assert visit.gate.under_way == 0

    in_no_time(main())


def test_new_limits_hold_at_once_and_keep_count() -> None:
    gate = Gate(TargetLimits(concurrency=2))
    gate.take(0.0, 0.0)
    gate.adopt(TargetLimits(concurrency=1))
    assert gate.delay(0.0, 0.0) == inf
    gate.leave()
    assert gate.delay(0.0, 0.0) == 0.0
