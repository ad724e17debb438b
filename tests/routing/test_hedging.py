"""A second target is asked when the first is slow: who wins, who is left, what is raised."""

from __future__ import annotations

import asyncio

import pytest

from penstock.errors import BadRequestError, ModelError, OverloadedError
from penstock.observe import AttemptEnded
from penstock.routing.policy import RESERVE
from penstock.testing.scripted import Hold, Pause, Script
from penstock.types import Started, Text, Waiting
from tests.routing.stage import REQUEST, Stage
from tests.routing.warp import in_no_time

AFTER = 1.5


def stage_of(a: Script, b: Script, *more: Script) -> Stage:
    scripts: dict[str, list[Script]] = {"a": [a], "b": [b]}
    for name, script in zip("cd", more, strict=False):
        scripts[name] = [script]
    return Stage(scripts, clock=lambda: asyncio.get_running_loop().time(), hedge=AFTER)


def ends(stage: Stage) -> list[tuple[str, str | None]]:
    return [(end.target[0], end.kind) for end in stage.told(AttemptEnded)]


def answered(stage: Stage, model: str = "both") -> tuple[str, int]:
    """The text and the number of tries, in no time."""

    async def main() -> tuple[str, int]:
        text, routed = await stage.read(model)
        stage.nothing_left()
        return text, routed.route.attempts

    return in_no_time(main())


def test_a_quick_first_target_is_the_only_one_asked() -> None:
    stage = stage_of([Pause(1.4), "a", Pause(60), "a"], ["b"])
    assert answered(stage) == ("aa", 1)


def test_the_second_wins_where_the_first_is_slower_still_and_the_first_is_left() -> None:
    stage = stage_of([Pause(10), "a"], [Pause(2), "b", Pause(60), "b"])
    assert answered(stage) == ("bb", 2)
    assert ends(stage) == [("a", "cancelled"), ("b", None)]
    assert stage.providers["a"].asked[0].end == "left"


def test_the_first_wins_where_the_second_is_slower_still() -> None:
    stage = stage_of([Pause(2), "a"], [Pause(2), "b"])
    assert answered(stage) == ("a", 2)
    assert ends(stage) == [("b", "cancelled"), ("a", None)]


def test_waiting_is_not_a_piece_and_the_begin_is_kept() -> None:
    queue, begin = Waiting("queue", position=1), Started(id="b")
    first: Script = [queue, Pause(60), "a"]
    second: Script = [queue, begin, Pause(1), "b"]
    stage = stage_of(first, second)

    async def main() -> None:
        async with stage.router.stream("both", REQUEST) as batches:
            assert list(await anext(batches)) == [begin, Text("b")]

    in_no_time(main())
    stage.nothing_left()


def test_a_first_that_fails_early_is_followed_without_a_hedge() -> None:
    stage = stage_of([OverloadedError("full")], [Pause(60), "b"])
    assert answered(stage) == ("b", 2)


def test_a_first_that_fails_while_the_second_works_leaves_it_to_the_second() -> None:
    stage = stage_of([Pause(2), ModelError("died")], [Pause(9), "b"])
    assert answered(stage) == ("b", 2)
    assert ends(stage) == [("a", "model"), ("b", None)]


def test_a_second_that_fails_leaves_it_to_the_first() -> None:
    stage = stage_of([Pause(9), "a"], [Pause(2), ModelError("died")])
    assert answered(stage) == ("a", 2)


def test_both_lanes_go_through_one_list() -> None:
    failing: Script = [Pause(2), ModelError("died")]
    stage = stage_of(failing, failing, [Pause(9), "c"], [Pause(1), "d"])
    assert answered(stage) == ("d", 4)
    assert stage.asked() == "abcd"


def test_where_both_fail_the_error_is_raised() -> None:
    stage = stage_of([Pause(3), OverloadedError("full")], [Pause(3), ModelError("died")])

    async def main() -> str:
        return (await stage.fail())[0].kind

    assert in_no_time(main()) == "model"
    stage.nothing_left()


def test_what_the_caller_alone_can_mend_ends_both() -> None:
    stage = stage_of([Pause(3), BadRequestError("no", status=400)], [Pause(99), "b"])

    async def main() -> float:
        start = asyncio.get_running_loop().time()
        assert (await stage.fail())[0].kind == "bad_request"
        return asyncio.get_running_loop().time() - start

    assert in_no_time(main()) == pytest.approx(3)
    assert sorted(ends(stage)) == [("a", "bad_request"), ("b", "cancelled")]


def test_a_lone_target_and_an_empty_budget_are_not_hedged() -> None:
    stage = stage_of([Pause(10), "a"], ["b"])
    assert answered(stage, "a/m") == ("a", 1)
    spent = Stage(
        {"a": [[Pause(10), "a"]] * 20, "b": [["b"]] * 20},
        hedge=AFTER,
        clock=lambda: asyncio.get_running_loop().time(),
    )

    async def main() -> int:
        return sum([(await spent.read())[1].route.attempts - 1 for _ in range(20)])

    assert RESERVE <= in_no_time(main()) <= RESERVE + 3


def test_a_caller_that_leaves_in_the_race_leaves_both() -> None:
    holds = Hold(), Hold()
    stage = stage_of([holds[0], "a"], [holds[1], "b"])

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(stage.read())
            await holds[0].reached()
            await holds[1].reached()
            reading.cancel()
        assert reading.cancelled()

    in_no_time(main())
    assert sorted(ends(stage)) == [("a", "cancelled"), ("b", "cancelled")]
    stage.nothing_left()


def test_both_ready_in_the_same_instant_give_one_answer() -> None:
    stage = stage_of([Pause(3.5), "a"], [Pause(2), "b"])
    text, attempts = answered(stage)
    assert text in ("a", "b")
    assert attempts == 2


def test_a_fault_of_the_program_comes_out_as_it_is() -> None:
    stage = stage_of([Pause(60), "a"], [])
    stage.providers["b"].stream = None  # type: ignore[assignment, method-assign]

    async def main() -> None:
        with pytest.raises(TypeError):
            await stage.read()

    in_no_time(main())
    assert stage.providers["a"].open == 0
