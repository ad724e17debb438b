"""The one thread that runs async code for callers who are not async."""

from __future__ import annotations

import asyncio
import threading

import pytest

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
    with pytest.raises(RuntimeError, match="not in use"):
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
