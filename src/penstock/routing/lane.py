"""One try after the other, until a batch comes or nothing is left to try.

A request has one lane, or two while it hedges.
"""

from __future__ import annotations

from penstock.errors import PenstockError, StreamCancelledError
from penstock.provider import Batch
from penstock.routing.attempt import Attempt, commits
from penstock.routing.journey import Journey
from penstock.routing.plan import Target
from penstock.types import Event, Started


class Lane:
    """One try after the other, until a batch comes or nothing is left to try.

    Attributes:
        attempt: the try under way.
    """

    __slots__ = ("_again", "_asked", "_journey", "attempt")

    def __init__(self, journey: Journey, attempt: Attempt | None = None) -> None:
        self.attempt = attempt
        self._journey = journey
        self._again: Target | None = None
        self._asked = 0 if attempt is None else 1

    async def enter(self) -> None:
        """Until a target was asked.

        Raises:
            PenstockError: no target could be.
        """
        while True:
            attempt = self.attempt or await self._start()
            try:
                await attempt.enter()
            except PenstockError as error:
                await self._failed(attempt, error)
            else:
                return

    async def advance(self) -> Batch:
        """The next batch before the commit point, whichever target it comes from.

        Raises:
            PenstockError: there is nothing more to try.
        """
        while True:
            attempt = self.attempt or await self._start()
            try:
                return await attempt.next()
            except PenstockError as error:
                await self._failed(attempt, error)

    async def content(self) -> Batch:
        """The batch at the commit point; of what comes before it only the begin is kept.

        Raises:
            PenstockError: there is nothing more to try.
        """
        begin: list[Event] = []
        of = self.attempt
        while not commits(batch := await self.advance()):
            begin = [*(begin if self.attempt is of else ()), *_begin_of(batch)]
            of = self.attempt
        return [*begin, *batch] if self.attempt is of else batch

    async def leave(self) -> None:
        """Leave the try under way."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            await attempt.leave()

    async def _start(self) -> Attempt:
        if self._journey.left:
            raise StreamCancelledError("the answer was left before its end")
        again, self._again = self._again, None
        self.attempt = attempt = self._journey.begin(again) or await self._journey.wait(again)
        self._asked = self._asked + 1 if attempt.target == again else 1
        return attempt

    async def _failed(self, attempt: Attempt, error: PenstockError) -> None:
        if self._journey.left:
            raise StreamCancelledError("the answer was left before its end")
        attempt.failed(error)
        await self.leave()
        self._again = await self._journey.after(attempt, error, self._asked)


def _begin_of(batch: Batch) -> list[Event]:
    return [event for event in batch if type(event) is Started]
