"""The one place that an account has in the server's queue.

Ordering an answer cancels every other answer of the same account that still waits, in any chat
(``wire/openassistant.md`` section 5). So whoever orders one holds the account's slot until a worker
has taken it. Calls of one session share the slots of that session; documented calls without a
session share those of the process (``process_slot``), whichever thread and event loop they run in.

A ``QueueSlot`` therefore is a lock for several event loops: its state is guarded by a thread lock,
held for a few instructions and never across an await, and it is handed over to the next in line by
that one's own loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from weakref import WeakValueDictionary


class QueueSlot:
    """One place; first come, first served."""

    def __init__(self) -> None:
        # Re-entrant, for a lost lease may be collected, and so released, at any moment.
        self._guard = threading.RLock()
        self._taken = False
        self._line: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> Lease:
        """Wait for the place. A cancelled wait leaves the line."""
        lease, turn = Lease(self), asyncio.get_running_loop().create_future()
        with self._guard:
            free = not self._taken
            if free:
                self._taken = True
            else:
                self._line.append(turn)
        if not free:
            await self._wait(turn)
        lease.held = True
        return lease

    async def _wait(self, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            with self._guard:
                waiting = turn in self._line
                if waiting:
                    self._line.remove(turn)
            if not waiting:  # it was ours already, or on its way to us
                self.pass_on()
            raise

    def pass_on(self) -> None:
        """Hand the place to the next in line, or leave it free. Only its holder may do so."""
        with self._guard:
            while self._line:
                turn = self._line.popleft()
                try:
                    turn.get_loop().call_soon_threadsafe(_hand_over, turn)
                except RuntimeError:  # that loop is closed, and its task with it
                    continue
                return
            self._taken = False


def _hand_over(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Lease:
    """The place, once it is held. Releasing it twice does no harm; so does losing it.

    Attributes:
        held: it is ours.
    """

    def __init__(self, slot: QueueSlot) -> None:
        self.held = False
        self._slot = slot

    def release(self) -> None:
        """Give the place to the next in line."""
        if self.held:
            self.held = False
            self._slot.pass_on()

    def __del__(self) -> None:
        self.release()


# State of the process, for once: what it stands for, an account's place on a server, is shared by
# all callers whether they know each other or not. It is held weakly, by digests.
_guard = threading.Lock()
_slots: WeakValueDictionary[str, QueueSlot] = WeakValueDictionary()


def process_slot(account: str) -> QueueSlot:
    """The process's slot for ``account``, a digest; it lives as long as somebody holds it."""
    with _guard:
        slot = _slots.get(account)
        if slot is None:
            slot = _slots[account] = QueueSlot()
        return slot
