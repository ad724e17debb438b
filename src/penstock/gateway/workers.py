"""Several processes on one address: started, told of signals, replaced when one dies.

Laws:
* the first process listens on nothing; it keeps the port bound while workers come and go;
* workers stand in process groups of their own: Ctrl-C in a terminal reaches the first process
  alone, which passes it on, so that each of them hears of it once;
* a worker that died is replaced, but none more often than once in ``REST`` seconds;
* a worker whose first process is gone ends as by SIGTERM: nothing keeps the port for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess

_log = logging.getLogger("penstock.gateway")

REST = 1.0
"""Seconds between two starts of the same worker."""
LOOK = 0.5
"""Seconds between two looks at workers that are to be started again."""

Start = Callable[[int, Connection], BaseProcess]


class Workers:
    """The processes of one gateway.

    Args:
        count: how many.
        start: index, and where the worker sends its index once it listens -> a process, started.
        on_started: called once, when the first workers all listen.
    """

    def __init__(self, count: int, start: Start, on_started: Callable[[], None]) -> None:
        self._count = count
        self._start = start
        self._on_started = on_started
        self._heard, self._told = Pipe(duplex=False)
        self._silent = set(range(count))
        self._stopping = False
        self._workers: dict[int, BaseProcess] = {}
        self._begun: dict[int, float] = {}

    def run(self) -> None:
        """Watch over them until a signal has ended them all."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            signal.signal(getattr(signal, name), self._tell)
        while not self._stopping or self._workers:
            self._look()
            self._fill()
            ends = [worker.sentinel for worker in self._workers.values()]
            if self._heard in wait([self._heard, *ends], timeout=LOOK):
                self._note(self._heard.recv())
        self._heard.close()
        self._told.close()

    def _tell(self, number: int, frame: object = None) -> None:
        self._stopping = self._stopping or number != signal.SIGHUP
        for worker in list(self._workers.values()):
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _look(self) -> None:
        for index, worker in list(self._workers.items()):
            if not worker.is_alive():
                del self._workers[index]
                if not self._stopping:
                    _log.error("a worker ended with code %s; starting another", worker.exitcode)

    def _fill(self) -> None:
        now = time.monotonic()
        for index in range(self._count):
            rested = now - self._begun.get(index, -REST) >= REST
            if index not in self._workers and rested and not self._stopping:
                self._begun[index] = now
                self._workers[index] = self._start(index, self._told)

    def _note(self, index: int) -> None:
        first = bool(self._silent)
        self._silent.discard(index)
        if first and not self._silent:
            self._on_started()


def stand_apart() -> None:
    """Leave the first process's group: a signal of the terminal is passed on by it."""
    os.setpgrp()


def end_with_parent() -> None:
    """End as by SIGTERM when the first process is gone. Called in the loop of a worker."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def gone() -> None:
        loop.remove_reader(sentinel)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, gone)
