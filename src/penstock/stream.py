"""The answer as its caller holds it: one object that owns a stream and ends in one way.

Laws:
* it ends with exactly one ``Finished`` or raises exactly one error; a provider that does neither
  is at fault, and that is the error;
* an error carries the text that had come;
* the last events are handed out before the cleanup, which may take a moment, begins;
* left early - ``break`` with ``aclose``, ``async with``, cancellation, garbage collection, the end
  of the loop - it leaves the provider's context, and with it the connection and the remote side;
* the turn is asked once: a stream that failed or was left is never entered again.

Used without ``async with`` it enters itself at the first item and closes itself at the end. What
it owns is held by ``penstock.keeper``, which leaves it where nobody else does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from io import StringIO
from typing import Any, Self

from penstock.errors import PenstockError, ProtocolError, StreamCancelledError
from penstock.keeper import Hold, Owner, hold
from penstock.observe import Route
from penstock.provider import Batch, EventStream, Sink, relay_of
from penstock.types import (
    Conversation,
    Event,
    Finished,
    FinishReason,
    Notice,
    Reasoning,
    Reply,
    Started,
    Text,
    ToolCall,
    ToolCallPart,
    Usage,
)

Opener = Callable[[], EventStream]
_TWO_READERS = "another task is reading this answer"


class Facts:
    """What is known of an answer, for the objects that hand out its stream in another form."""

    _stream: AnswerStream

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._stream.provider

    @property
    def model(self) -> str:
        """The model asked for."""
        return self._stream.model

    @property
    def route(self) -> Route | None:
        """The way to the target that answers; None before it was sought."""
        return self._stream.route

    @property
    def started(self) -> Started | None:
        """Ids the server gave, once known."""
        return self._stream.started

    @property
    def partial(self) -> str:
        """The text received so far."""
        return self._stream.partial

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended; None before its end."""
        return self._stream.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the server sent them."""
        return self._stream.usage

    @property
    def conversation(self) -> Conversation | None:
        """The native conversation, moved on by this turn; None before its end."""
        return self._stream.conversation

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What to know about the answer although it is whole."""
        return self._stream.warnings


