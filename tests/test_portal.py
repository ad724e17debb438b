"""The one thread that runs async code for callers who are not async."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from penstock.errors import StreamCancelledError
from penstock.portal import Portal


async def name_of_thread() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_it_runs_in_one_thread_and_ends_with_its_last_user() -> None:
    portal = Portal()
    portal.acquire()
    portal.acquire()
    assert portal.call(name_of_thread) == "penstock-portal"
    portal.release()
    assert portal.call(name_of_thread) == "penstock-portal"
    portal.release()
    assert "penstock-portal" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        portal.call(name_of_thread)


def test_it_starts_again_after_its_end() -> None:
    portal = Portal()
    for _ in range(2):
        portal.acquire()
        assert portal.call(name_of_thread) == "penstock-portal"
        portal.release()


async def test_it_works_inside_a_running_loop() -> None:
    portal = Portal()
    portal.acquire()
    try:
        assert portal.call(name_of_thread) == "penstock-portal"
        assert asyncio.get_running_loop().is_running()
    finally:
        portal.release()


def test_many_threads_call_at_once() -> None:
    portal = Portal()
    seen: list[str] = []

    def use() -> None:
        portal.acquire()
        try:
            seen.append(portal.call(name_of_thread))
        finally:
            portal.release()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["penstock-portal"] * 8


def test_errors_come_through() -> None:
    async def fail() -> None:
        raise LookupError("x")

    portal = Portal()
    portal.acquire()
    try:
        with pytest.raises(LookupError):
            portal.call(fail)
    finally:
        portal.release()


def test_a_call_from_its_own_thread_is_refused() -> None:
    portal = Portal()

    async def nested() -> str:
        return portal.call(name_of_thread)

    portal.acquire()
    try:
        with pytest.raises(RuntimeError, match="own thread"):
            portal.call(nested)
    finally:
        portal.release()


def test_cleanups_under_way_may_end_before_the_thread_does() -> None:
    portal = Portal()
    done: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def cleanup() -> None:
        await asyncio.sleep(0.05)
        done.append("cleaned")

    async def begin() -> None:
        tasks.add(asyncio.get_running_loop().create_task(cleanup()))

    portal.acquire()
    portal.call(begin)
    portal.release()
    assert done == ["cleaned"]


def test_an_interrupted_wait_ends_after_the_cleanup() -> None:
    portal = Portal()
    done: list[str] = []

    async def work() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            done.append("cleaned")

    portal.acquire()
    try:
        with pytest.raises(KeyboardInterrupt):
            portal.call(work)
        assert done == ["cleaned"]
    finally:
        portal.release()


def test_a_call_that_the_end_of_the_portal_meets_gets_an_error() -> None:
    portal = Portal()
    begun = threading.Event()
    errors: list[BaseException] = []

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    def use() -> None:
        try:
            portal.call(work)
        except StreamCancelledError as error:
            errors.append(error)

    portal.acquire()
    thread = threading.Thread(target=use)
    thread.start()
    assert begun.wait(2)
    portal.release()
    thread.join(2)
    assert len(errors) == 1


def test_a_collected_user_does_not_wait() -> None:
    portal = Portal()
    gate = threading.Event()

    async def last() -> None:
        await asyncio.to_thread(gate.wait)

    portal.acquire()
    portal.discard(last)
    assert "penstock-portal" in {thread.name for thread in threading.enumerate()}
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "penstock-portal":
            thread.join(2)
    with pytest.raises(RuntimeError, match="closed"):
        portal.call(name_of_thread)


def test_users_are_closed_at_the_exit() -> None:
    portal = Portal()
    closed: list[str] = []

    class User:
        def close(self) -> None:
            closed.append("closed")
            portal.release(self)

    user = User()
    portal.acquire(user)
    portal.close()
    portal.close()
    assert closed == ["closed"]
    assert user not in portal._known
