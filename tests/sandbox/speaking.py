"""Models that speak when a test lets them, or fail; and waiting for what they bring about."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from penstock.sandbox.script import ModelFailure, Prompt, Said


class Bell:
    """Says a piece each time it is rung.

    Attributes:
        asked: What it was asked, in order.
        closed: Whether it was left.
    """

    def __init__(self) -> None:
        self.rung: asyncio.Queue[Said] = asyncio.Queue()
        self.asked: list[Prompt] = []
        self.closed = False

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.asked.append(prompt)
        try:
            while True:
                yield await self.rung.get()
        finally:
            self.closed = True


class Gated:
    """Says one piece each time the gate is opened.

    Attributes:
        asked: What it was asked, in order.
    """

    def __init__(self, *said: Said | ModelFailure) -> None:
        self._said = said
        self._gate = asyncio.Semaphore(0)
        self.asked: list[Prompt] = []

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.asked.append(prompt)
        for one in self._said:
            await self._gate.acquire()
            if isinstance(one, ModelFailure):
                raise one
            yield one

    def open(self, times: int = 1) -> None:
        for _ in range(times):
            self._gate.release()


class Failing:
    """Says some pieces and fails, each time."""

    def __init__(self, *pieces: str, reason: str = "out of memory", status: int | None = None):
        self._said = pieces
        self._failure = (reason, status)

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for one in self._said:
            yield one
        raise ModelFailure(*self._failure)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds, for five seconds at most."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)
