"""Several worker processes answer as one: whoever is asked for figures asks the others.

The kernel hands each connection to any of the workers, so a figure of one of them is the figure of
the whole only by chance. Each worker listens on a socket in a folder that only its user can open,
and tells what it knows to whoever connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE = 1.0
"""Seconds for which a worker may be silent; figures come without it then."""


class Siblings:
    """The workers of one gateway, seen by one of them.

    Args:
        folder: where their sockets are.
        index: which of them this is, from 0.
        count: how many there are.
    """

    def __init__(self, folder: Path, index: int, count: int) -> None:
        self.index = index
        self.name = str(index)
        self._others = {str(i): folder / str(i) for i in range(count) if i != index}
        self._own = folder / self.name

    @asynccontextmanager
    async def serving(self, tell: Callable[[], bytes]) -> AsyncIterator[None]:
        """Meanwhile tell the others what ``tell`` says."""

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(tell())
            writer.close()

        self._own.unlink(missing_ok=True)  # of a worker that died
        async with await asyncio.start_unix_server(connected, self._own):
            yield

    async def others(self) -> dict[str, bytes]:
        """What the other workers say; one that is silent is left out."""
        async with asyncio.TaskGroup() as group:
            asked = {name: group.create_task(_asked(path)) for name, path in self._others.items()}
        told = {name: task.result() for name, task in asked.items()}
        return {name: data for name, data in told.items() if data}


async def _asked(path: Path) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""
