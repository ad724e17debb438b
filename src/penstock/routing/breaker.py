"""The breaker of one target: it keeps requests away from a server that fails.

    closed ──── failures in a row, or a share of failures ───▶ open
    open ────── its time is over, a request comes ───────────▶ half open: that request is the probe
    half open ─ the probe gives a first piece ───────────────▶ closed
    half open ─ the probe fails ─────────────────────────────▶ open, twice as long
    half open ─ the probe is left by its caller ─────────────▶ open, over at once

Laws:
* only failures of the server count; what a caller does wrong, or our credential, never does;
* while half open only the probe counts: older requests end late and say nothing new;
* a failure after the first piece counts, too; the time doubles until an answer has ended well.

States are values and the instant is an argument.
"""

from __future__ import annotations

from math import exp

from penstock.config.routing import BreakerRules
from penstock.errors import PenstockError
from penstock.observe import Breaker
from penstock.types import Value

_BLAMED = frozenset(
    {"server", "overloaded", "model", "timeout", "network", "truncated", "protocol", "redirect"}
)


class Closed(Value, frozen=True):
    """Requests pass.

    Attributes:
        row: failures since the last success.
        ended: requests that ended; they count less the longer it is ago.
        failed: those that failed, counted alike.
        at: the instant of both counts.
        opened: how often it opened since an answer ended well.
    """

    row: int = 0
    ended: float = 0.0
    failed: float = 0.0
    at: float = 0.0
    opened: int = 0


class Open(Value, frozen=True):
    """Requests are kept away until an instant."""

    until: float
    opened: int


class HalfOpen(Value, frozen=True):
    """One request, the probe, is under way to see how things are."""

    opened: int


State = Closed | Open | HalfOpen

CLOSED = Closed()


def blames_server(error: PenstockError) -> bool:
    """True where a failure says that the server fails.

    The limit on the whole call is the caller's wish and says nothing about the server.
    """
    return error.kind in _BLAMED and getattr(error, "phase", None) != "total"


def allows(state: State, now: float) -> bool:
    """Whether a request may go."""
    return isinstance(state, Closed) or (isinstance(state, Open) and now >= state.until)


def remaining(state: State, now: float) -> float:
    """Seconds until a request may go; 0 where that depends on the probe under way."""
    return max(state.until - now, 0.0) if isinstance(state, Open) else 0.0


def entered(state: State) -> State:
    """After a request that was allowed has begun; half open means that it is the probe."""
    return HalfOpen(state.opened) if isinstance(state, Open) else state


def answered(state: State, *, probe: bool) -> State:
    """After the first piece of an answer."""
    if probe and isinstance(state, HalfOpen):
        return Closed(opened=state.opened)
    return state


def succeeded(state: State, rules: BreakerRules, now: float) -> State:
    """After an answer that ended well."""
    if not isinstance(state, Closed):
        return state
    ended, failed = _faded(state, rules, now)
    return Closed(ended=ended + 1.0, failed=failed, at=now)


def failed(state: State, rules: BreakerRules, now: float, *, probe: bool) -> State:
    """After a failure of the server."""
    if isinstance(state, HalfOpen):
        return _opened(state.opened, rules, now) if probe else state
    if isinstance(state, Open):
        return state
    ended, errors = (count + 1.0 for count in _faded(state, rules, now))
    row = state.row + 1
    many = ended >= rules.requests and errors >= rules.error_rate * ended
    if many or row >= rules.failures:
        return _opened(state.opened, rules, now)
    return Closed(row, ended, errors, now, state.opened)


def left(state: State, now: float, *, probe: bool) -> State:
    """After a request that its caller left before it showed anything."""
    return Open(now, state.opened) if probe and isinstance(state, HalfOpen) else state


def word(state: State) -> Breaker:
    """The state's name."""
    if isinstance(state, Closed):
        return "closed"
    return "open" if isinstance(state, Open) else "half_open"


def _opened(before: int, rules: BreakerRules, now: float) -> Open:
    seconds = min(rules.open * 2.0 ** min(before, 60), rules.open_most)
    return Open(now + seconds, before + 1)


def _faded(state: Closed, rules: BreakerRules, now: float) -> tuple[float, float]:
    """The counts as they weigh now: after one window a request weighs 1/e."""
    weight = exp((state.at - now) / rules.window) if now > state.at else 1.0
    return state.ended * weight, state.failed * weight
