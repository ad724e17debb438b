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
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Generic, Literal, TypeVar

from penstock.sandbox.script import End, ModelFailure, Piece

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
        """Wait for the next piece or the end; say whether it came within `limit` seconds.

        Whoever reads `pieces` directly looks first and waits after, with no other wait
        in between: then nothing can be missed.
        """
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

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
