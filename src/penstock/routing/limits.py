"""Limits of a target: requests under way, requests a minute, tokens a minute.

``Window`` is the core: what was taken in the last minute. All of a minute's units may come at once,
and no minute, whenever it begins, sees more than the limit. The clock is an argument.

``Gate`` holds the state of one target, or of one provider, and ``turn`` waits for it. Laws:
* who waits longest goes first, and nobody goes past one who waits;
* who leaves a queue, admitted or not, wakes the next;
* nothing is taken before everything can be had, so a wait holds nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import floor, inf

from msgspec import Struct

from penstock.config.routing import TargetLimits
from penstock.types import ChatRequest

MINUTE = 60.0
CHARACTERS_PER_TOKEN = 4
"""For what is not counted yet; corrected when the answer has ended."""

_RESOLUTION = 1e-6
"""Seconds too few to wait for: rounding would make the same wait again and again."""


class _Taken(Struct):
    """What was taken from one instant to another, shortly after it."""

    begin: float
    end: float
    units: float


class Window:
    """So many units in any ``period``, whenever it begins; all of them may come at once.

    What is taken within a 256th of the period is remembered as one, so that the memory is bounded;
    it is given free together, at most so much too late.

    Attributes:
        limit: how many units; it may be changed at any time.
    """

    def __init__(self, limit: float, period: float = MINUTE) -> None:
        self.limit = limit
        self._period = period
        self._known: deque[_Taken] = deque()
        self._used = 0.0
        self._seen = 0.0

    def delay(self, now: float, cost: float = 1.0) -> float:
        """Seconds until ``cost`` units may be taken. More than the limit waits for all of it."""
        self._forget(now)
        over = self._used + min(cost, self.limit) - self.limit
        if over <= _RESOLUTION:
            return 0.0
        for one in self._known:
            over -= one.units
            if over <= _RESOLUTION:
                return one.end + self._period - now
        return self._period

    def left(self, now: float) -> int:
        """Units that may be taken at once."""
        self._forget(now)
        return max(floor(self.limit - self._used + _RESOLUTION), 0)

    def full_in(self, now: float) -> float:
        """Seconds until all of the limit may be taken at once."""
        self._forget(now)
        return self._known[-1].end + self._period - now if self._known else 0.0

    def take(self, now: float, cost: float = 1.0) -> None:
        """Take ``cost`` units."""
        self._forget(now)
        self._used += cost
        last = self._known[-1] if self._known else None
        if last is not None and now - last.begin < self._period / 256:
            last.end, last.units = max(last.end, now), last.units + cost
        else:
            self._known.append(_Taken(now, now, cost))

    def correct(self, units: float) -> None:
        """So many units more, or fewer, were used than taken last."""
        if units > 0.0:
            self.take(self._seen, units)
            return
        for one in reversed(self._known):
            back = min(one.units, -units)
            one.units -= back
            self._used -= back
            units += back
            if units >= 0.0:
                return

    def _forget(self, now: float) -> None:
        self._seen = max(self._seen, now)
        while self._known and self._known[0].end + self._period - now <= _RESOLUTION:
            self._used -= self._known.popleft().units
        if not self._known:
            self._used = 0.0


class Waiter:
    """One request that waits, in the queues of all gates it may go through."""

    def __init__(self) -> None:
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let it look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Until it is woken, but no longer than ``seconds``."""
        self._woken = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken
        self._woken = None


class Gate:
    """The limits of one target or provider, and what of them is used.

    Attributes:
        limits: as configured.
        under_way: requests that went through and have not left.
    """

    def __init__(self, limits: TargetLimits) -> None:
        self.under_way = 0
        self._requests: Window | None = None
        self._tokens: Window | None = None
        self._queue: deque[Waiter] = deque()
        self.adopt(limits)

    def adopt(self, limits: TargetLimits) -> None:
        """Go by other limits from now on."""
        self.limits = limits
        self._requests = _adopted(self._requests, limits.rpm)
        self._tokens = _adopted(self._tokens, limits.tpm)

    def delay(self, now: float, tokens: float, waiter: Waiter | None = None) -> float:
        """Seconds until a request may go through; infinite where others have to leave first."""
        most = self.limits.concurrency
        if (most is not None and self.under_way >= most) or (
            self._queue and self._queue[0] is not waiter
        ):
            return inf
        seconds = 0.0
        if self._requests is not None:
            seconds = self._requests.delay(now)
        if self._tokens is not None:
            seconds = max(seconds, self._tokens.delay(now, tokens))
        return seconds

    @property
    def windows(self) -> Iterator[tuple[str, Window]]:
        """``requests`` and ``tokens``, those that are limited, each with what was taken."""
        if self._requests is not None:
            yield "requests", self._requests
        if self._tokens is not None:
            yield "tokens", self._tokens

    def take(self, now: float, tokens: float) -> None:
        """A request goes through."""
        self.under_way += 1
        if self._requests is not None:
            self._requests.take(now)
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def leave(self, tokens: float = 0.0) -> None:
        """A request ended that used ``tokens`` more than it had taken, or fewer."""
        self.under_way -= 1
        if self._tokens is not None:
            self._tokens.correct(tokens)
        self._wake()

    @contextmanager
    def queued(self, waiter: Waiter) -> Iterator[None]:
        """``waiter`` stands in the queue."""
        self._queue.append(waiter)
        try:
            yield
        finally:
            self._queue.remove(waiter)
            self._wake()

    def _wake(self) -> None:
        if self._queue:
            self._queue[0].wake()


def _adopted(before: Window | None, limit: float | None) -> Window | None:
    """A window of that limit; what is used stays used."""
    if limit is None:
        return None
    made = before or Window(limit)
    made.limit = limit
    return made


def delay_of(gates: Sequence[Gate], now: float, tokens: float, waiter: Waiter | None) -> float:
    """Seconds until a request may go through all of ``gates``."""
    return max((gate.delay(now, tokens, waiter) for gate in gates), default=0.0)


Look = Callable[[Waiter, float], float | None]
"""Tries to take. Gets the seconds left to wait and returns those after which trying again makes
sense: 0 where it has taken, None where waiting is of no use."""


def useful(delays: Sequence[float], left: float) -> float | None:
    """Of the delays until something may be had, the one to wait for; None where all take longer."""
    near = [seconds for seconds in delays if seconds <= left]
    if near:
        return min(near)
    return left if inf in delays else None


async def turn(
    look: Look, gates: Sequence[Gate], *, clock: Callable[[], float], patience: float
) -> bool:
    """Wait in the queues of ``gates`` until ``look`` has taken what it wants.

    Returns:
        False where that takes longer than ``patience`` seconds.
    """
    waiter = Waiter()
    until = clock() + patience
    with _queued(gates, waiter):
        while (left := until - clock()) > 0.0:
            seconds = look(waiter, left)
            if seconds is None:
                return False
            if seconds == 0.0:
                return True
            await waiter.sleep(seconds)
    return False


@contextmanager
def _queued(gates: Sequence[Gate], waiter: Waiter) -> Iterator[None]:
    if not gates:
        yield
        return
    with gates[0].queued(waiter), _queued(gates[1:], waiter):
        yield


def tokens_of(request: ChatRequest) -> float:
    """What a request may cost in tokens: a guess for the limit alone, shown to nobody."""
    characters = sum(len(message.text) for message in request.messages)
    return characters / CHARACTERS_PER_TOKEN + (request.sampling.max_tokens or 0)
