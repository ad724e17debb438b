"""Limits of a target: requests under way, requests a minute, tokens a minute.

``Rate`` is the pure core: the generic cell rate algorithm, whose whole state is one instant. Of a
target's limit a tenth may come at once and the rest is spread, so that no minute ever sees more
than the limit. Of a caller's all may come at once and is then paid back evenly, as callers know it.

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

from penstock.config.routing import TargetLimits
from penstock.types import ChatRequest, Value

MINUTE = 60.0
CHARACTERS_PER_TOKEN = 4
"""For what is not counted yet; corrected when the answer has ended."""

_RESOLUTION = 1e-6
"""Seconds too few to wait for: rounding would make the same wait again and again."""


class Rate(Value, frozen=True):
    """So many units in a ``period``.

    The state is the instant at which all that was taken is paid back; 0.0 at first.

    Attributes:
        whole: all units may come at once; else a tenth, and no period sees more than the limit.
    """

    limit: float
    period: float = MINUTE
    whole: bool = False

    @property
    def burst(self) -> float:
        """Units that may come at once."""
        return float(self.limit) if self.whole else max(1.0, self.limit // 10)

    @property
    def interval(self) -> float:
        """Seconds in which one unit is paid back."""
        return self.period / (self.limit if self.whole else max(self.limit - self.burst, 1.0))

    def delay(self, paid: float, now: float, cost: float = 1.0) -> float:
        """Seconds until ``cost`` units may be taken. More than a burst waits for all to be paid."""
        room = self.burst - min(cost, self.burst)
        seconds = paid - now - room * self.interval
        return seconds if seconds > _RESOLUTION else 0.0

    def left(self, paid: float, now: float) -> int:
        """Units that may be taken at once."""
        return max(floor(self.burst - max(paid - now, 0.0) / self.interval + _RESOLUTION), 0)

    def taken(self, paid: float, now: float, cost: float = 1.0) -> float:
        """The state after ``cost`` units were taken."""
        return max(paid, now) + cost * self.interval

    def corrected(self, paid: float, units: float) -> float:
        """The state where ``units`` more, or fewer, were used than taken."""
        return paid + units * self.interval


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

    Args:
        whole: a whole minute's units may come at once.
    """

    def __init__(self, limits: TargetLimits, *, whole: bool = False) -> None:
        self._whole = whole
        self.under_way = 0
        self._requests_paid = 0.0
        self._tokens_paid = 0.0
        self._queue: deque[Waiter] = deque()
        self.adopt(limits)

    def adopt(self, limits: TargetLimits) -> None:
        """Go by other limits from now on."""
        self.limits = limits
        self._requests = None if limits.rpm is None else Rate(limits.rpm, whole=self._whole)
        self._tokens = None if limits.tpm is None else Rate(limits.tpm, whole=self._whole)

    def delay(self, now: float, tokens: float, waiter: Waiter | None = None) -> float:
        """Seconds until a request may go through; infinite where others have to leave first."""
        most = self.limits.concurrency
        if (most is not None and self.under_way >= most) or (
            self._queue and self._queue[0] is not waiter
        ):
            return inf
        seconds = 0.0
        if self._requests is not None:
            seconds = self._requests.delay(self._requests_paid, now)
        if self._tokens is not None:
            seconds = max(seconds, self._tokens.delay(self._tokens_paid, now, tokens))
        return seconds

    @property
    def rates(self) -> Iterator[tuple[str, Rate, float]]:
        """``requests`` and ``tokens``, those that are limited, each with its state."""
        if self._requests is not None:
            yield "requests", self._requests, self._requests_paid
        if self._tokens is not None:
            yield "tokens", self._tokens, self._tokens_paid

    def take(self, now: float, tokens: float) -> None:
        """A request goes through."""
        self.under_way += 1
        if self._requests is not None:
            self._requests_paid = self._requests.taken(self._requests_paid, now)
        if self._tokens is not None:
            self._tokens_paid = self._tokens.taken(self._tokens_paid, now, tokens)

    def leave(self, tokens: float = 0.0) -> None:
        """A request ended that used ``tokens`` more than it had taken, or fewer."""
        self.under_way -= 1
        if self._tokens is not None:
            self._tokens_paid = self._tokens.corrected(self._tokens_paid, tokens)
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
