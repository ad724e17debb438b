"""Drives a coroutine step by step, so that a cancellation can come at any place it waits at.

A coroutine is suspended at each future it waits for. ``cancelled_at(k)`` cancels the task exactly
there, at its k-th suspension, before the future can answer; ``again`` does so once more at the
first suspension of the cleanup that follows.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Steps:
    """Counts the suspensions of one coroutine and acts at the chosen ones.

    Attributes:
        count: suspensions so far.
    """

    def __init__(self, at: set[int], act: Callable[[], object]) -> None:
        self.count = 0
        self._at = at
        self._act = act

    @types.coroutine
    def drive(self, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """``work``, with the action before each chosen suspension."""
        pending: BaseException | None = None
        while True:
            try:
                waited = work.send(None) if pending is None else work.throw(pending)
            except StopIteration as end:
                result: T = end.value
                return result
            self.count += 1
            if self.count in self._at:
                self._act()
            pending = None
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - it goes on into the coroutine
                pending = error


async def cancelled_at(
    work: Coroutine[Any, Any, object], step: int, *, again: bool = False
) -> bool:
    """Run ``work`` in a task of its own and cancel it at its ``step``-th suspension.

    Returns:
        False where ``work`` ended before that step.
    """

    async def run() -> object:
        return await steps.drive(work)

    def cancel() -> None:
        task.cancel()

    steps = Steps({step, step + 1} if again else {step}, cancel)
    task = asyncio.get_running_loop().create_task(run())
    await asyncio.wait({task})
    if steps.count < step:
        task.result()
        return False
    if not task.cancelled():
        task.result()  # a failure that is no cancellation comes out here
    return True
