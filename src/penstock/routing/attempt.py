"""One try at one target: it owns the provider's context and the permit, and tells how it went."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from penstock.errors import Kind, PenstockError, ProtocolError, StreamCancelledError
from penstock.observe import AttemptEnded, AttemptStarted, Observer, silent
from penstock.provider import Batch, EventStream
from penstock.routing.plan import Target
from penstock.routing.standing import Permit
from penstock.types import Event, Finished, Started, Usage, Waiting

_log = logging.getLogger("penstock.routing")

Opener = Callable[[], EventStream]
Cleaner = Callable[[PenstockError], None]
"""Takes out of an error what a server told back of the credentials it was sent."""


_BEFORE = (Waiting, Started)
"""What shows nothing of the answer."""


def commits(batch: Sequence[Event]) -> bool:
    """True where ``batch`` shows something of the answer: the commit point of a stream."""
    # The last one shows it nearly always.
    return bool(batch) and (
        type(batch[-1]) not in _BEFORE or any(type(event) not in _BEFORE for event in batch)
    )


class Attempt:
    """A try, from the permit to the end of all that it owns.

    Args:
        opener: makes the provider's context.
        permit: None where the target has no limits and no breaker.
        number: 1 for the first try of the request.

    Attributes:
        target: what is tried.
        batches: the provider's iterator, once its context is entered.
        begun: the instant of its begin.
        first_at: the instant of its first piece.
        committed: a piece was handed out.
        pieces: how many were, the end not counted.
        finished: the good end, once it has come.
    """

    __slots__ = (
        "_clean",
        "_clock",
        "_context",
        "_error",
        "_last",
        "_left",
        "_number",
        "_observer",
        "_opener",
        "_permit",
        "_request_id",
        "batches",
        "begun",
        "committed",
        "finished",
        "first_at",
        "pieces",
        "target",
    )

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
        clean: Cleaner,
    ) -> None:
        self.target = target
        self.batches: AsyncIterator[Batch] | None = None
        self.committed = False
        self.pieces = 0
        self._request_id = request_id
        self._number = number
        self._opener: Opener | None = opener
        self._permit = permit
        self._clock = clock
        self._observer = observer
        self._clean = clean
        self._context: EventStream | None = None
        self.begun = clock()
        self.first_at: float | None = None
        self._last: float | None = None
        self._error: PenstockError | None = None
        self.finished: Finished | None = None
        self._left = False
        if observer is not silent:
            observer(AttemptStarted(request_id, target.name, number, self.begun))

    async def enter(self) -> None:
        """Enter the provider's context, unless that is done.

        Raises:
            PenstockError: the target could not be asked.
        """
        if self._context is None:
            if self._left or self._opener is None:
                raise StreamCancelledError("the answer was left before its end")
            opener, self._opener = self._opener, None
            context = opener()
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
        if self._context is None:
            await self.enter()
        batches = self.batches
        assert batches is not None
        batch = await anext(batches, None)
        if batch is None:
            raise self.endless()
        return batch

    def endless(self) -> ProtocolError:
        """The error of a provider that neither finished nor failed."""
        return ProtocolError(
            "the provider ended its stream without an end", provider=self.target.provider
        )

    def commit(self, batch: Batch) -> None:
        """``batch`` is about to be handed out; from now on there is no other target."""
        self.committed = True
        self.first_at = self._clock()
        for event in batch:
            if type(event) not in _BEFORE:
                self.pieces += 1
        if self._permit is not None:
            self._permit.answered()
        if type(batch[-1]) is Finished:
            self.finish(batch[-1])

    def finish(self, finished: Finished) -> None:
        """The good end has come."""
        self.pieces -= 1
        self.finished = finished
        self._last = self._clock()
        if self._permit is not None:
            self._permit.succeeded()

    def failed(self, error: PenstockError) -> None:
        """The target failed. What it owns is still to be left."""
        if self._left:  # what a reading meets whose stream another task has left says nothing
            return
        self._clean(error)
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
        self._opener = None  # it holds who holds this: no ring
        context, self._context, self.batches = self._context, None, None
        try:
            if context is not None:
                await context.__aexit__(None, None, None)
        except PenstockError as error:
            self._clean(error)
            _log.warning("a cleanup failed: %s", error)
        finally:
            self._told()

    def _told(self) -> None:
        usage = self.finished.usage if self.finished is not None else None
        if self._permit is not None:
            if self._last is None and not self.committed:
                self._permit.abandoned()
            self._permit.leave(_used(usage))
        if self._observer is not silent:
            self._observer(self._record(usage))

    def _record(self, usage: Usage | None) -> AttemptEnded:
        end = self._last if self._last is not None else self._clock()
        return AttemptEnded(
            self._request_id,
            self.target.name,
            self._number,
            end,
            self.kind,
            None if self.first_at is None else self.first_at - self.begun,
            end - self.begun,
            self.pieces,
            usage,
            self.committed,
        )

    @property
    def kind(self) -> Kind | None:
        """Why it failed; ``cancelled`` where it has no end, None where it ended well."""
        if self._error is not None:
            return self._error.kind
        return None if self.finished is not None else "cancelled"


def _used(usage: Usage | None) -> float | None:
    if usage is None:
        return None
    if usage.total_tokens is not None:
        return usage.total_tokens
    with suppress(TypeError):
        return usage.prompt_tokens + usage.completion_tokens  # type: ignore[operator]
    return None
