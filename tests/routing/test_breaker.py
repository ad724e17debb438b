"""The breaker: its states as a table, and that it holds over any sequence of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.routing import BreakerRules
from penstock.errors import KINDS, Kind, StreamTimeoutError, error_of
from penstock.routing.breaker import (
    CLOSED,
    Closed,
    HalfOpen,
    Open,
    State,
    allows,
    answered,
    blames_server,
    entered,
    failed,
    left,
    remaining,
    succeeded,
    word,
)

RULES = BreakerRules(failures=3, requests=10, error_rate=0.5, window=60, open=30, open_most=100)


def after(outcomes: str, state: State = CLOSED, now: float = 0.0, step: float = 1.0) -> State:
    """The state after requests that ended well (``.``) or failed (``x``), one a second."""
    for outcome in outcomes:
        now += step
        ended_well = outcome == "."
        state = (
            succeeded(state, RULES, now) if ended_well else failed(state, RULES, now, probe=False)
        )
    return state


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("", False),
        ("xx", False),
        ("xxx", True),
        ("xx.xx", False),
        ("xx.xxx", True),
        (".x.x.x.x.x.x", True),  # half of them
        (".x.x.x.x", False),  # too few to tell
        ("..x..x..x..x..x", False),  # a third
    ],
)
def test_failures_in_a_row_or_a_share_of_them_open_it(outcomes: str, opens: bool) -> None:
    assert isinstance(after(outcomes), Open) == opens


def test_the_share_forgets_what_is_long_ago() -> None:
    old = after(".x.x.x.x")
    assert isinstance(after(".x.x", old, now=8.0), Open)
    assert isinstance(after(".x.x", old, now=600.0), Closed)


def test_open_keeps_requests_away_until_its_time_then_lets_one_through() -> None:
    state = after("xxx", now=7.0)
    assert state == Open(until=40.0, opened=1)
    assert (allows(state, 39.9), remaining(state, 30.0)) == (False, 10.0)
    assert allows(state, 40.0)
    probing = entered(state)
    assert probing == HalfOpen(opened=1)
    assert not allows(probing, 999.0)
    assert remaining(probing, 999.0) == 0.0


def test_the_probe_closes_it_with_its_first_piece() -> None:
    assert answered(HalfOpen(2), probe=True) == Closed(opened=2)
    assert answered(HalfOpen(2), probe=False) == HalfOpen(2)


def test_each_reopening_doubles_the_time_up_to_the_most_until_an_answer_ends_well() -> None:
    state: State = after("xxx")
    now, waits = 3.0, []
    for _ in range(4):
        assert isinstance(state, Open)
        waits.append(state.until - now)
        now = state.until
        state = failed(entered(state), RULES, now, probe=True)
    assert waits == [30, 60, 100, 100]
    well = succeeded(answered(entered(state), probe=True), RULES, now)
    assert well == Closed(ended=1.0, at=now)
    again = after("xxx", well, now)
    assert isinstance(again, Open)
    assert again.until - (now + 3) == 30


def test_a_server_that_breaks_off_after_the_first_piece_opens_it_for_longer_each_time() -> None:
    state = answered(HalfOpen(1), probe=True)
    state = after("xxx", state)
    assert state == Open(until=3.0 + 60.0, opened=2)


def test_a_probe_that_its_caller_left_says_nothing_and_the_next_may_go_at_once() -> None:
    state = left(HalfOpen(3), 50.0, probe=True)
    assert state == Open(until=50.0, opened=3)
    assert allows(state, 50.0)
    assert left(HalfOpen(3), 50.0, probe=False) == HalfOpen(3)
    assert left(CLOSED, 50.0, probe=False) == CLOSED


@pytest.mark.parametrize("state", [Open(99.0, 1), HalfOpen(1)])
def test_requests_that_began_before_it_opened_change_nothing(state: State) -> None:
    assert succeeded(state, RULES, 50.0) == state
    assert failed(state, RULES, 50.0, probe=False) == state


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_the_server_is_blamed(kind: Kind) -> None:
    """One upstream 401 or 404 hits that request alone."""
    caller = {
        "auth",
        "payment",
        "forbidden",
        "captcha",
        "moderation",
        "unknown_model",
        "not_found",
        "bad_request",
        "context_length",
        "too_large",
        "rate_limited",
        "config",
        "cancelled",
    }
    assert blames_server(error_of(kind, "x")) == (kind not in caller)


@pytest.mark.parametrize(("phase", "blamed"), [("total", False), ("idle", True)])
def test_the_callers_limit_on_the_whole_is_not_the_servers_fault(phase: str, blamed: bool) -> None:
    error = StreamTimeoutError("late")
    error.phase = phase
    assert blames_server(error) == blamed


Step = tuple[str, float]
steps = st.lists(
    st.tuples(st.sampled_from(["enter", "ok", "bad", "leave", "probe-ok"]), st.floats(0, 50))
)


@given(steps)
def test_over_any_sequence_it_holds_what_it_says(taken: list[Step]) -> None:
    """At most one probe at a time; never open for longer than the most; words fit the state."""
    state: State = CLOSED
    now = 0.0
    for what, wait in taken:
        now += wait
        probe = isinstance(state, HalfOpen)
        before = state
        if what == "enter" and allows(state, now):
            state = entered(state)
        elif what == "ok":
            state = succeeded(state, RULES, now)
        elif what == "bad":
            state = failed(state, RULES, now, probe=probe)
        elif what == "leave":
            state = left(state, now, probe=probe)
        elif what == "probe-ok":
            state = answered(state, probe=probe)
        if isinstance(state, Open):
            assert state.until - now <= RULES.open_most
        if isinstance(before, HalfOpen) and isinstance(state, HalfOpen):
            assert what in ("enter", "ok")
            assert not allows(state, now)
        assert word(state) == {Closed: "closed", Open: "open", HalfOpen: "half_open"}[type(state)]
