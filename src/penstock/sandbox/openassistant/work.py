"""The queue and the worker behind it (wire/openassistant.md sections 4, 6 and 8).

Theory of operation: `Work.add` queues a message, `_dispatch` gives the worker as many as
it has room for, first come, first served. Taking a message is one decision: dropped
(cancelled), refused (older than a minute), fatal (its chat is gone, or the model server
refuses its values: the worker breaks down and comes back later), or begun. An answer
begins when somebody reads it, or after a short patience: so that a reader sees it grow,
and an answer that nobody reads is given all the same.

All methods run on the event loop's thread and none awaits, so each is one step.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from penstock.sandbox.openassistant.models import is_llama
from penstock.sandbox.openassistant.posts import servable, storable
from penstock.sandbox.openassistant.records import CAUTION, FINAL, PLUGIN, Message, text_of
from penstock.sandbox.run import Run
from penstock.sandbox.script import ModelFailure

_TOO_OLD = 60  # ticks; also how long a place in the queue is known
_COMES_BACK = 5  # ticks after which a worker that broke down is there again
LOST = "Aborted due to worker error."

Start = Callable[[Message, Callable[[Run], None]], Run]


class Work:
    """The queue and one worker.

    Args:
        start: Starts the generation of a message; its second argument is told the end.
        tick: Length of a second.
        slots: How many answers the worker gives at the same time.
        limit: Longest queue; None for no limit.
        patience: Seconds an answer waits for its first reader.
        unserved: Models that no worker serves.
        strip: Whether the final texts of llama models are stripped.
        fault: Gives the value of a fault that is to strike now.
    """

    def __init__(
        self,
        start: Start,
        *,
        tick: float,
        slots: int,
        limit: int | None,
        patience: float,
        unserved: tuple[str, ...],
        strip: bool,
        fault: Callable[[str], object],
    ) -> None:
        self._start = start
        self._tick = tick
        self._slots = slots
        self._limit = limit
        self._patience = patience
        self._unserved = unserved
        self._strip = strip
        self._fault = fault
        self._queue: list[Message] = []
        self._active: dict[str, Message] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._away = False
        self._closed = False

    def add(self, message: Message) -> bool:
        """Queue a message; say whether there was room."""
        if self._limit is not None and len(self._peers(message.model)) >= self._limit:
            return False
        message.queued_at = self._now()
        message.fate = str(self._fault("queued") or "")
        message.plugin = PLUGIN if self._fault("plugin") else None
        self._queue.append(message)
        # Not before the answer to the post has gone out, which says `pending`.
        self._later(0, self._dispatch)
        return True

    def judges(self) -> bool:
        """Say whether the safety worker is to write on the question of the next message."""
        return self._fault("safety") is not None

    def place(self, message: Message) -> tuple[int, int]:
        """Give position and size of the queue: 1 is next, 0 is taken or not known."""
        peers = self._peers(message.model)
        known = message in peers and self._age(message) <= _TOO_OLD
        return (peers.index(message) + 1 if known else 0), len(peers)

    def attend(self, message: Message) -> None:
        """Say that somebody reads a message now."""
        if message.id in self._active:
            self._begin(message)

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()

    def _dispatch(self) -> None:
        while not self._closed and not self._away and len(self._active) < self._slots:
            served = (one for one in self._queue if self._is_served(one))
            message = next(served, None)
            if message is None:
                return
            self._queue.remove(message)
            self._take(message)

    def _is_served(self, message: Message) -> bool:
        return message.model not in self._unserved and message.fate != "never"

    def _take(self, message: Message) -> None:
        fate = message.fate
        message.fate = fate if fate == "timeout" else ""
        if fate == "cancelled":
            message.state = "cancelled"
        if message.state == "cancelled":
            return
        if fate in {"requeued", "lost"}:
            if fate == "requeued":
                self._queue.insert(0, message)
            self._break_down()
        elif message.gone:
            self._break_down()
        elif self._age(message) > _TOO_OLD:
            message.end("timeout", "Timeout")
        elif not servable(message.sampling):
            self._queue.insert(0, message)
            self._break_down()
        else:
            message.state = "pending" if fate == "timeout" else "in_progress"
            self._active[message.id] = message
            if message.readers or not self._patience:
                self._begin(message)
            else:
                self._later(self._patience, lambda: self.attend(message))

    def _begin(self, message: Message) -> None:
        if message.fate == "timeout":
            del self._active[message.id]
            message.end("timeout", "Timeout")
            self._dispatch()
        elif message.run is None and not self._closed:
            if message.judged is not None:
                message.judged.safety = CAUTION
            message.run = self._start(message, lambda run: self._ended(message, run))
            message.tell()

    def _ended(self, message: Message, run: Run) -> None:
        if self._active.pop(message.id, None) is None or self._closed:
            return
        if message.gone:
            self._break_down()
        elif run.failure is not None:
            self._failed(message, run.failure)
        elif run.state == "finished" and storable(run.text):
            message.content = self._final(message, run)
            message.end("complete")
        self._dispatch()

    def _failed(self, message: Message, failure: ModelFailure) -> None:
        match failure.kind:
            case "timeout":
                message.end("timeout", "Timeout")
            case "worker-lost":
                message.end("aborted_by_worker", LOST)
            case "generation":
                told = {"error": failure.message, "error_type": "generation"}
                message.end("aborted_by_worker", json.dumps(told))
            case _:
                message.end("aborted_by_worker", failure.message)

    def _final(self, message: Message, run: Run) -> str:
        whole = "".join(map(text_of, run.pieces))
        return whole.strip() if self._strip and is_llama(message.model) else whole

    def _break_down(self) -> None:
        """Lose the worker: others that have begun are aborted, those that have not wait."""
        lost, self._active = self._active, {}
        for message in lost.values():
            run, message.run = message.run, message.run
            if message.begun:
                message.end("aborted_by_worker", LOST)
            else:
                message.run = None
                message.state = "pending"
                self._queue.insert(0, message)
            if run is not None:
                run.cancel()
        self._away = True
        self._later(_COMES_BACK * self._tick, self._return)

    def _return(self) -> None:
        self._away = False
        self._dispatch()

    def _later(self, delay: float, then: Callable[[], None]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            then()

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def _peers(self, model: str) -> list[Message]:
        """Give what waits in the queue of a model: those a worker serves share one."""
        unserved = model in self._unserved
        return [one for one in self._queue if (one.model in self._unserved) == unserved]

    def _age(self, message: Message) -> float:
        return (self._now() - (message.queued_at or self._now())) / self._tick

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def is_final(message: Message) -> bool:
    """Say whether nothing more will come of a message."""
    return message.state in FINAL
