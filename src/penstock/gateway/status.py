"""How each target did over the last hour: what ``GET /api/status`` says, and the page draws.

Laws:
* a target costs a fixed amount of memory, and there are never more than ``MOST`` of them: the one
  that was idle longest makes room;
* a name that only ever was refused is forgotten with its refusal, for callers make up names;
* a caller who leaves is no failure of the target;
* counts of several processes add up: instants are of one clock of the whole machine.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

import msgspec

from penstock.observe import AttemptEnded, AttemptStarted, Breaker, BreakerChanged

STEP = 10
"""Seconds of one point."""
POINTS = 360
"""Points of a series: one hour."""
MOST = 100
"""Targets that are remembered."""

NAMELESS = frozenset({"unknown_model", "not_found", "bad_request", "config"})
"""Kinds that say nothing of a target but that there is none of that name."""
_WORST: tuple[Breaker, ...] = ("open", "half_open", "closed")
_MEASURES = ("requests", "errors", "firsts", "first_s", "tokens", "seconds")


class Series(msgspec.Struct, frozen=True):
    """The last hour of a target in equal steps, the oldest first.

    Attributes:
        step: seconds from one point to the next.
        end: instant of the last point, in seconds since 1970.
        requests: tries that ended.
        errors: those of them that failed.
        first_token_ms: mean time to the first piece; null where none came.
        tokens_per_s: mean rate of pieces after the first; null where nothing was streamed.
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
        slot: number of the last point, counted in steps of the machine's clock.
        measures: one row of points for each of ``_MEASURES``.
    """

    name: str
    breaker: Breaker
    in_flight: int
    requests: int
    errors: dict[str, int]
    slot: int
    measures: list[list[float]]


class _Ring:
    """Sums for the last ``POINTS`` steps."""

    def __init__(self) -> None:
        self._rows = [array("d", bytes(8 * POINTS)) for _ in _MEASURES]
        self._last = 0

    def add(self, slot: int, values: Sequence[float]) -> None:
        self._forward(slot)
        at = slot % POINTS
        for row, value in zip(self._rows, values, strict=True):
            row[at] += value

    def rows(self, slot: int) -> list[list[float]]:
        self._forward(slot)
        at = slot % POINTS + 1
        return [[*row[at:], *row[:at]] for row in self._rows]

    def _forward(self, slot: int) -> None:
        for passed in range(max(self._last + 1, slot - POINTS + 1), slot + 1):
            for row in self._rows:
                row[passed % POINTS] = 0.0
        self._last = max(self._last, slot)


class _Target:
    """What is known of one target."""

    __slots__ = ("answered", "breaker", "errors", "in_flight", "requests", "ring")

    def __init__(self) -> None:
        self.breaker: Breaker = "closed"
        self.in_flight = 0
        self.requests = 0
        self.answered = False
        self.errors: Counter[str] = Counter()
        self.ring = _Ring()


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
        target.in_flight = max(target.in_flight - 1, 0)
        target.requests += 1
        failed = record.kind not in (None, "cancelled")
        if record.kind is not None and failed:
            target.errors[record.kind] += 1
        target.answered = target.answered or record.committed or record.kind is None
        known = target.answered or target.in_flight or record.target in self._configured
        if record.kind in NAMELESS and not known:
            del self._targets[record.target]
            return
        first = record.first_content_s
        flowing = 0.0 if first is None else max(record.duration_s - first, 0.0)
        # The pieces of a whole answer come at once: no rate can be read from them.
        tokens = record.tokens - 1 if flowing > 0 and record.tokens > 1 else 0
        values = (1, failed, first is not None, first or 0, tokens, flowing if tokens else 0)
        target.ring.add(int(self._clock() // STEP), values)

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
        slot = int(self._clock() // STEP)
        idle = {name: _Target() for name in self._configured - self._targets.keys()}
        return [
            Counts(
                name,
                target.breaker,
                target.in_flight,
                target.requests,
                dict(target.errors),
                slot,
                target.ring.rows(slot),
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
    old, late = sorted((one, other), key=lambda counts: counts.slot)
    behind = min(late.slot - old.slot, POINTS)
    rows = [
        [a + b for a, b in zip([*row[behind:], *[0.0] * behind], later, strict=True)]
        for row, later in zip(old.measures, late.measures, strict=True)
    ]
    return Counts(
        one.name,
        min(one.breaker, other.breaker, key=_WORST.index),
        one.in_flight + other.in_flight,
        one.requests + other.requests,
        dict(Counter(one.errors) + Counter(other.errors)),
        late.slot,
        rows,
    )


def providers_of(
    counts: Mapping[str, Counts], labels: Mapping[str, str], ahead: float
) -> list[ProviderStatus]:
    """The counts by provider, both in the order of their names.

    Args:
        labels: name of a provider -> how people call it; those without targets are shown empty.
        ahead: seconds by which the clock on the wall is ahead of that of the counts.
    """
    by_name: dict[str, list[TargetStatus]] = {name: [] for name in labels}
    for name in sorted(counts):
        provider = name.partition("/")[0]
        by_name.setdefault(provider, []).append(_shown(counts[name], ahead))
    return [
        ProviderStatus(name, labels.get(name, name), targets)
        for name, targets in sorted(by_name.items())
    ]


def _shown(counts: Counts, ahead: float) -> TargetStatus:
    requests, errors, firsts, first_s, tokens, seconds = counts.measures
    series = Series(
        STEP,
        round(counts.slot * STEP + ahead, 1),
        [int(count) for count in requests],
        [int(count) for count in errors],
        [_mean(total * 1000, count) for total, count in zip(first_s, firsts, strict=True)],
        [_mean(count, span) for count, span in zip(tokens, seconds, strict=True)],
    )
    return TargetStatus(
        counts.name, counts.breaker, counts.in_flight, counts.requests, counts.errors, series
    )


def _mean(total: float, count: float) -> float | None:
    return round(total / count, 1) if count else None
