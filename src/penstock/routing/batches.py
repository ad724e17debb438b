"""The batches of a routed answer, whichever way it takes."""

from __future__ import annotations

from typing import Protocol, Self

from penstock.errors import PenstockError, StreamCancelledError
from penstock.provider import Batch, Sink, relay_of
from penstock.routing.attempt import Attempt
from penstock.types import Finished

LEFT = "the answer was left before its end"


class Way(Protocol):
    """What owns the tries of an answer.

    Attributes:
        answering: the try that has shown something of its answer, and from which the rest comes.
    """

    answering: Attempt | None

    async def first(self) -> Batch:
        """The next batch, up to the one that shows something of the answer.

        Raises:
            PenstockError: there is nothing more to try.
        """

    def note(self, error: PenstockError) -> None:
        """Note why the answer fails."""


class Batches:
    """The batches of a way. They own nothing."""

    __slots__ = ("_attempt", "_broken", "_sink", "_way")

    def __init__(self, way: Way) -> None:
        self._way = way
        self._broken = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        way = self._way
        attempt = way.answering
        try:
            if self._broken or (attempt is not None and attempt.finished is not None):
                raise StopAsyncIteration
            if attempt is None:
                return await way.first()
            batches = attempt.batches
            if batches is None:
                raise StreamCancelledError(LEFT)
            try:
                while not (batch := await anext(batches)):
                    pass
            except StopAsyncIteration:
                raise attempt.endless() from None
        except PenstockError as error:
            self._broken = True
            way.note(error)
            raise
        attempt.pieces += len(batch)
        if type(batch[-1]) is Finished:
            attempt.finish(batch[-1])
        return batch

    async def relay(self, sink: Sink) -> None:
        """Hand on what comes once the try is chosen; ``penstock.provider`` is the contract."""
        attempt = self._way.answering
        if attempt is None or attempt.batches is None or self._broken:
            return
        relay = relay_of(attempt.batches)
        if relay is not None:
            self._attempt, self._sink = attempt, sink
            try:
                await relay(self._counted)
            finally:
                del self._attempt, self._sink  # they may hold whoever holds this: no ring

    def _counted(self, batch: Batch) -> bool:
        self._attempt.pieces += len(batch)
        return self._sink(batch)
