"""An event loop whose time passes only while nothing is to be done: hours in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class _Warp(selectors.BaseSelector):
    """Looks once at the sockets, then lets the asked time have passed."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready and timeout is None:
            return self._real.select(5)  # nothing is due: only another thread could wake the loop
        if not ready and timeout:
            self.now += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class WarpedLoop(asyncio.SelectorEventLoop):
    """Its ``time`` is that of the selector."""

    def __init__(self) -> None:
        self._warp = _Warp()
        super().__init__(self._warp)

    def time(self) -> float:
        return self._warp.now


def in_no_time(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a warped loop to its end."""
    with asyncio.Runner(loop_factory=WarpedLoop) as runner:
        return runner.run(work)
