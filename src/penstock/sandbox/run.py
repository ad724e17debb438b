"""One generation of the model, independent of who reads it.

Laws:
1. A run goes on without readers; who wants it to stop calls `Run.cancel`.
2. It ends exactly once: ``finished`` (then `Run.finish` says how), ``failed`` (then
   `Run.failure` says why) or ``cancelled``.
3. A piece that ends the answer by length or by a stop text is added and ends the run
   without a wait in between: a reader that gets it already sees `Run.finish`. The frame
   of TGI's last token depends on that (wire/h2o.md section 4).
4. Every reader sees every piece, from the place it asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, Literal, TypeVar

from penstock.sandbox.script import End, ModelFailure, Piece, Prompt, Script

RunState = Literal["running", "finished", "failed", "cancelled"]


T = TypeVar("T")


class Feed(Generic[T]):
    """Items that come over time, for any number of readers, each from its own place."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.ended = False
        self._changed = asyncio.Event()

    def add(self, item: T) -> None:
        """Add an item."""
        self.items.append(item)
        self._tell()

    def end(self) -> None:
        """Say that nothing more will come."""
        self.ended = True
        self._tell()

    async def follow(self, start: int = 0, *, beat: float | None = None) -> AsyncIterator[T | None]:
        """Yield the items from number `start` on, until the end.

        Args:
            start: Number of items to skip.
            beat: After so many seconds without an item, `None` is yielded: the moment
                for a keep-alive.
        """
        position = start
        while True:
            if position < len(self.items):
                position += 1
                yield self.items[position - 1]
            elif self.ended:
                return
            elif not await self.changed(beat):
                yield None

    async def wait(self) -> None:
        """Wait for the end."""
        while not self.ended:
            await self.changed()

    async def changed(self, limit: float | None = None) -> bool:
        """Wait for the next item or the end; say whether it came within `limit` seconds.

        Whoever reads `items` directly looks first and waits after, with no other wait
        in between: then nothing can be missed.
        """
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()


class Run:
    """A generation: its pieces so far, and how it ended."""

    def __init__(
        self, prompt: Prompt, script: Script, pace: float, on_end: Callable[[Run], None]
    ) -> None:
        self.prompt = prompt
        self._feed: Feed[Piece] = Feed()
        self.state: RunState = "running"
        self.finish: str | None = None
        self.stopped_by: str | None = None
        self.failure: ModelFailure | None = None
        self._script = script
        self._pace = pace
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._tail = ""

    @property
    def pieces(self) -> list[Piece]:
        """The pieces so far."""
        return self._feed.items

    @property
    def text(self) -> str:
        """The visible text so far."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def ended(self) -> bool:
        """Whether no further piece will come."""
        return self.state != "running"

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to speak, as a task of `group`."""
        self._task = group.create_task(self._speak())

    def cancel(self) -> None:
        """End the run now, if it runs; its readers come to their end."""
        self._end("cancelled")
        if self._task is not None:
            self._task.cancel()

    def follow(self, start: int = 0, *, beat: float | None = None) -> AsyncIterator[Piece | None]:
        """Yield the pieces from number `start` on, as `Feed.follow` does."""
        return self._feed.follow(start, beat=beat)

    async def changed(self, limit: float | None = None) -> bool:
        """Wait for the next piece or the end, as `Feed.changed` does."""
        return await self._feed.changed(limit)

    async def wait(self) -> None:
        """Wait until the run has ended."""
        await self._feed.wait()

    async def _speak(self) -> None:
        try:
            async with aclosing(self._script.pieces(self.prompt)) as said:
                async for one in said:
                    if isinstance(one, End):
                        self._finish(one.finish)
                    else:
                        self._add(one)
                    if self.ended:
                        return
                    await asyncio.sleep(self._pace)
            self._finish("stop")
        except ModelFailure as failure:
            self.failure = failure
            self._end("failed")
        except Exception as problem:  # noqa: BLE001 - a script of a user's own may raise anything
            # It fails this run and nothing else: the other servers and runs go on.
            self.failure = ModelFailure(f"the script failed: {type(problem).__name__}: {problem}")
            self._end("failed")
        finally:
            self._end("cancelled")

    def _add(self, piece: Piece) -> None:
        self._feed.add(piece)
        if isinstance(piece, str) and self.prompt.stop:
            # Only as much of the text as the longest stop text can reach back to.
            reach = max(map(len, self.prompt.stop)) + len(piece)
            self._tail = (self._tail + piece)[-reach:]
            self.stopped_by = next((s for s in self.prompt.stop if s and s in self._tail), None)
        if self.stopped_by is not None:
            self._finish("stop")
        elif self.prompt.max_tokens is not None and len(self.pieces) >= self.prompt.max_tokens:
            self._finish("length")

    def _finish(self, finish: str) -> None:
        if not self.ended:
            self.finish = finish
            self._end("finished")

    def _end(self, state: RunState) -> None:
        if not self.ended:
            self.state = state
            self._on_end(self)
            self._feed.end()
