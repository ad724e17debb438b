"""One try at one target: it owns the provider's context and the permit, and tells how it went."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from penstock.errors import Kind, PenstockError, ProtocolError, StreamCancelledError
from penstock.observe import AttemptEnded, AttemptStarted, Observer
from penstock.provider import Batch, EventStream
from penstock.routing.plan import Target
from penstock.routing.standing import Permit
from penstock.types import Event, Finished, Started, Usage, Waiting

_log = logging.getLogger("penstock.routing")

Opener = Callable[[], EventStream]


def commits(batch: Sequence[Event]) -> bool:
    """True where ``batch`` shows something of the answer: the commit point of a stream."""
    return any(type(event) is not Waiting and type(event) is not Started for event in batch)


class Attempt:
    """A try, from the permit to the end of all that it owns.

    Args:
        opener: makes the provider's context.
        permit: None where the target has no limits and no breaker.
        number: 1 for the first try of the request.
        whole: hold back what only says that the server took the turn, until more has come.

    Attributes:
        target: what is tried.
        batches: the provider's iterator, once its context is entered.
        committed: a piece was handed out.
        pieces: how many were.
    """

    def __init__(
        self,
        target: Target,
        opener: Opener,
        permit: Permit | None,
        *,
        request_id: str,
        number: int,
        clock: Callable[[], float],
        observer: Observer,
        whole: bool,
    ) -> None:
        self.target = target
        self.batches: AsyncIterator[Batch] | None = None
        self.committed = False
        self.pieces = 0
        self._request_id = request_id
        self._number = number
        self._opener = opener
        self._permit = permit
        self._clock = clock
        self._observer = observer
        self._whole = whole
        self._context: EventStream | None = None
        self._begun = clock()
        self._first: float | None = None
        self._last: float | None = None
        self._error: PenstockError | None = None
        self._finished: Finished | None = None
        self._left = False
        observer(AttemptStarted(request_id, target.name, number, self._begun))

    @property
    def finished(self) -> Finished | None:
        """The good end, once it has come."""
        return self._finished

    async def enter(self) -> None:
        """Enter the provider's context, unless that is done.

        Raises:
            PenstockError: the target could not be asked.
        """
        if self._context is None:
            context = self._opener()
            batches = await context.__aenter__()
            if self._left:  # by another task, meanwhile
                await context.__aexit__(None, None, None)
                raise StreamCancelledError("the answer was left while it was opened")
            self._context, self.batches = context, batches

    async def next(self) -> Batch:
        """The next batch, before the commit point.

        Raises:
            PenstockError: the target failed.
        """
        await self.enter()
        batches = self.batches
        assert batches is not None
        held: list[Event] = []
        while True:
            batch = await anext(batches, None)
            if batch is None:
                raise self.endless()
            if held or (self._whole and all(type(event) is Started for event in batch)):
                held += batch
            if not held or any(type(event) is not Started for event in held):
                return held or batch

    def endless(self) -> ProtocolError:
        """The error of a provider that neither finished nor failed."""
        return ProtocolError(
            "the provider ended its stream without an end", provider=self.target.provider
        )

    def commit(self, batch: Batch) -> None:
        """``batch`` is about to be handed out; from now on there is no other target."""
        self.committed = True
        self._first = self._clock()
        self.note(batch)
        if self._permit is not None:
            self._permit.answered()

    def note(self, batch: Batch) -> None:
        """Count a batch that is about to be handed out."""
        self.pieces += len(batch)
        last = batch[-1]
        if type(last) is Finished:
            self.pieces -= 1
            self._finished = last
            self._last = self._clock()
            if self._permit is not None:
                self._permit.succeeded()

    def failed(self, error: PenstockError) -> None:
        """The target failed. What it owns is still to be left."""
        if self._left:  # what a reading meets whose stream another task has left says nothing
            return
        error.provider = error.provider or self.target.provider
        error.model = error.model or self.target.model
        self._error = error
        self._last = self._clock()
        if self._permit is not None:
            self._permit.failed(error)

    async def leave(self) -> None:
        """Leave the provider's context, give back the permit and tell how it went.

        A cleanup that fails is told to the log and replaces nothing.
        """
        if self._left:
            return
        self._left = True
        context, self._context, self.batches = self._context, None, None
        try:
            if context is not None:
                await context.__aexit__(None, None, None)
        except PenstockError as error:
            _log.warning("a cleanup failed: %s", error)
        finally:
            self._told()

    def _told(self) -> None:
        usage = self._finished.usage if self._finished is not None else None
        if self._permit is not None:
            if self._last is None and not self.committed:
                self._permit.abandoned()
            self._permit.leave(_used(usage))
        end = self._last if self._last is not None else self._clock()
        self._observer(
            AttemptEnded(
                self._request_id,
                self.target.name,
                self._number,
                end,
                self._kind(),
                None if self._first is None else self._first - self._begun,
                end - self._begun,
                self.pieces,
                usage,
                self.committed,
            )
        )

    def _kind(self) -> Kind | None:
        if self._error is not None:
            return self._error.kind
        return None if self._finished is not None else "cancelled"


def _used(usage: Usage | None) -> float | None:
    if usage is None:
        return None
    if usage.total_tokens is not None:
        return usage.total_tokens
    with suppress(TypeError):
        return usage.prompt_tokens + usage.completion_tokens  # type: ignore[operator]
    return None
