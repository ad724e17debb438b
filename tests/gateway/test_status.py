"""The counts of the last hour by target, and what ``/api/status`` makes of them."""

from __future__ import annotations

import msgspec
import pytest

from penstock.errors import Kind
from penstock.gateway.status import (
    MOST,
    POINTS,
    STEP,
    Board,
    Counts,
    TargetStatus,
    added,
    providers_of,
)
from penstock.observe import AttemptEnded, AttemptStarted, BreakerChanged


class Clock:
    """An instant that the test moves."""

    def __init__(self) -> None:
        self.now = 100_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def start(board: Board, target: str = "h2o/falcon-40b") -> None:
    board.started(AttemptStarted("r", target, 1, 0.0))


def end(
    board: Board,
    target: str = "h2o/falcon-40b",
    kind: Kind | None = None,
    first: float | None = 0.5,
    duration: float = 2.5,
    tokens: int = 21,
) -> None:
    committed = first is not None
    now = board._clock()
    record = AttemptEnded("r", target, 1, now, kind, first, duration, tokens, None, committed)
    board.ended(record)


def attempt(board: Board, target: str = "h2o/falcon-40b", kind: Kind | None = None) -> None:
    start(board, target)
    if kind is None:
        end(board, target)
    else:
        end(board, target, kind, None, 0.1, 0)


def shown(board: Board, ahead: float = 0.0) -> dict[str, TargetStatus]:
    providers = providers_of(added([board.counts()]), {}, board._clock(), ahead)
    return {target.model: target for provider in providers for target in provider.targets}


def test_a_try_counts_at_its_end_in_the_step_of_that_moment(board: Board, clock: Clock) -> None:
    start(board)
    assert shown(board)["h2o/falcon-40b"].in_flight == 1
    clock.now += 5 * STEP
    end(board)
    clock.now += 2 * STEP
    target = shown(board, 1_000_000.0)["h2o/falcon-40b"]
    assert (target.in_flight, target.requests, target.errors) == (0, 1, {})
    series = target.series
    assert series.end == 1_000_000.0 + clock.now
    assert [at for at, count in enumerate(series.requests) if count] == [POINTS - 3]
    assert series.first_token_ms[POINTS - 3] == 500.0
    assert series.tokens_per_s[POINTS - 3] == 10.0
    assert series.first_token_ms[POINTS - 1] is None
    assert series.tokens_per_s[0] is None
    assert {
        len(series.requests),
        len(series.errors),
        len(series.first_token_ms),
        len(series.tokens_per_s),
    } == {POINTS}


def test_pieces_that_came_at_once_are_no_rate(board: Board) -> None:
    for duration in (0.5, 0.54):
        start(board)
        end(board, first=0.5, duration=duration, tokens=1000)
    assert set(shown(board)["h2o/falcon-40b"].series.tokens_per_s) == {None}


def test_after_an_hour_the_series_is_empty_and_the_sums_stay(board: Board, clock: Clock) -> None:
    attempt(board)
    clock.now += (POINTS - 1) * STEP
    assert shown(board)["h2o/falcon-40b"].series.requests[0] == 1
    clock.now += STEP
    target = shown(board)["h2o/falcon-40b"]
    assert sum(target.series.requests) == 0
    assert target.requests == 1
    clock.now += 10 * POINTS * STEP
    attempt(board)
    assert shown(board)["h2o/falcon-40b"].series.requests == [0] * (POINTS - 1) + [1]


def test_errors_are_told_by_kind_and_a_caller_who_leaves_is_none(board: Board) -> None:
    for kind in ("rate_limited", "rate_limited", "timeout", "cancelled"):
        attempt(board, kind=kind)
    target = shown(board)["h2o/falcon-40b"]
    assert target.errors == {"rate_limited": 2, "timeout": 1}
    assert target.requests == 4
    assert sum(target.series.errors) == 3


def test_made_up_names_are_forgotten_and_known_ones_are_not(board: Board) -> None:
    for number in range(50):
        attempt(board, f"h2o/made-up-{number}", "unknown_model")
    assert board.counts() == []
    attempt(board)
    attempt(board, kind="unknown_model")
    assert shown(board)["h2o/falcon-40b"].errors == {"unknown_model": 1}


def test_the_number_of_targets_is_bounded_and_the_one_idle_longest_goes(board: Board) -> None:
    start(board, "h2o/busy")
    for number in range(MOST + 20):
        attempt(board, f"h2o/{number}")
    names = {counts.name for counts in board.counts()}
    assert len(names) == MOST
    assert "h2o/busy" in names
    assert "h2o/0" not in names
    assert f"h2o/{MOST + 19}" in names


def test_breakers_are_shown_and_configured_targets_also_while_idle(board: Board) -> None:
    board.adopt(["h2o/falcon-40b", "replicate/meta/llama"])
    attempt(board)
    board.changed(BreakerChanged("h2o/falcon-40b", "open"))
    targets = shown(board)
    assert targets["h2o/falcon-40b"].breaker == "open"
    assert (targets["replicate/meta/llama"].breaker, targets["replicate/meta/llama"].requests) == (
        "closed",
        0,
    )
    board.adopt([])
    assert set(shown(board)) == {"h2o/falcon-40b"}


def test_processes_add_up_with_the_worst_breaker_and_means_of_all(clock: Clock) -> None:
    one, other = Board(clock), Board(clock)
    attempt(one)
    attempt(one, kind="server")
    one.changed(BreakerChanged("h2o/falcon-40b", "half_open"))
    start(other)
    clock.now += STEP
    late = Board(clock)
    start(late)
    end(late, first=1.5, duration=2.5, tokens=31)
    parts = [one.counts(), other.counts(), late.counts()]
    sent = [
        msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=list[Counts]) for part in parts
    ]
    (provider,) = providers_of(added(sent), {"h2o": "h2oGPT"}, clock.now, 0.0)
    (target,) = provider.targets
    assert provider.label == "h2oGPT"
    assert (target.breaker, target.in_flight, target.requests) == ("half_open", 1, 3)
    assert target.errors == {"server": 1}
    assert target.series.requests[-2:] == [2, 1]
    assert target.series.first_token_ms[-2:] == [500.0, 1500.0]
    assert target.series.tokens_per_s[-2:] == [10.0, 30.0]


def test_one_that_was_read_a_step_earlier_is_moved_to_its_place(clock: Clock) -> None:
    one, other = Board(clock), Board(clock)
    attempt(one)
    early = one.counts()
    clock.now += STEP
    attempt(other)
    whole = added([early, other.counts()])
    (provider,) = providers_of(whole, {}, clock.now, 0.0)
    assert provider.targets[0].series.requests[-2:] == [1, 1]


def test_providers_without_targets_are_shown_by_their_labels(board: Board) -> None:
    attempt(board)
    providers = providers_of(added([board.counts()]), {"allenai": "Ai2", "h2o": "h2oGPT"}, 0.0, 0.0)
    assert [(one.name, one.label, len(one.targets)) for one in providers] == [
        ("allenai", "Ai2", 0),
        ("h2o", "h2oGPT", 1),
    ]
