"""Leaves streams that nobody leaves: those the garbage collector found, and the end of the loop.

An open stream owns a connection and a remote conversation, and undoing them takes requests. Two
moments leave no one to do it: a suspended stream that is dropped, and an event loop that ends
(``asyncio.run`` after a ``break``). For both, one task for each loop waits as long as streams are
open there that could be left so. The loop cancels it at its end and waits for it, so this is the
moment in which everything that is still open is left in order; without it, ``shutdown_asyncgens``
closes the generators of one context all at once, which leaves them broken.

Laws:
* a hold does not keep its stream alive, only what the stream owns;
* a stream that is read to its end by one coroutine, which leaves it, needs nobody to wait;
* who owns the connections (a session) leaves its streams before it closes them;
* a context is left once, by whoever takes it first;
* a stream that is being read is left by its reader, whom the end of the loop cancels as well;
* a cleanup that fails is told to the log and never replaces the result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from penstock.errors import PenstockError
from penstock.provider import EventStream

_log = logging.getLogger("penstock.stream")

LAST_CLEANUPS = 5.0
"""Seconds that leaving may take at the end of a loop."""


class Owner(Protocol):
    """Whose end is a stream's end, too: a session."""

    def clean(self, error: PenstockError) -> None:
        """Take out of ``error`` what a server told back of the credentials it was sent."""


class Hold:
    """What one open stream owns.

    Attributes:
        owner: what was given for it.
        left: the context was left, or is being left.
        busy: a task is reading, and will leave the context itself if it is cancelled.
    """

    def __init__(self, keeper: _Keeper, context: EventStream, owner: Owner | None) -> None:
        self.owner = owner
        self._keeper = keeper
        self._context: EventStream | None = context
        self.left = False
        self.busy = False

    async def leave(self) -> None:
        """Leave the context, unless that was done or is under way.

        A cancellation cuts it short; what it had handed to the outbox goes on there.
        """
        context, self._context = self._context, None
        if context is None:
            return
        self.left = True
        try:
            await context.__aexit__(None, None, None)
        except PenstockError as error:  # faults.md row 69: the answer is kept
            if self.owner is not None:
                self.owner.clean(error)
            _log.warning("a cleanup failed: %s", error)
        finally:
            self._keeper.forget(self)

    def drop(self) -> None:
        """The stream is gone; its context is left soon. From any thread."""
        if self._context is not None:
            self._keeper.drop(self)


class _Keeper:
    """The open streams of one event loop, and the task that waits for its end if one needs it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._holds: set[Hold] = set()
        self._leaving: dict[Hold, asyncio.Task[None]] = {}
        self._empty: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Nothing more can be held here."""
        return self._empty is not None and self._empty.done()

    def hold(self, context: EventStream, owner: Owner | None, *, attended: bool) -> Hold:
        """Hold ``context`` until it is left."""
        hold = Hold(self, context, owner)
        self._holds.add(hold)
        if self._empty is None and not attended:
            self._empty = self._loop.create_future()
            self._task = self._begin(self._keep(self._empty))
        return hold

    def forget(self, hold: Hold) -> None:
        """``hold`` was left."""
        self._holds.discard(hold)
        if self._holds:
            return
        if self._empty is None:
            self._end()
        elif not self._empty.done():
            self._empty.set_result(None)

    def drop(self, hold: Hold) -> None:
        """Leave ``hold`` in a task of its own."""
        with suppress(RuntimeError):  # the loop is closed: nothing can be sent any more
            self._loop.call_soon_threadsafe(self._start, hold)

    async def leave_all(self) -> None:
        """Leave all that nobody is reading."""
        # Anew: the end of the loop may have cancelled a task that had not begun.
        await self._ended([self._start(hold) for hold in list(self._holds) if not hold.busy])

    async def leave_of(self, owner: Owner | None) -> None:
        """Leave all of ``owner``."""
        of_owner = [hold for hold in self._holds if hold.owner is owner]
        await self._ended([self._leaving.get(hold) or self._start(hold) for hold in of_owner])

    async def _ended(self, tasks: list[asyncio.Task[None]]) -> None:
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_CLEANUPS)
            for task in late:
                task.cancel()

    def _start(self, hold: Hold) -> asyncio.Task[None]:
        def forget(task: asyncio.Task[None]) -> None:
            if self._leaving.get(hold) is task:
                del self._leaving[hold]

        task = self._leaving[hold] = self._begin(hold.leave())
        task.add_done_callback(forget)
        return task

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The one place of this module where a task begins; it ends before its loop does."""
        return self._loop.create_task(work)

    async def _keep(self, empty: asyncio.Future[None]) -> None:
        try:
            await empty
        except asyncio.CancelledError:
            await self.leave_all()
            raise
        finally:
            self._end()

    def _end(self) -> None:
        if _keepers.get(self._loop) is self:
            del _keepers[self._loop]


_keepers: dict[asyncio.AbstractEventLoop, _Keeper] = {}
"""One for each loop that has open streams; an entry ends with the last of them, or its task."""


def hold(context: EventStream, owner: Owner | None = None, *, attended: bool = False) -> Hold:
    """Hold an entered context of the running loop until it is left.

    Args:
        owner: who leaves it with ``leave_of`` before it closes what the context uses.
        attended: the coroutine that entered it leaves it, whatever happens.
    """
    loop = asyncio.get_running_loop()
    keeper = _keepers.get(loop)
    if keeper is None or keeper.ended:
        keeper = _keepers[loop] = _Keeper(loop)
    return keeper.hold(context, owner, attended=attended)


async def leave_of(owner: Owner | None) -> None:
    """Leave all streams of ``owner`` in the running loop; their readers get an error.

    It takes ``LAST_CLEANUPS`` seconds at most. A cancellation passes through at once.
    """
    keeper = _keepers.get(asyncio.get_running_loop())
    if keeper is not None:
        await keeper.leave_of(owner)


async def leave_all() -> None:
    """Leave all streams of the running loop that nobody is reading.

    It takes ``LAST_CLEANUPS`` seconds at most. A cancellation passes through at once.
    """
    keeper = _keepers.get(asyncio.get_running_loop())
    if keeper is not None:
        await keeper.leave_all()
