"""One stream over several targets: fallback, retry, limits and breakers, as a caller sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from penstock.config.routing import BreakerRules, Pool, Routing, TargetLimits
from penstock.errors import (
    AuthError,
    BadRequestError,
    ContextLengthError,
    ModelError,
    ModerationError,
    NetworkError,
    OverloadedError,
    PenstockError,
    ProtocolError,
    RateLimitError,
    TruncatedError,
)
from penstock.observe import AttemptEnded, AttemptStarted, Failure, RequestEnded, Route
from penstock.provider import EventStream, Provider
from penstock.routing.router import Router
from penstock.routing.standing import MOST
from penstock.testing.scripted import Hold, Script, ScriptedProvider
from penstock.types import ChatRequest, Conversation, Finished, Started, Text, Usage, Waiting
from tests.routing.stage import REQUEST, Stage, text_of

Limits = Mapping[str, float | None] | None


async def test_the_first_target_answers() -> None:
    stage = Stage({"a": [["Hel", "lo"]], "b": []})
    text, routed = await stage.read()
    assert text == "Hello"
    assert routed.route == Route("a/m", 1)
    assert stage.providers["a"].asked[0].request.model == "m"
    stage.nothing_left()


async def test_a_target_of_its_own_needs_no_pool() -> None:
    stage = Stage({"a": [["x"], ["y"]]})
    assert (await stage.read("a/other/model"))[0] == "x"
    assert stage.providers["a"].asked[0].request.model == "other/model"
    assert (await stage.read("first"))[0] == "y"


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("full"),
        RateLimitError("slow down", retry_after=99.0),
        AuthError("key"),
        ContextLengthError("too long", status=400),
        BadRequestError("this provider takes no images", param="images"),
        ModelError("died"),
        ProtocolError("html"),
        TruncatedError("cut"),
    ],
)
async def test_a_failure_before_the_first_piece_goes_to_the_next(error: PenstockError) -> None:
    stage = Stage({"a": [[Started(id="1"), error]], "b": [["fine"]]})
    text, routed = await stage.read()
    assert text == "fine"
    assert routed.route == Route("b/m", 2, (Failure("a/m", error.kind, error.message),))
    ends = [(end.target, end.kind, end.committed) for end in stage.told(AttemptEnded)]
    assert ends == [("a/m", error.kind, False), ("b/m", None, True)]
    stage.nothing_left()


@pytest.mark.parametrize(
    "error", [BadRequestError("temperature", status=400), ModerationError("no")]
)
async def test_what_the_caller_alone_can_mend_is_raised(error: PenstockError) -> None:
    stage = Stage({"a": [[error]], "b": [["never"]]})
    raised, routed = await stage.fail()
    assert raised is error
    assert routed.route.attempts == 1
    assert stage.asked() == "a"
    stage.nothing_left()


async def test_after_the_first_piece_a_failure_is_raised() -> None:
    stage = Stage({"a": [["Hel", OverloadedError("full")]], "b": [["never"]]}, retries=3)
    raised, routed = await stage.fail()
    assert raised.kind == "overloaded"
    assert raised.provider == "a"
    assert routed.route == Route("a/m", 1)
    assert stage.told(RequestEnded)[0].kind == "overloaded"
    (end,) = stage.told(AttemptEnded)
    assert (end.kind, end.committed, end.tokens) == ("overloaded", True, 1)
    stage.nothing_left()


async def test_after_a_failure_there_is_nothing_more() -> None:
    stage = Stage({"a": [["Hel", OverloadedError("full")]]})
    async with stage.router.stream("a/m", REQUEST, request_id="r1") as batches:
        assert text_of(await anext(batches)) == "Hel"
        with pytest.raises(OverloadedError):
            await anext(batches)
        with pytest.raises(StopAsyncIteration):
            await anext(batches)
    (end,) = stage.told(AttemptEnded)
    assert end.kind == "overloaded"
    stage.nothing_left()


async def test_waiting_is_handed_on_and_does_not_commit() -> None:
    queue = Waiting("queue", position=2)
    stage = Stage({"a": [[queue, OverloadedError("gave up")]], "b": [["fine"]]})
    async with stage.router.stream("both", REQUEST) as batches:
        seen = [batch async for batch in batches]
    assert list(seen[0]) == [queue]
    assert "".join(map(text_of, seen)) == "fine"
    stage.nothing_left()


async def test_the_begin_of_a_try_is_handed_on_also_where_it_then_fails() -> None:
    first, begin, end = Started(id="1"), Started(id="2"), Finished(usage=Usage(total_tokens=7))
    stage = Stage({"a": [[first, ModelError("died")]], "b": [[begin, "fine", end]]})
    routed = stage.router.stream("both", REQUEST)
    async with routed as batches:
        assert routed.route.target == "a/m"
        seen = [list(batch) async for batch in batches]
    assert seen == [[first], [begin], [Text("fine")], [end]]
    assert routed.route.target == "b/m"
    assert stage.told(AttemptEnded)[1].usage == Usage(total_tokens=7)


async def test_where_all_fail_the_error_is_the_one_worth_coming_back_for() -> None:
    stage = Stage(
        {"a": [[RateLimitError("slow", retry_after=9.0)]], "b": [[AuthError("wrong key")]]}
    )
    raised, routed = await stage.fail()
    assert raised.kind == "rate_limited"
    assert raised.retry_after == 9.0
    assert [failure.kind for failure in routed.route.failures] == ["rate_limited", "auth"]


async def test_the_same_target_is_asked_again_where_that_may_help() -> None:
    stage = Stage({"a": [[OverloadedError("full")], [ModelError("died")], ["fine"]]}, retries=2)
    text, routed = await stage.read()
    assert text == "fine"
    assert (stage.asked(), routed.route.attempts) == ("aaa", 3)
    stage.nothing_left()


async def test_retries_end_and_the_next_target_has_its_own() -> None:
    full = OverloadedError("full")
    stage = Stage({"a": [[full]] * 3, "b": [[full], ["fine"]]}, retries=1)
    assert (await stage.read())[0] == "fine"
    assert stage.asked() == "aabb"


async def test_a_longer_wait_than_allowed_goes_to_the_next() -> None:
    stage = Stage({"a": [[RateLimitError("slow", retry_after=11.0)]], "b": [["fine"]]}, retries=1)
    assert (await stage.read())[1].route.attempts == 2
    assert stage.asked() == "ab"


@pytest.mark.parametrize(
    "error",
    [RateLimitError("slow", retry_after=30.0), OverloadedError("loading", retry_after=30.0)],
)
async def test_a_target_that_asked_for_a_pause_comes_last(error: PenstockError) -> None:
    stage = Stage({"a": [[error], ["a"]], "b": [["b"]] * 3})
    for _ in range(2):
        assert (await stage.read())[0] == "b"
    stage.clock.now += 31
    assert (await stage.read())[0] == "a"
    assert stage.asked() == "abba"


async def test_a_provider_without_an_end_is_at_fault() -> None:
    stage = Stage({"a": []})
    raised, _ = await stage.fail("a/m")  # the script is empty: a configuration error of the test
    assert raised.kind == "config"
    stage.nothing_left()


# -- limits and breakers ---------------------------------------------------------------------------

NO_WAIT = TargetLimits(concurrency=1, wait=0)


async def test_a_full_target_is_passed_by() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"], ["a"]], "b": [["b"]]}, limits={"a/m": NO_WAIT})
    async with asyncio.TaskGroup() as group:
        first = group.create_task(stage.read())
        await hold.reached()
        assert (await stage.read())[0] == "b"
        hold.release()
    assert first.result()[0] == "a"
    assert (await stage.read())[0] == "a"


async def test_the_limit_of_a_provider_holds_for_all_its_models() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"]]}, limits={"a": NO_WAIT})
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.read("a/one"))
        await hold.reached()
        raised, routed = await stage.fail("a/two")
        hold.release()
    assert raised.kind == "overloaded"
    assert routed.route == Route(
        "", 0, (Failure("a/two", "overloaded", raised.message, tried=False),)
    )


async def test_a_limit_of_requests_says_when_to_come_back() -> None:
    stage = Stage({"a": [["1"]]}, limits={"a/m": TargetLimits(rpm=1, wait=5)})
    await stage.read("a/m")
    stage.clock.now += 48
    raised, _ = await stage.fail("a/m")
    assert raised.kind == "rate_limited"
    assert raised.retry_after == pytest.approx(12.0)


async def test_a_request_waits_for_its_turn() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"], ["b"]]}, limits={"a/m": TargetLimits(concurrency=1)})
    async with asyncio.TaskGroup() as group:
        first = group.create_task(stage.read("a/m"))
        await hold.reached()
        second = group.create_task(stage.read("a/m"))
        await asyncio.sleep(0)
        assert len(stage.providers["a"].asked) == 1
        hold.release()
    assert (first.result()[0], second.result()[0]) == ("a", "b")


async def test_tokens_are_paid_as_counted() -> None:
    limits = {"a/m": TargetLimits(tpm=400, wait=0)}
    used = Finished(usage=Usage(prompt_tokens=40, completion_tokens=360))
    stage = Stage({"a": [["x", used], ["y"]]}, limits=limits)
    await stage.read("a/m")
    raised, _ = await stage.fail("a/m")
    assert raised.kind == "rate_limited"
    stage.clock.now += raised.retry_after or 0.0
    assert (await stage.read("a/m"))[0] == "y"


async def test_a_breaker_opens_probes_and_closes() -> None:
    down = NetworkError("refused")
    rules = BreakerRules(failures=2, open=30)
    stage = Stage({"a": [[down], [down], [down], ["back"], ["a"]], "b": [["b"]] * 9}, breaker=rules)
    for _ in range(4):
        assert (await stage.read())[0] == "b"
    assert stage.asked() == "ababbb"
    stage.clock.now += 30
    assert (await stage.read())[0] == "b"  # the probe fails: open for 60
    stage.clock.now += 59
    assert (await stage.read())[0] == "b"
    stage.clock.now += 1
    assert (await stage.read())[0] == "back"
    assert stage.breaker_words() == [
        ("a/m", "open"),
        ("a/m", "half_open"),
        ("a/m", "open"),
        ("a/m", "half_open"),
        ("a/m", "closed"),
    ]
    assert stage.router.breakers() == {"a/m": "closed", "b/m": "closed"}


async def test_an_open_breaker_alone_says_when_to_come_back() -> None:
    stage = Stage({"a": [[NetworkError("refused")]]}, breaker=BreakerRules(failures=1))
    await stage.fail("a/m")
    stage.clock.now += 10
    raised, routed = await stage.fail("a/m")
    assert (raised.kind, raised.retry_after) == ("overloaded", 20.0)
    assert routed.route.attempts == 0
    assert stage.asked() == "a"


async def test_one_probe_at_a_time() -> None:
    hold = Hold()
    scripts: dict[str, list[Script]] = {
        "a": [[NetworkError("refused")], [hold, "a"]],
        "b": [["b"]] * 3,
    }
    stage = Stage(scripts, breaker=BreakerRules(failures=1))
    await stage.read()
    stage.clock.now += 31
    async with asyncio.TaskGroup() as group:
        probe = group.create_task(stage.read())
        await hold.reached()
        assert (await stage.read())[0] == "b"
        hold.release()
    assert probe.result()[0] == "a"


async def test_a_probe_that_is_left_makes_way_for_the_next() -> None:
    hold = Hold()
    scripts: dict[str, list[Script]] = {
        "a": [[NetworkError("refused")], [hold], ["a"]],
        "b": [["b"]],
    }
    stage = Stage(scripts, breaker=BreakerRules(failures=1))
    await stage.read()
    stage.clock.now += 31
    async with asyncio.TaskGroup() as group:
        probe = group.create_task(stage.read())
        await hold.reached()
        probe.cancel()
    assert (await stage.read())[0] == "a"


@pytest.mark.parametrize(
    "error",
    [
        AuthError("key", status=401),
        BadRequestError("no", status=400),
        RateLimitError("slow", status=429),
    ],
)
async def test_what_the_server_does_not_do_wrong_opens_nothing(error: PenstockError) -> None:
    stage = Stage({"a": [[error]] * 9}, breaker=BreakerRules(failures=1))
    for _ in range(9):
        assert (await stage.fail("a/m"))[0] is error
    assert stage.breaker_words() == []


async def test_a_target_of_no_pool_has_no_breaker_unless_configured() -> None:
    stage = Stage({"a": [[NetworkError("refused")]] * 9, "b": []})
    for _ in range(9):
        assert (await stage.fail("a/other"))[0].kind == "network"
    assert stage.asked() == "a" * 9


async def test_new_rules_hold_for_the_next_request_and_disturb_none_under_way() -> None:
    hold = Hold()
    stage = Stage({"a": [["x", hold, "y"]], "b": [["b"]]})
    async with asyncio.TaskGroup() as group:
        old = group.create_task(stage.read())
        await hold.reached()
        stage.router.adopt(
            Routing(
                pools={"both": Pool(targets=("a/m", "b/m"))},
                targets={"a/m": TargetLimits(concurrency=1, wait=0)},
            )
        )
        new = await stage.read("both")
        hold.release()
    assert old.result()[0] == "xy"
    assert (new[0], new[1].route.attempts) == ("b", 2)


async def test_names_that_callers_make_up_do_not_grow_what_is_remembered() -> None:
    stage = Stage({"a": [["x"]] * (MOST + 50)}, breaker=BreakerRules())
    for number in range(MOST + 50):
        await stage.read(f"a/{number}")
    assert len(stage.router.breakers()) == MOST
    assert len(stage.router._plans) <= MOST


# -- strategies, timeouts, conversations -----------------------------------------------------------


async def test_round_robin_takes_turns() -> None:
    stage = Stage({"a": [["a"]] * 2, "b": [["b"]] * 2}, strategy="round_robin")
    assert "".join([(await stage.read())[0] for _ in range(4)]) == "abab"


async def test_least_busy_goes_where_least_is_under_way() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"]], "b": [["b"]]}, strategy="least_busy")
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.read())
        await hold.reached()
        assert (await stage.read())[0] == "b"
        hold.release()


async def test_the_pools_limits_go_over_the_providers_and_the_calls_over_those() -> None:
    stage = Stage({"a": [["x"]] * 3}, timeouts={"first_content": 20.0, "idle": 5.0})
    await stage.read()
    await stage.read(timeouts={"idle": None})
    await stage.read("a/m")
    assert stage.timeouts == [
        {"first_content": 20.0, "idle": 5.0},
        {"first_content": 20.0, "idle": None},
        {},
    ]


async def test_the_total_covers_all_tries() -> None:
    stage = Stage({"a": [], "b": [["b"]]}, timeouts={"total": 30.0})

    class Slow:
        def stream(self, request: ChatRequest) -> EventStream:
            stage.clock.now += 12
            raise OverloadedError("full")

    provider_of = stage.provider_of

    def slow_first(name: str, timeouts: Limits = None, /) -> Provider:
        found = provider_of(name, timeouts)
        return Slow() if name == "a" else found  # type: ignore[return-value]

    router = Router(slow_first, stage.routing, clock=stage.clock)
    async with router.stream("both", REQUEST):
        pass
    assert stage.timeouts == [{"total": 30.0}, {"total": 18.0}]


async def test_a_conversation_goes_on_where_it_is_and_nowhere_else() -> None:
    class Own(Conversation):
        """Another provider's."""

    class Other(ScriptedProvider):
        def conversation(self, model: str) -> Conversation:
            return Own(model=model)

    stage = Stage({"a": [["a"]], "b": []})
    stage.providers["b"] = Other(["b"], name="b")
    routed = stage.router.stream(
        "both", msgspec.structs.replace(REQUEST, conversation=Own(model="m", id="1"))
    )
    async with routed as batches:
        assert "".join([text_of(batch) async for batch in batches]) == "b"

    class Foreign(Conversation):
        """Of neither."""

    for other in (Foreign(), Own(model="another")):
        with pytest.raises(BadRequestError, match="no target of both can go on"):
            stage.router.stream("both", msgspec.structs.replace(REQUEST, conversation=other))


