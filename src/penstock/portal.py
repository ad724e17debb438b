"""The one thread that runs async code for callers who are not async.

It starts with the first user and ends with the last, patches no event loop and leaves none behind.
It works from plain scripts, from threads, from Jupyter and inside a running loop, because the
caller's own loop is never touched.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_LAST_CLEANUPS = 5.0
"""Seconds that cleanups may take after the last user left."""


class Portal:
    """A thread with an event loop, shared by all that ``acquire`` it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Begin to use the portal; the first user starts the thread."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._serve, args=(ready,), name="penstock-portal", daemon=True
            )
            self._thread.start()
            ready.wait()

    def release(self) -> None:
        """End the use; the last user's release ends the thread."""
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            asyncio.run_coroutine_threadsafe(_settle(loop), loop)
        if thread is not threading.current_thread():
            thread.join()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the portal and wait for its result.

        An interrupt of the waiting thread (Ctrl-C) cancels the coroutine and is raised again.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("the portal is not in use")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a sync call inside Penstock's own thread would wait for ever")
        future = asyncio.run_coroutine_threadsafe(make(), loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def _serve(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            loop = self._loop = runner.get_loop()
            loop.call_soon(ready.set)
            loop.run_forever()


async def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """Let cleanups that are under way end, for a while; then stop the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_LAST_CLEANUPS)
    loop.stop()


portal = Portal()
"""The process's one portal."""
