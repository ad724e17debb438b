"""Writes that follow one another at the end of a turn of the event loop.

Who writes to a process that sleeps pays for its awakening, which is a sixth of all that a plain
request costs. Written as each is ready, requests that are under way at the same time wake their
server one by one: it sleeps again before the next. Written together, the first one wakes it for
all. A write waits no longer than it takes to make ``MOST`` of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

MOST = 16
"""Writes that may wait."""


class Writer(Protocol):
    """What of a transport is needed to write to it."""

    def is_closing(self) -> bool:
        """Nothing can be written any more."""

    def write(self, data: bytes) -> None:
        """Write ``data``."""


class Gathered:
    """Writes to any number of writers of one event loop; none is worth waiting for alone."""

    __slots__ = ("_writes",)

    def __init__(self) -> None:
        self._writes: list[tuple[Writer, bytes]] = []

    def write(self, writer: Writer, data: bytes) -> None:
        """Write ``data`` by the next turn of the loop, unless ``writer`` closes before."""
        writes = self._writes
        writes.append((writer, data))
        if len(writes) >= MOST:
            self.flush()
        elif len(writes) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write all that waits, now."""
        writes, self._writes = self._writes, []
        for writer, data in writes:
            if not writer.is_closing():
                # uvloop raises where the other side has gone a moment ago; who reads is told so.
                with suppress(RuntimeError):
                    writer.write(data)
