"""How each target did over the last hour: what ``GET /api/status`` says, and the page draws.

Laws:
* a target costs a fixed amount of memory, and there are never more than ``MOST`` of them: the one
  that was idle longest makes room;
* a name that only ever was refused is forgotten with its refusal, for callers make up names;
* a caller who leaves is no failure of the target;
* counts of several processes add up: instants are of one clock of the whole machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

import msgspec

from penstock.observe import AttemptEnded, AttemptStarted, Breaker, BreakerChanged

STEP = 10
"""Seconds of one point."""
SHORTEST = 0.05
"""Seconds below which the flow of an answer says nothing of a rate."""
POINTS = 360
"""Points of a series: one hour."""
MOST = 100
"""Targets that are remembered."""

NAMELESS = frozenset({"unknown_model", "not_found", "bad_request", "config"})
"""Kinds that say nothing of a target but that there is none of that name."""
_WORST: tuple[Breaker, ...] = ("open", "half_open", "closed")
_MEASURES = ("requests", "errors", "firsts", "first_s", "tokens", "seconds")
_NOTHING = (0.0,) * len(_MEASURES)
_REQUESTS, _ERRORS, _FIRSTS, _FIRST_S, _TOKENS, _SECONDS = range(len(_MEASURES))


class Series(msgspec.Struct, frozen=True):
    """The last hour of a target in equal steps, the oldest first.

    Attributes:
        step: seconds from one point to the next.
        end: instant of the last point, in seconds since 1970.
        requests: tries that ended.
        errors: those of them that failed.
        first_token_ms: mean time to the first piece; null where none came.
        tokens_per_s: mean rate of pieces after the first; null where nothing was streamed for at
            least ``SHORTEST`` seconds.
    """

    step: int
    end: float
    requests: list[int]
    errors: list[int]
    first_token_ms: list[float | None]
    tokens_per_s: list[float | None]


class TargetStatus(msgspec.Struct, frozen=True):
    """How one target does.

    Attributes:
        model: ``provider/model``.
        in_flight: tries under way.
        requests: tries that ended, since the start.
        errors: kind -> tries that failed so, since the start.
    """

    model: str
    breaker: Breaker
    in_flight: int
    requests: int
    errors: dict[str, int]
    series: Series


class ProviderStatus(msgspec.Struct, frozen=True):
    """The targets of one provider that were asked, or are configured."""

    name: str
    label: str
    targets: list[TargetStatus]


class Status(msgspec.Struct, frozen=True):
    """What ``GET /api/status`` answers.

    Attributes:
        now: the gateway's clock, in seconds since 1970.
        uptime: seconds since it started.
        open_streams: answers under way.
    """

    version: str
    now: float
    uptime: float
    open_streams: int
    providers: list[ProviderStatus]


class Counts(msgspec.Struct, frozen=True):
    """What one process knows of a target; travels between processes.

    Attributes:
        points: step of the machine's clock -> sums of what happened in it, one for each of
            ``_MEASURES``; without those in which nothing did.
    """

    name: str
    breaker: Breaker
    in_flight: int
    requests: int
    errors: dict[str, int]
    points: dict[int, list[float]]


class _Hour:
    """Sums for the last ``POINTS`` steps; a step in which nothing happened takes no room."""

    def __init__(self) -> None:
        self._points: dict[int, list[float]] = {}

    def at(self, slot: int) -> list[float]:
        """The sums of a step, to add to."""
        point = self._points.get(slot)
        if point is None:
            if len(self._points) >= POINTS:
                self._points = {at: sums for at, sums in self._points.items() if at > slot - POINTS}
            point = self._points[slot] = [0.0] * len(_MEASURES)
        return point

    def since(self, slot: int) -> dict[int, list[float]]:
        """The steps after ``slot`` in which something happened."""
        return {at: sums for at, sums in self._points.items() if at > slot}


class _Target:
    """What is known of one target."""

    __slots__ = ("answered", "breaker", "errors", "hour", "in_flight", "requests")

    def __init__(self) -> None:
        self.breaker: Breaker = "closed"
        self.in_flight = 0
        self.requests = 0
        self.answered = False
        self.errors: Counter[str] = Counter()
        self.hour = _Hour()


class Board:
    """Counts for every target; to be told of tries and breakers as they happen.

    Args:
        clock: seconds of a clock that all processes of the machine share.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._targets: dict[str, _Target] = {}
        self._configured: frozenset[str] = frozenset()

    def adopt(self, configured: Iterable[str]) -> None:
        """Show these targets also while nobody has asked them."""
        self._configured = frozenset(configured)

    def started(self, record: AttemptStarted) -> None:
        """A try begins."""
        self._of(record.target).in_flight += 1

    def ended(self, record: AttemptEnded) -> None:
        """A try ended."""
        target = self._of(record.target)
        kind = record.kind
        if target.in_flight:
            target.in_flight -= 1
        target.requests += 1
        if kind is None or record.committed:
            target.answered = True
        failed = kind is not None and kind != "cancelled"
        if kind is not None and failed:
            target.errors[kind] += 1
            known = target.answered or target.in_flight or record.target in self._configured
            if kind in NAMELESS and not known:
                del self._targets[record.target]
                return
        point = target.hour.at(int(record.at // STEP))
        point[_REQUESTS] += 1
        point[_ERRORS] += failed
        if (first := record.first_content_s) is None:
            return
        point[_FIRSTS] += 1
        point[_FIRST_S] += first
        flowing = record.duration_s - first
        # The pieces of a whole answer come at once: no rate can be read from them.
        if flowing >= SHORTEST and record.tokens > 1:
            point[_TOKENS] += record.tokens - 1
            point[_SECONDS] += flowing

    def changed(self, record: BreakerChanged) -> None:
        """A breaker went to another state."""
        self._of(record.target).breaker = record.state

    def breakers(self) -> dict[str, Breaker]:
        """Target -> state of its breaker."""
        return {name: target.breaker for name, target in self._targets.items()}

    def in_flight(self) -> dict[str, int]:
        """Target -> tries under way."""
        return {name: target.in_flight for name, target in self._targets.items()}

    def counts(self) -> list[Counts]:
        """Everything, for this process or another to add up."""
        ago = int(self._clock() // STEP) - POINTS
        idle = {name: _Target() for name in self._configured - self._targets.keys()}
        return [
            Counts(
                name,
                target.breaker,
                target.in_flight,
                target.requests,
                dict(target.errors),
                target.hour.since(ago),
            )
            for name, target in (self._targets | idle).items()
        ]

    def _of(self, name: str) -> _Target:
        """The target of that name, now the one that was heard of last."""
        target = self._targets.pop(name, None)
        if target is None:
            if len(self._targets) >= MOST:
                self._forget_one()
            target = _Target()
        self._targets[name] = target
        return target

    def _forget_one(self) -> None:
        idle = (name for name, target in self._targets.items() if not target.in_flight)
        name = next(idle, None)
        if name is not None:
            del self._targets[name]


def added(counts: Iterable[Sequence[Counts]]) -> dict[str, Counts]:
    """The counts of several processes as those of one: target -> counts."""
    whole: dict[str, Counts] = {}
    for part in counts:
        for one in part:
            known = whole.get(one.name)
            whole[one.name] = one if known is None else _sum(known, one)
    return whole


def _sum(one: Counts, other: Counts) -> Counts:
    points = dict(one.points)
    for at, sums in other.points.items():
        points[at] = [a + b for a, b in zip(points.get(at, _NOTHING), sums, strict=True)]
    return Counts(
        one.name,
        min(one.breaker, other.breaker, key=_WORST.index),
        one.in_flight + other.in_flight,
        one.requests + other.requests,
        dict(Counter(one.errors) + Counter(other.errors)),
        points,
    )


def providers_of(
    counts: Mapping[str, Counts], labels: Mapping[str, str], now: float, ahead: float
) -> list[ProviderStatus]:
    """The counts by provider, both in the order of their names.

    Args:
        labels: name of a provider -> how people call it; those without targets are shown empty.
        now: instant of the clock of the counts; the last point is that of its step.
        ahead: seconds by which the clock on the wall is ahead of it.
    """
    by_name: dict[str, list[TargetStatus]] = {name: [] for name in labels}
    for name in sorted(counts):
        one = counts[name]
        series = _series(one.points, int(now // STEP), ahead)
        by_name.setdefault(name.partition("/")[0], []).append(
            TargetStatus(name, one.breaker, one.in_flight, one.requests, one.errors, series)
        )
    return [
        ProviderStatus(name, labels.get(name, name), targets)
        for name, targets in sorted(by_name.items())
    ]


def _series(points: Mapping[int, list[float]], last: int, ahead: float) -> Series:
    requests, errors = [0] * POINTS, [0] * POINTS
    first_token: list[float | None] = [None] * POINTS
    rate: list[float | None] = [None] * POINTS
    for slot, sums in points.items():
        at = slot - last + POINTS - 1
        if 0 <= at < POINTS:
            requests[at], errors[at] = int(sums[_REQUESTS]), int(sums[_ERRORS])
            first_token[at] = _mean(sums[_FIRST_S] * 1000, sums[_FIRSTS])
            rate[at] = _mean(sums[_TOKENS], sums[_SECONDS])
    return Series(STEP, round(last * STEP + ahead, 1), requests, errors, first_token, rate)


def _mean(total: float, count: float) -> float | None:
    return round(total / count, 1) if count else None
