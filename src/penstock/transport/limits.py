"""The time limits of one call.

Content is what counts as life: comments, keep-alives and empty frames restart nothing. Time counts
only while we wait for the server, so that a slow consumer never makes an upstream look stalled.

One timer serves a whole stream: it is set for the nearest deadline, and when it fires before the
current one it is set again. So a token costs no timer. It is no cancel scope either - it closes
the connection, and the pending read then ends - so a stream may be suspended at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from penstock.errors import StreamTimeoutError
from penstock.types import CONTENT, Event, Timeouts, Waiting

_WORDS = {
    "first_content": "no first piece of the answer came within {limit:g} s",
    "idle": "the answer stalled for {limit:g} s",
    "waiting": "still waiting for a free slot after {limit:g} s",
    "total": "the answer took longer than {limit:g} s",
}


class Limits:
    """How much waiting is left, and which limit a wait breaks.

    Args:
        timeouts: the limits.
        clock: seconds, monotonic; the running loop's own by default.

    Attributes:
        timeouts: the limits.
        clock: the clock.
        steady: pieces flow, and none of the time for the next one is used up.
    """

    def __init__(self, timeouts: Timeouts, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock or asyncio.get_running_loop().time
        self.timeouts = timeouts
        self.steady = False
        self._phase = "first_content"
        self._left = timeouts.first_content
        self._total_left = timeouts.total
        self._waiting_left = timeouts.waiting

    def saw(self, events: Sequence[Event]) -> None:
        """Take note of what came. Only content and reported waiting restart a limit."""
        for event in reversed(events):
            if isinstance(event, CONTENT):
                self._phase, self._left = "idle", self.timeouts.idle
                self.steady = self._total_left is None
                return
            if isinstance(event, Waiting) and self._phase != "idle":
                self._phase, self._left = "waiting", self.timeouts.first_content
                return

    def budget(self) -> float | None:
        """Seconds the next wait may take; None for ever."""
        left = self._left
        if self._total_left is not None and (left is None or self._total_left < left):
            left = self._total_left
        if self._phase == "waiting":
            waiting = self._waiting_left
            if waiting is not None and (left is None or waiting < left):
                left = waiting
        return left if left is None or left > 0.0 else 0.0

    def spend(self, seconds: float) -> None:
        """Count ``seconds`` of waiting."""
        self.steady = False
        if self._left is not None:
            self._left -= seconds
        if self._total_left is not None:
            self._total_left -= seconds
        if self._waiting_left is not None and self._phase == "waiting":
            self._waiting_left -= seconds

    def broken(self) -> StreamTimeoutError:
        """The error for a wait that used up the budget."""
        phase, limit = self._phase, self.timeouts.first_content
        if self._total_left is not None and self._total_left <= 0.001:
            phase, limit = "total", self.timeouts.total
        elif phase == "waiting" and self._waiting_left is not None and self._waiting_left <= 0.001:
            limit = self.timeouts.waiting
        elif phase == "waiting":
            phase = "first_content"
        elif phase == "idle":
            limit = self.timeouts.idle
        error = StreamTimeoutError(_WORDS[phase].format(limit=limit or 0.0))
        error.phase = phase
        return error

    def step(self) -> Step:
        """Bound one exchange that is not a stream. No ``yield`` to a consumer inside.

        Raises (from the context):
            StreamTimeoutError: the budget is used up.
        """
        return Step(self)

    async def pause(self, seconds: float) -> None:
        """Sleep for ``seconds`` within the limits: the pause between two polls.

        Raises:
            StreamTimeoutError: a limit would pass meanwhile. A cancellation passes through at once.
        """
        with self.step():
            await asyncio.sleep(seconds)

    def watch(self, abort: Callable[[], None]) -> Watch:
        """A timer for the reads of one response; it calls ``abort`` when a limit is broken."""
        return Watch(self, abort)


class Step:
    """One exchange within the limits: ``asyncio.timeout`` at the price of its timer."""

    __slots__ = ("_cancelling", "_expired", "_limits", "_start", "_task", "_timer")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        limits = self._limits
        self._start = limits.clock()
        budget = limits.budget()
        if budget is None:
            return
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._timer = task.get_loop().call_later(budget, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        limits = self._limits
        limits.spend(limits.clock() - self._start)
        if self._timer is not None:
            self._timer.cancel()
        if not self._expired:
            return
        # Cancelled by the timer alone: a caller who cancels as well is not kept.
        alone = self._task.uncancel() <= self._cancelling
        inside = isinstance(error, TimeoutError) and not isinstance(error, StreamTimeoutError)
        if inside or (alone and isinstance(error, asyncio.CancelledError)):
            raise limits.broken() from None


class Watch:
    """One timer for all reads of a response: ``start`` before a read, ``stop`` after it.

    Between two reads of which one follows the other at once, ``again`` takes the place of both.

    Attributes:
        broken: the limit that a read broke; its connection was closed for it.
    """

    __slots__ = (
        "_abort",
        "_clock",
        "_deadline",
        "_fires",
        "_handle",
        "_idle",
        "_limits",
        "_loop",
        "_start",
        "broken",
    )

    def __init__(self, limits: Limits, abort: Callable[[], None]) -> None:
        self._limits = limits
        self._abort = abort
        self._clock = limits.clock
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._fires = 0.0
        self._idle: float | None = None
        self._deadline: float | None = None
        self._start = 0.0
        self.broken: StreamTimeoutError | None = None

    def start(self) -> None:
        """A read begins."""
        start = self._start = self._clock()
        limits = self._limits
        self._idle = limits.timeouts.idle if limits.steady else None
        budget = self._idle if limits.steady else limits.budget()
        if budget is None:
            return
        deadline = self._deadline = start + budget
        if self._handle is None or deadline < self._fires:
            self._set(budget)

    def stop(self, events: Sequence[Event] = ()) -> None:
        """The read ended, and what it brought is ``events``."""
        self._deadline = None
        limits = self._limits
        if limits.steady and events and isinstance(events[-1], CONTENT):
            return  # the next piece has all of its time, whatever this one took
        limits.spend(self._clock() - self._start)
        if events:
            limits.saw(events)

    def again(self, events: Sequence[Event]) -> None:
        """The read brought pieces of the answer, and the next one begins at once."""
        if self._idle is not None:
            self._start = start = self._clock()
            self._deadline = start + self._idle  # later than before: the timer is set already
        else:
            self.stop(events)
            self.start()

    def close(self) -> None:
        """No more reads."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, seconds: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires = self._clock() + seconds
        self._handle = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._deadline is None or self.broken is not None:
            return
        left = self._deadline - self._clock()
        if left > 0.001:
            self._set(left)
            return
        self._limits.spend(self._clock() - self._start)
        self._start = self._clock()
        self.broken = self._limits.broken()
        self._abort()
