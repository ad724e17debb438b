"""Hedging: a second target is asked when the first is slow; the first piece wins.

Laws:
* the loser is cancelled before the winner's piece is handed on, and leaves its target in its own
  task, as one that is cancelled: at once, the remote side's cleanup handed over;
* a lane that fails ends the race only where the other has nothing under way, or where nobody
  could do better;
* what a race began has ended when it ends, however it ends.

Waiting is not told while two lanes run: there would be two queues to tell of.
"""

from __future__ import annotations

import asyncio

from penstock.errors import PenstockError
from penstock.provider import Batch
from penstock.routing.journey import Journey
from penstock.routing.lane import Lane


class Race:
    """Two lanes of one journey.

    Args:
        lane: the one that runs already.
        delay: seconds until the second begins.
    """

    def __init__(self, journey: Journey, lane: Lane, delay: float) -> None:
        self._journey = journey
        self._lanes = [lane]
        self._delay = delay
        self._tasks: list[asyncio.Task[None]] = []
        self._won: tuple[Lane, Batch] | None = None
        self._errors: list[PenstockError] = []

    async def run(self) -> tuple[Lane, Batch]:
        """The lane that won, and its batch at the commit point.

        Raises:
            PenstockError: there is nothing more to try.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._tasks.append(group.create_task(self._first(self._lanes[0])))
                self._tasks.append(group.create_task(self._second()))
        except BaseExceptionGroup as error:
            raise error.exceptions[0] from None
        if self._won is None:
            raise self._errors[-1]
        return self._won

    async def _first(self, lane: Lane) -> None:
        await self._run(lane)
        if self._won is None and (len(self._lanes) == 1 or self._journey.stopped):
            self._tasks[1].cancel()

    async def _second(self) -> None:
        await asyncio.sleep(self._delay)
        attempt = self._journey.hedge()
        if attempt is None:
            return
        lane = Lane(self._journey, attempt)
        self._lanes.append(lane)
        await self._run(lane)
        if self._won is None and self._journey.stopped:
            self._tasks[0].cancel()

    async def _run(self, lane: Lane) -> None:
        try:
            batch = await lane.content()
            if self._won is None:
                self._won = (lane, batch)
                for task in self._tasks:
                    if task is not asyncio.current_task():
                        task.cancel()
        except PenstockError as error:
            self._errors.append(error)
        finally:
            if self._won is None or self._won[0] is not lane:
                await lane.leave()