# -- what is told ----------------------------------------------------------------------------------


async def test_the_records_tell_times_of_the_given_clock() -> None:
    stage = Stage({"a": [["x"], [NetworkError("refused")]]})
    routed = stage.router.stream("both", REQUEST, request_id="r9")
    async with routed as batches:
        stage.clock.now += 2
        async for _ in batches:
            stage.clock.now += 1
    (begun,), (end,), (request,) = (
        stage.told(AttemptStarted),
        stage.told(AttemptEnded),
        stage.told(RequestEnded),
    )
    assert (begun.request_id, begun.at, begun.attempt) == ("r9", 1000.0, 1)
    assert (end.kind, end.first_content_s, end.duration_s, end.tokens) == (None, 2.0, 3.0, 1)
    assert (request.kind, request.model, request.duration_s) == (None, "both", 4.0)
    assert request.route == routed.route


async def test_a_stream_left_before_its_end_is_told_as_cancelled() -> None:
    stage = Stage({"a": [["x", "y"]]})
    async with stage.router.stream("both", REQUEST) as batches:
        async for _ in batches:
            break
    assert [end.kind for end in stage.told(AttemptEnded)] == ["cancelled"]
    assert [end.kind for end in stage.told(RequestEnded)] == ["cancelled"]
    stage.nothing_left()
