"""What must be undone on remote servers, until it is done.

Laws:
* an undo runs in a task of its own, so that neither a first nor a second cancellation of the
  caller stops it;
* the caller waits for it for a short while at most; what takes longer goes on here;
* an undo that fails is told to the log and kept as a fact; it never replaces the caller's result;
* nothing outlives the owner: ``drain`` waits, then cancels, and says what is left;
* an event loop that ends cancels all tasks, these too, and waits for them: an undo that is cut so
  is begun once more, with a short limit, even if its task had not had its first step. What makes
  something there is not, for nobody is left to undo it (``once``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from penstock.errors import PenstockError

_log = logging.getLogger("penstock.outbox")

Undo = Callable[[], Awaitable[None]]

_LAST_TRY = 3.0
"""Seconds for what the end of the loop has cut."""

MAX_FAILURES = 100
"""How many labels of failed undos are kept."""


class Outbox:
    """The undos of one session.

    Attributes:
        failed: labels of undos that failed or were given up, oldest first; the last ones only.
        failures: how many there were in all.

    Args:
        discreet: what errors leave without showing a secret.
    """

    def __init__(self, discreet: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.failed: list[str] = []
        self.failures = 0
        self._discreet = discreet
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._given_up = False

    @property
    def pending(self) -> list[str]:
        """Labels of what is not yet done."""
        return list(self._tasks.values())

    async def settle(
        self,
        label: str,
        undo: Undo,
        *,
        wait: float = 5.0,
        limit: float = 60.0,
        once: bool = False,
    ) -> None:
        """Run ``undo`` and wait up to ``wait`` seconds for it; later it goes on by itself.

        Args:
            label: what is undone, for people: provider, verb, id. No secrets.
            wait: 0 hands it over at once.
            limit: longest time the undo may take in all.
            once: it must not be begun a second time.

        A cancellation while waiting passes through at once; the undo goes on.
        """
        work = self._run(label, undo, limit, once)
        task = _begin(work if once else _Sure(work))
        self._tasks[task] = label
        task.add_done_callback(self._tasks.pop)
        if wait > 0:
            await asyncio.wait({task}, timeout=wait)

    async def drain(self, deadline: float = 5.0) -> list[str]:
        """Wait for all undos, cancel what is left, and return the labels of what was not done."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=deadline)
        left = dict(self._tasks)
        if left:
            self._given_up = True
            for task in left:
                task.cancel()
            await asyncio.wait(set(left))
            self._given_up = False
            self._note(*left.values())
            _log.warning("not undone on the remote side: %s", "; ".join(left.values()))
        return list(left.values())

    async def _run(self, label: str, undo: Undo, limit: float, once: bool) -> None:
        try:
            async with asyncio.timeout(limit):
                with self._discreet():
                    await undo()
        except (PenstockError, TimeoutError) as error:
            self._note(label)
            _log.warning("%s failed: %s", label, error)
        except asyncio.CancelledError:
            if not once and not self._given_up:
                await _once_more(undo)
            raise

    def _note(self, *labels: str) -> None:
        self.failed.extend(labels)
        self.failures += len(labels)
        del self.failed[:-MAX_FAILURES]


async def shielded(make: Callable[[], Awaitable[object]], *, wait: float = 5.0) -> None:
    """Run a cleanup in a task of its own and wait up to ``wait`` seconds for it.

    A cancellation passes through at once; the cleanup goes on in both cases. Its errors, but for
    our own, are raised here if it ended in time.
    """
    task = _begin(_Sure(_awaited(make)))
    _running.add(task)  # the loop holds its tasks weakly
    task.add_done_callback(_running.discard)
    done, _ = await asyncio.wait({task}, timeout=wait)
    for ended in done:
        ended.result()


_running: set[asyncio.Task[None]] = set()
"""Cleanups without a session that owns them; of the module, so that each outlives its caller."""


def _begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """The one place of this module where a task begins; whoever calls it holds the task."""
    return asyncio.get_running_loop().create_task(work)


class _Sure(Coroutine[Any, Any, None]):
    """``work``, which is told of a cancellation also if that comes before its first step.

    A coroutine that was not begun would end there, and do nothing.
    """

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._begun = False

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("this is for a task alone")

    def send(self, value: Any) -> Any:
        self._begun = True
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        if not self._begun:
            self.send(None)
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()


async def _awaited(make: Callable[[], Awaitable[object]]) -> None:
    try:
        await make()
    except asyncio.CancelledError:
        await _once_more(make)
        raise


async def _once_more(make: Callable[[], Awaitable[object]]) -> None:
    with suppress(PenstockError, TimeoutError):
        async with asyncio.timeout(_LAST_TRY):
            await make()
