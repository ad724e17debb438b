"""The pump that every provider reads a streamed answer with: bytes to batches of events.

Two ways lead through it. Iterating gives one batch for each read, and is the only one that tells
an end or a failure. ``relay`` hands on the batches between, which end with a piece of the answer,
from within the read that brings them: most of what a token costs is to wake the task that waits for
it, through all that is between that task and the connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from penstock.errors import PenstockError
from penstock.provider import Batch, Sink
from penstock.transport import Response, Watch
from penstock.types import CONTENT, Event
from penstock.wire.decoder import AnswerDecoder

EventLists = AsyncGenerator[list[Event], None]
Relay = Callable[[Sink], Awaitable[None]]


def _refused(_: Batch) -> bool:
    return False


class Pump:
    """The events of a streamed answer, one list for each network read.

    The last list ends with ``Finished``. What comes after it on the wire is not read: a
    connection that breaks there has broken nothing (``faults.md`` row 43).

    Args:
        response: the answer, whose body is to be read.
        decoder: makes the events.
        watch: the time limits of the reads.

    Raises (from iterating):
        PenstockError: the decoder's failure, a time limit, or a broken connection. Its status is
            that of the answer, unless it names one of its own.
    """

    __slots__ = ("_batches", "_decoder", "_kept", "_reads", "_response", "_sink", "_watch")

    def __init__(self, response: Response, decoder: AnswerDecoder, watch: Watch) -> None:
        self._response = response
        self._decoder = decoder
        self._watch = watch
        self._kept: list[Event] = []
        self._reads = False
        self._sink: Sink = _refused
        self._batches: EventLists | None = None  # made when it is wanted: before, no ring

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[list[Event]]:
        if self._batches is None:
            self._batches = self._read()
        return self._batches.__anext__()

    async def relay(self, sink: Sink) -> None:
        """Hand on what comes; ``penstock.provider.Relaying`` is the contract.

        Before the first batch, which goes the other way, and after the last it does nothing.
        """
        decoder = self._decoder
        if self._reads and not self._kept and decoder.failure is None and not decoder.done:
            self._sink = sink
            self._watch.start()
            try:
                await self._response.listen(self._take)
            finally:
                self._watch.stop()
                self._sink = _refused  # it may hold whoever holds this: no ring

    def _take(self, data: bytes) -> bool:
        decoder = self._decoder
        events = decoder.feed(data)
        if events and isinstance(events[-1], CONTENT) and decoder.failure is None:
            self._watch.again(events)
            return self._sink(events)
        self._watch.stop(events)
        self._watch.start()
        self._kept = events
        return not events and decoder.failure is None

    async def aclose(self) -> None:
        """Read no more."""
        if self._batches is not None:
            await let_go(self._batches)

    async def _read(self) -> EventLists:
        decoder, watch = self._decoder, self._watch
        self._reads = True
        try:
            while self._kept or not decoder.done:
                events, self._kept = self._kept, []
                if not events:
                    if decoder.failure is not None:
                        raise decoder.failure
                    watch.start()
                    try:
                        data = await self._response.read_some()
                        events = decoder.feed(data) if data else decoder.eof()
                    except PenstockError:
                        if not decoder.whole:
                            if watch.broken is not None:
                                raise watch.broken from None
                            raise
                        events = decoder.eof()
                    finally:
                        watch.stop(events)
                if events:
                    yield events
        except PenstockError as error:
            error.status = error.status or self._response.status
            raise
        finally:
            self._reads = False
            watch.close()


class Relayed:
    """Batches of a generator over a pump; those that ``relay`` takes go round the generator."""

    def __init__(self, batches: EventLists | Pump, relay: Relay) -> None:
        self._batches = batches
        self.relay = relay

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[list[Event]]:
        return self._batches.__anext__()


@asynccontextmanager
async def held(
    batches: EventLists | Pump, relay: Relay | None = None
) -> AsyncIterator[AsyncIterator[list[Event]]]:
    """``batches``, closed at the end of the context.

    Args:
        relay: that of the pump below ``batches``, where they may go round it.
    """
    try:
        yield batches if relay is None else Relayed(batches, relay)
    finally:
        await let_go(batches)


async def let_go(batches: EventLists | Pump) -> None:
    """Close ``batches``.

    While another task is reading they cannot be closed; that read then ends with the connection.
    """
    if not getattr(batches, "ag_running", False):
        await batches.aclose()
