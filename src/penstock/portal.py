"""The one thread that runs async code for callers who are not async.

It starts with the first user and ends with the last, patches no event loop and leaves none behind.
It works from plain scripts, from threads, from Jupyter and inside a running loop, because the
caller's own loop is never touched.

Laws:
* a call ends after its coroutine, also when the waiting thread is interrupted: the coroutine is
  cancelled and its cleanup awaited before the interrupt goes on;
* a garbage collector never waits here (``discard``), for it may run in any thread;
* a program that ends without closing its users ends all the same: they are closed at its exit;
* a forked child has no part in its parent's thread and starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, Generic, Protocol, TypeVar

from penstock import keeper
from penstock.errors import StreamCancelledError

T = TypeVar("T")

_LAST_CLEANUPS = 5.0
"""Seconds that cleanups may take after the last user left, or after an interrupt."""


class User(Protocol):
    """Who uses a portal and is closed at the exit of the program."""

    def close(self) -> object:
        """End the use."""


class Portal:
    """A thread with an event loop, shared by all that ``acquire`` it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._known: weakref.WeakSet[User] = weakref.WeakSet()
        self._works: set[_Work[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def acquire(self, user: User | None = None) -> None:
        """Begin to use the portal; the first user starts the thread.

        Args:
            user: closed when the program ends, if it is still there.
        """
        with self._lock:
            self._users += 1
            if user is not None:
                self._known.add(user)
            if self._users > 1:
                return
            ready = threading.Event()
            self._thread = threading.Thread(
                target=self._serve, args=(ready,), name="penstock-portal", daemon=True
            )
            self._thread.start()
            ready.wait()

    def release(self, user: User | None = None) -> None:
        """End the use; the last user's release ends the thread."""
        thread = self._released(user)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the portal and wait for its result.

        An interrupt of the waiting thread (Ctrl-C) cancels the coroutine, waits for its cleanup
        and is raised again.

        Raises:
            RuntimeError: nobody uses the portal, or this is its own thread.
            StreamCancelledError: the portal was closed meanwhile.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("this client is closed")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a sync call inside Penstock's own thread would wait for ever")
        work = _Work(make, loop)
        self._works.add(work)
        work.answer.add_done_callback(lambda _: self._works.discard(work))
        try:
            loop.call_soon_threadsafe(work.begin)
            return work.answer.result()
        except BaseException:
            if not work.answer.done():
                loop.call_soon_threadsafe(work.cancel)
                wait([work.answer], timeout=_LAST_CLEANUPS)
            raise

    def discard(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a last coroutine of a user without waiting for it, then end the use."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            last = asyncio.run_coroutine_threadsafe(make(), loop)
            last.add_done_callback(lambda _: self._released(None))

    def close(self) -> None:
        """Close all users, at the exit of the program."""
        for user in list(self._known):
            user.close()

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self._begin()

    def _released(self, user: User | None) -> threading.Thread | None:
        with self._lock:
            self._users -= 1
            if user is not None:
                self._known.discard(user)
            if self._users or self._loop is None:
                return None
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            for work in self._works_of(loop):
                loop.call_soon_threadsafe(work.cancel)
            asyncio.run_coroutine_threadsafe(_settle(loop), loop)
            return thread

    def _serve(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            loop = self._loop = runner.get_loop()
            loop.call_soon(ready.set)
            loop.run_forever()
        for work in self._works_of(loop):
            work.close()

    def _works_of(self, loop: asyncio.AbstractEventLoop) -> list[_Work[Any]]:
        return [work for work in list(self._works) if work.loop is loop]


class _Work(Generic[T]):
    """One call: its coroutine there, its answer here."""

    def __init__(
        self, make: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self.answer: Future[T] = Future()
        self._make = make
        self._task: asyncio.Task[T] | None = None

    async def _run(self) -> T:
        return await self._make()

    def begin(self) -> None:
        """In the portal's thread: start the coroutine; no task is around it there."""
        self._task = self.loop.create_task(self._run())
        self._task.add_done_callback(self._tell)

    def cancel(self) -> None:
        """In the portal's thread: cancel the coroutine; the answer comes when it has ended."""
        if self._task is None:  # the interrupt came before it was begun
            self.close()
        else:
            self._task.cancel()

    def close(self) -> None:
        """The loop has ended: no answer will come."""
        if not self.answer.done():
            self.answer.set_exception(_closed())

    def _tell(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.set_exception(_closed())
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())


def _closed() -> StreamCancelledError:
    return StreamCancelledError("the client was closed during this call")


async def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """Let cleanups that are under way end, for a while; then stop the loop."""
    await keeper.leave_all()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_LAST_CLEANUPS)
    loop.stop()


portal = Portal()
"""The process's one portal."""

atexit.register(portal.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=portal.forget)
