"""One stream over several targets: fallback, retry, limits and breakers, as a caller sees them."""

from __future__ import annotations

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ContextLengthError,
    ModelError,
    ModerationError,
    OverloadedError,
    PenstockError,
    ProtocolError,
    RateLimitError,
    TruncatedError,
)
from penstock.observe import AttemptEnded, Failure, RequestEnded, Route
from penstock.types import Finished, Started, Text, Usage, Waiting
from tests.routing.stage import REQUEST, Stage, text_of


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


async def test_waiting_is_handed_on_and_does_not_commit() -> None:
    queue = Waiting("queue", position=2)
    stage = Stage({"a": [[queue, OverloadedError("gave up")]], "b": [["fine"]]})
    async with stage.router.stream("both", REQUEST) as batches:
        seen = [batch async for batch in batches]
    assert list(seen[0]) == [queue]
    assert "".join(map(text_of, seen)) == "fine"
    stage.nothing_left()


async def test_eager_entering_waits_for_content_and_keeps_the_begin() -> None:
    begin, end = Started(id="2"), Finished(usage=Usage(total_tokens=7))
    stage = Stage({"a": [[Started(id="1"), ModelError("died")]], "b": [[begin, "fine", end]]})
    routed = stage.router.stream("both", REQUEST)
    async with routed as batches:
        assert routed.route.target == "b/m"
        seen = [list(batch) async for batch in batches]
    assert seen == [[begin, Text("fine")], [end]]
    assert stage.told(AttemptEnded)[1].usage == Usage(total_tokens=7)


async def test_lazy_entering_hands_everything_on_as_it_comes() -> None:
    begin = Started(id="1")
    stage = Stage({"a": [[begin, "fine"]], "b": []})
    async with stage.router.stream("both", REQUEST, eager=False) as batches:
        assert [list(batch) async for batch in batches][:2] == [[begin], [Text("fine")]]


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


async def test_a_target_that_asked_for_a_pause_comes_last() -> None:
    stage = Stage({"a": [[RateLimitError("slow", retry_after=30.0)], ["a"]], "b": [["b"]] * 3})
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