class AnswerStream:
    """One answer: an async iterator of events and an async context manager.

    After the end the facts of the answer are attributes. Iterating twice goes on where the first
    iteration stopped; two tasks must not iterate at the same time.

    Attributes:
        started: ids the server gave, once known.
        finished: the end of the answer; None before it, and after an error.
        whole: set before it is entered where only the whole answer is wanted.

    Args:
        opener: makes the provider's context.
        owner: the session whose end is this stream's end.
    """

    started: Started | None = None
    finished: Finished | None = None
    whole = False
    _context: EventStream | None = None
    _hold: Hold | None = None
    _entering: asyncio.Task[Any] | None = None
    _sink: Sink
    _batches: AsyncIterator[Sequence[Event]] | None = None
    _attended = False
    _busy = False
    _left = False
    _ended = False
    _queue: Sequence[Event] = ()
    _next = 0

    def __init__(
        self, opener: Opener, *, provider: str, model: str, owner: Owner | None = None
    ) -> None:
        self._asked = provider, model
        self._opener = opener
        self._owner = owner
        self._text = StringIO()
        self._reasoning = StringIO()
        self._tool_calls: dict[int, ToolCallPart] = {}

    # -- facts ---------------------------------------------------------------------------------

    @property
    def route(self) -> Route | None:
        """The way to the target that answers; None before it was sought."""
        return getattr(self._context, "route", None)

    @property
    def provider(self) -> str:
        """Name of the provider that answers; before it does, of the one that is asked first."""
        return self._answering()[0]

    @property
    def model(self) -> str:
        """The model that answers, without its provider's name."""
        return self._answering()[1]

    def _answering(self) -> tuple[str, str]:
        route = self.route
        if route is None or not route.target:
            return self._asked
        name, _, model = route.target.partition("/")
        return name, model

    @property
    def partial(self) -> str:
        """The text received so far, nothing trimmed."""
        return self._text.getvalue()

    @property
    def written(self) -> str:
        """All that the model wrote so far: reasoning, text, names and arguments of tool calls."""
        calls = "".join(call.name + call.arguments for call in self._tool_calls.values())
        return self._reasoning.getvalue() + self._text.getvalue() + calls

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended; None before the end or where the wire does not tell."""
        reason = self.finished.finish_reason if self.finished else None
        return None if reason is None else FinishReason(reason)

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the server sent them."""
        return self.finished.usage if self.finished else None

    @property
    def conversation(self) -> Conversation | None:
        """The native conversation, moved on by this turn."""
        return self.finished.conversation if self.finished else None

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What to know about the answer although it is whole."""
        return self.finished.warnings if self.finished else ()

    # -- the stream ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._busy:
            raise RuntimeError(_TWO_READERS)
        self._busy = True
        try:
            await self._enter()
        finally:
            self._busy = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while self._next >= len(self._queue):
            batch = await self.next_batch()
            if batch is None:
                raise StopAsyncIteration
            self._queue, self._next = batch, 0
        event = self._queue[self._next]
        self._next += 1
        return event

    async def next_batch(self, sink: Sink | None = None) -> Sequence[Event] | None:
        """All events of the next network read; None after the end.

        A cancellation while reading leaves the stream, as ``aclose`` does, and is raised.

        Args:
            sink: is given the batches before that one which need nobody to wait for them, where
                the provider can do that. It must not block, nor use this stream; False ends it.

        Raises:
            PenstockError: the answer failed; ``partial`` holds the text that had come.
            RuntimeError: another task is reading; its reading goes on.
        """
        if self._busy:
            raise RuntimeError(_TWO_READERS)
        self._busy = True
        try:
            if self._ended or self.finished is not None:
                await self._leave()
                return None
            if self._hold is None:
                await self._enter()
            held, batches = self._hold, self._batches
            if held is None or batches is None or held.left:
                raise StreamCancelledError("the answer was left before its end")
            held.busy = True
            try:
                if sink is not None:
                    await self._relay(batches, sink)
                batch = await anext(batches)
            except StopAsyncIteration:
                raise ProtocolError("the provider ended its stream without an end") from None
            finally:
                held.busy = False
            if self._left or held.left:
                raise StreamCancelledError("the answer was left while it was read")
            self._note(batch)
            return batch
        except BaseException as error:
            left = self._was_left()
            await self._leave()
            if isinstance(error, PenstockError):
                if left:  # by another task, and what the reading then met says nothing
                    error = StreamCancelledError("the answer was left while it was read")
                self._complete(error)
                raise error from None
            raise
        finally:
            self._busy = False

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """The batches, one for each network read.

        Raises:
            PenstockError: the answer failed. A cancellation leaves it, as ``aclose`` does.
        """
        while (batch := await self.next_batch()) is not None:
            yield batch

    async def text(self) -> AsyncIterator[str]:
        """The pieces of text, exactly as they came.

        Raises:
            PenstockError: the answer failed. A cancellation leaves it, as ``aclose`` does.
        """
        async for event in self:
            if isinstance(event, Text):
                yield event.text

    async def reply(self) -> Reply:
        """Read to the end and return the whole answer.

        Raises:
            PenstockError: the answer failed, or was left before its end.
        """
        self._attended = True
        try:
            while self.finished is None and await self.next_batch() is not None:
                pass
        finally:
            await self.aclose()
        end = self.finished
        if end is None:
            raise StreamCancelledError(
                "the answer was left before its end",
                provider=self.provider,
                model=self.model,
                partial=self.partial,
            )
        final = end.final_text if end.final_counts else None
        told = self.started.model if self.started is not None else None
        provider, model = self._answering()
        return Reply(
            text=self.partial if final is None else final,
            model=model or told or "",
            provider=provider,
            reasoning=self._reasoning.getvalue(),
            tool_calls=tuple(self._tool_calls[index] for index in sorted(self._tool_calls)),
            finish_reason=end.finish_reason,
            usage=end.usage,
            conversation=end.conversation,
            warnings=end.warnings,
        )

    async def aclose(self) -> None:
        """Leave the stream. Before its end this stops the remote side; afterwards it is free.

        A task that is reading meanwhile gets a ``StreamCancelledError``.

        A cancellation passes through at once; the cleanup goes on in the outbox.
        """
        entering, left = self._entering, self._left
        self._left = True
        if entering is not None and not left:
            entering.cancel()  # it waits for the answer to begin; ``_enter`` tells it why
        if self._hold is not None or not self._ended:
            await self._leave()

    async def _leave(self) -> None:
        self._ended = True
        held, self._hold, self._batches = self._hold, None, None
        if held is not None:
            await held.leave()

    def __del__(self) -> None:
        if self._hold is not None:
            self._hold.drop()

    async def _enter(self) -> None:
        if self._hold is not None or self._ended:
            return
        opener = self._opener
        del self._opener  # it may name this stream: a ring would keep a dropped one alive
        task = self._entering = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            context = self._context = opener()
            self._batches = await context.__aenter__()
        except BaseException as error:
            self._ended = True
            # Cancelled by ``aclose`` alone: a caller who cancels as well is not kept.
            alone = self._left and task.uncancel() <= cancelling
            if alone and isinstance(error, asyncio.CancelledError):
                left = StreamCancelledError("the answer was left before it began")
                self._complete(left)
                raise left from None
            if isinstance(error, PenstockError):
                self._complete(error)
            raise
        finally:
            self._entering = None
        self._hold = hold(context, self._owner, attended=self._attended)
        if self._left:  # by another task, meanwhile
            task.uncancel()
            await self._leave()

    async def _relay(self, batches: AsyncIterator[Batch], sink: Sink) -> None:
        relay = relay_of(batches)
        if relay is None:
            return
        self._sink = sink
        try:
            await relay(self._noted)
        finally:
            del self._sink  # it may hold this stream: no ring

    def _noted(self, batch: Batch) -> bool:
        if self._left:
            return False
        self._note(batch)
        return self._sink(batch)

    def _was_left(self) -> bool:
        return self._left or (self._hold is not None and self._hold.left)

    def _note(self, batch: Sequence[Event]) -> None:
        for event in batch:
            if type(event) is Text:
                self._text.write(event.text)
            elif type(event) is Finished:
                self.finished = event
            elif type(event) is Started:
                self.started = event
            elif type(event) is Reasoning:
                self._reasoning.write(event.text)
            elif type(event) is ToolCall:
                self._note_tool_call(event)

    def _note_tool_call(self, event: ToolCall) -> None:
        known = self._tool_calls.get(event.index, ToolCallPart(id="", name=""))
        self._tool_calls[event.index] = ToolCallPart(
            id=event.id or known.id,
            name=event.name or known.name,
            arguments=known.arguments + event.arguments,
        )

    def _complete(self, error: PenstockError) -> None:
        self._ended = True
        if self._owner is not None:
            self._owner.clean(error)
        error.provider = error.provider or self.provider
        error.model = error.model or self.model
        error.partial = error.partial or self.partial
