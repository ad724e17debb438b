"""The answers under way, and their end when the gateway ends."""

from __future__ import annotations

import asyncio
import contextlib

from penstock.gateway.answer import Answer


class UnderWay:
    """The answers that run now. For one event loop."""

    def __init__(self) -> None:
        self._answers: set[Answer] = set()
        self._idle = asyncio.Event()  # set by the last of them to end
        self._patience: asyncio.Timeout | None = None

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answer: Answer) -> None:
        """One more."""
        self._answers.add(answer)

    def discard(self, answer: Answer) -> None:
        """It has ended."""
        self._answers.discard(answer)
        if not self._answers:
            self._idle.set()

    async def drain(self, limit: float) -> None:
        """Let them end within ``limit`` seconds, then end those that have not.

        The upstreams of those that are ended are stopped, and their callers are told.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit) as self._patience:
                while self._answers:
                    self._idle.clear()
                    await self._idle.wait()
        self._patience = None
        async with asyncio.TaskGroup() as group:
            for answer in list(self._answers):
                group.create_task(answer.stop())

    def hurry(self) -> None:
        """End them now, if ``drain`` waits. Safe in a signal handler."""
        asyncio.get_running_loop().call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())
