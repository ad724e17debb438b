"""What a call of a documented class gives back: pieces of text, for async and for plain code.

All three forms hand out one ``AnswerStream``, and everything that is known of it; nothing is sent
before the first piece is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any, Self

from penstock.portal import portal
from penstock.stream import AnswerStream, Facts
from penstock.types import Text


class AsyncResult(Facts):
    """What ``create_async_generator`` returns: an async iterator that can be awaited, too.

    It yields the pieces of text exactly as they came, never an empty one, and after them the
    conversation where that was asked for. Awaiting it gives itself. It is an async context
    manager; left early, it frees the connection and cleans up the remote side.
    """

    def __init__(self, stream: AnswerStream, *, return_conversation: bool = False) -> None:
        self._stream = stream
        self._return_conversation = return_conversation
        self._pieces: Iterator[Any] = iter(())

    @property
    def stream(self) -> AnswerStream:
        """The answer itself, with all its events."""
        return self._stream

    def __await__(self) -> Generator[None, None, Self]:
        return self
        yield  # a generator that ends at once: awaiting needs no I/O

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            for piece in self._pieces:
                return piece
            items = await self.more()
            if items is None:
                raise StopAsyncIteration
            self._pieces = iter(items)

    async def more(self) -> list[Any] | None:
        """All that the next network read brings, perhaps nothing; None after the end.

        Raises:
            PenstockError: the answer failed. A cancellation leaves it, as ``aclose`` does.
        """
        batch = await self._stream.next_batch()
        if batch is not None:
            return [event.text for event in batch if isinstance(event, Text)]
        if self._return_conversation and self._stream.conversation is not None:
            self._return_conversation = False
            return [self._stream.conversation]
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the answer; the remote side is stopped and cleaned up.

        A cancellation passes through at once; the cleanup goes on.
        """
        await self._stream.aclose()

    async def whole(self) -> str:
        """The whole text; the server's final one where its protocol calls that one right.

        Raises:
            PenstockError: the answer failed. A cancellation leaves it, as ``aclose`` does.
        """
        return (await self._stream.reply()).text


class SyncResult(Facts):
    """What ``create_completion`` returns: a plain iterator of pieces and a context manager.

    One network read crosses the threads at once, not one hop for each piece.
    """

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._stream = result.stream
        self._pieces: Iterator[Any] = iter(())
        self._ended = False
        self._held = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while not self._ended:
            for piece in self._pieces:
                return piece
            self._pieces = iter(self._more())
        raise StopIteration

    def _more(self) -> list[Any]:
        if not self._held:
            portal.acquire(self)
            self._held = True
        try:
            items = portal.call(self._result.more)
        except BaseException:
            self.close()
            raise
        if items is None:
            self.close()
        return items or []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._held:
            portal.discard(self._result.aclose)

    def close(self) -> None:
        """Leave the answer; the remote side is stopped and cleaned up."""
        self._ended = True
        held, self._held = self._held, False
        if held:
            try:
                portal.call(self._result.aclose)
            finally:
                portal.release(self)


class WholeResult(SyncResult):
    """The whole answer as one piece (``stream=False``)."""

    def __next__(self) -> str:
        if self._ended:
            raise StopIteration
        self._ended = True
        portal.acquire()
        try:
            return portal.call(self._result.whole)
        finally:
            portal.release()
