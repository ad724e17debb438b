"""What follows a failure: the same target again, the next one, or the error for the caller.

Laws:
* after the commit point, the first piece handed out, a failure is raised, whatever it is;
* what the caller alone can mend is raised at once: no other target would answer otherwise, and
  what one server refuses to say is not asked of another;
* asking again is a loan from a budget that requests pay in, so that a failing server is asked
  little more than a healthy one;
* a server that asks for a pause gets it, or is not asked again.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import PenstockError
from penstock.types import Value

BACKOFF = 0.5
"""Seconds of the first wait, before jitter; each further one is twice as long."""

BACKOFF_MOST = 8.0

SHARE = 0.1
"""What a request pays into the budget. Asking again costs 1."""

RESERVE = 5.0
"""What the budget holds at most, and at first."""

_RAISED = frozenset({"moderation", "not_found", "cancelled"})


class Again(Value, frozen=True):
    """Ask the same target once more after so many seconds."""

    wait: float


class Next(Value, frozen=True):
    """Ask the next target."""


class Stop(Value, frozen=True):
    """Raise the error."""


Step = Again | Next | Stop


class Situation(Value, kw_only=True, frozen=True):
    """What the decision needs to know beside the error.

    Attributes:
        committed: a piece was handed out.
        asked: how often this target was asked so far.
        retries: how often a target may be asked again.
        longest: seconds that a wait may take.
        budget: what the budget holds.
        others: there is a target that was not asked.
        chance: a random number from 0 to 1.
    """

    committed: bool = False
    asked: int = 1
    retries: int = 0
    longest: float = 10.0
    budget: float = RESERVE
    others: bool = False
    chance: float = 1.0


def decide(error: PenstockError, now: Situation) -> Step:
    """What follows ``error``."""
    if now.committed or error.partial or is_final(error):
        return Stop()
    if error.retryable and now.asked <= now.retries and now.budget >= 1.0:
        wait = wait_before(error, now.asked, now.chance)
        if wait <= now.longest:
            return Again(wait)
    return Next() if now.others else Stop()


def is_final(error: PenstockError) -> bool:
    """True where no other target can help.

    A ``bad_request`` without a status is our own refusal, made from what one target can do:
    another one may be able to.
    """
    if error.kind == "bad_request":
        return error.status is not None
    return error.kind in _RAISED


def wait_before(error: PenstockError, asked: int, chance: float) -> float:
    """Seconds before a target is asked again: full jitter, and never less than it asked for."""
    wait = chance * min(BACKOFF * 2.0 ** (asked - 1), BACKOFF_MOST)
    if error.retry_after is None:
        return wait
    return error.retry_after + min(wait, BACKOFF)


def paid_in(budget: float) -> float:
    """The budget after a request."""
    return min(budget + SHARE, RESERVE)


def outcome(errors: Sequence[PenstockError]) -> PenstockError:
    """The error of a request that no target answered: the one that tells the caller most.

    That is the last one after which coming back may help, with the shortest wait that any such
    one named; else the last one. ``errors`` are in order, those of left out targets first.
    """
    passing = [error for error in errors if error.retryable]
    if not passing:
        return errors[-1]
    waits = [error.retry_after for error in passing if error.retry_after is not None]
    last = passing[-1]
    if last.retry_after is not None:
        last.retry_after = min(waits)
    return last
