"""What follows a failure, as a table."""

from __future__ import annotations

import random

import pytest

from penstock.errors import KINDS, Kind, PenstockError, error_of
from penstock.routing.policy import (
    BACKOFF,
    BACKOFF_MOST,
    RESERVE,
    SHARE,
    Again,
    Next,
    Situation,
    Step,
    Stop,
    decide,
    is_final,
    outcome,
    paid_in,
    wait_before,
)

# The vocabulary of outcomes in wire/README.md says after which of them trying again may help.
PASSING: tuple[Kind, ...] = (
    "rate_limited",
    "overloaded",
    "model",
    "timeout",
    "network",
    "truncated",
)
FINAL: tuple[Kind, ...] = ("moderation", "not_found", "cancelled")
OF_THIS_TARGET: tuple[Kind, ...] = (
    "auth",
    "payment",
    "forbidden",
    "captcha",
    "unknown_model",
    "context_length",
    "too_large",
    "server",
    "protocol",
    "redirect",
    "config",
)
POOL = Situation(retries=1, others=True)
LAST = Situation(retries=0, others=False)


def test_every_kind_of_the_vocabulary_is_in_the_table() -> None:
    assert {*PASSING, *FINAL, *OF_THIS_TARGET, "bad_request"} == KINDS


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_asked_again_then_elsewhere_then_raised(kind: Kind) -> None:
    error = error_of(kind, "it failed")
    assert isinstance(decide(error, POOL), Again)
    assert decide(error, Situation(retries=1, asked=2, others=True)) == Next()
    assert decide(error, Situation(retries=0, others=True)) == Next()
    assert decide(error, LAST) == Stop()


@pytest.mark.parametrize("kind", OF_THIS_TARGET)
def test_what_is_of_this_target_alone_is_asked_of_the_next(kind: Kind) -> None:
    error = error_of(kind, "it failed", status=400)
    assert decide(error, POOL) == Next()
    assert decide(error, LAST) == Stop()


@pytest.mark.parametrize("kind", FINAL)
def test_what_the_caller_alone_can_mend_is_raised(kind: Kind) -> None:
    error = error_of(kind, "it failed")
    assert is_final(error)
    assert decide(error, POOL) == Stop()


@pytest.mark.parametrize(
    ("status", "step"), [(400, Stop()), (422, Stop()), (200, Stop()), (None, Next())]
)
def test_a_bad_request_is_final_unless_it_is_our_own_refusal(
    status: int | None, step: Step
) -> None:
    assert decide(error_of("bad_request", "no", status=status), POOL) == step


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_is_tried_after_the_commit_point(kind: Kind) -> None:
    assert decide(error_of(kind, "x"), Situation(committed=True, retries=9, others=True)) == Stop()
    shown = error_of(kind, "x")
    shown.partial = "The"
    assert decide(shown, POOL) == Stop()


def test_what_a_protocol_forbids_to_repeat_is_not_repeated_there() -> None:
    error = error_of("network", "the request may have run", retryable=False)
    assert decide(error, POOL) == Next()


def test_an_empty_budget_asks_nobody_again() -> None:
    error = error_of("overloaded", "full")
    assert isinstance(decide(error, Situation(retries=1, budget=1.0)), Again)
    assert decide(error, Situation(retries=1, budget=0.99, others=True)) == Next()


def test_the_budget_is_paid_in_by_requests_up_to_its_reserve() -> None:
    assert paid_in(0.0) == SHARE
    assert paid_in(RESERVE - SHARE / 2) == RESERVE


@pytest.mark.parametrize(
    ("asked", "most"),
    [(1, BACKOFF), (2, 2 * BACKOFF), (3, 4 * BACKOFF), (9, BACKOFF_MOST), (99, BACKOFF_MOST)],
)
def test_the_wait_is_anything_up_to_twice_the_one_before(asked: int, most: float) -> None:
    error = error_of("overloaded", "full")
    assert wait_before(error, asked, 0.0) == 0.0
    assert wait_before(error, asked, 1.0) == most
    chance = random.Random(1)
    waits = [wait_before(error, asked, chance.random()) for _ in range(1000)]
    assert 0.4 * most < sum(waits) / len(waits) < 0.6 * most


def test_a_pause_that_the_server_asks_for_is_kept_and_not_by_all_at_the_same_instant() -> None:
    error = error_of("rate_limited", "slow down", retry_after=3.0)
    assert wait_before(error, 1, 0.0) == 3.0
    assert 3.0 < wait_before(error, 1, 0.5) <= 3.0 + BACKOFF


@pytest.mark.parametrize(
    ("retry_after", "step"), [(10.0, Again(10.0)), (10.1, Next()), (0.0, Again(0.0))]
)
def test_a_longer_pause_than_the_callers_limit_is_not_waited_for(
    retry_after: float, step: Step
) -> None:
    error = error_of("rate_limited", "slow down", retry_after=retry_after)
    assert decide(error, Situation(retries=1, others=True, longest=10.0, chance=0.0)) == step


def test_the_outcome_tells_after_which_failure_coming_back_may_help() -> None:
    slow = error_of("rate_limited", "slow", retry_after=30.0)
    full = error_of("overloaded", "full", retry_after=7.0)
    died, key = error_of("model", "died"), error_of("auth", "key")

    def said(*errors: PenstockError) -> PenstockError:
        return outcome(errors)

    assert said(key) is key
    assert said(died, key) is died
    assert said(key, error_of("server", "down"), key) is key
    assert said(slow, died) is died
    assert died.retry_after is None
    assert said(full, slow) is slow
    assert slow.retry_after == 7.0
