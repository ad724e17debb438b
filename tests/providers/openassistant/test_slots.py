"""The account's one place in the queue: in line, across cancellations, threads and loops."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from penstock.providers.openassistant.slots import Lease, QueueSlot, process_slot


async def turns() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    slot = QueueSlot()
    order: list[int] = []

    async def user(number: int) -> None:
        lease = await slot.acquire()
        order.append(number)
        await asyncio.sleep(0)
        lease.release()

    await asyncio.gather(*(user(number) for number in range(20)))
    assert order == list(range(20))


async def test_only_one_holds_it() -> None:
    slot = QueueSlot()
    lease = await slot.acquire()
    second = asyncio.create_task(slot.acquire())
    await turns()
    assert not second.done()
    lease.release()
    lease.release()  # once is enough, twice no harm
    other = await second
    third = asyncio.create_task(slot.acquire())
    await turns()
    assert not third.done()
    other.release()
    (await third).release()


async def test_who_is_cancelled_leaves_the_line() -> None:
    slot = QueueSlot()
    lease = await slot.acquire()
    waiting = [asyncio.create_task(slot.acquire()) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    lease.release()
    (await waiting[1]).release()
    (await waiting[2]).release()


async def test_a_place_that_was_handed_to_somebody_cancelled_is_passed_on() -> None:
    slot = QueueSlot()
    lease = await slot.acquire()
    first, second = asyncio.create_task(slot.acquire()), asyncio.create_task(slot.acquire())
    await turns()
    lease.release()
    first.cancel()  # the place is on its way to it
    with pytest.raises(asyncio.CancelledError):
        await first
    (await second).release()


async def test_a_lease_that_is_lost_frees_the_place() -> None:
    slot = QueueSlot()
    await slot.acquire()
    gc.collect()
    async with asyncio.timeout(1):
        (await slot.acquire()).release()


def test_threads_with_loops_of_their_own_share_it() -> None:
    slot = QueueSlot()
    holders: list[int] = []
    most: list[int] = []

    async def user() -> None:
        lease = await slot.acquire()
        holders.append(1)
        most.append(len(holders))
        await asyncio.sleep(0.001)
        holders.pop()
        lease.release()

    async def users() -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*(user() for _ in range(10)))

    threads = [threading.Thread(target=asyncio.run, args=(users(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40
    assert max(most) == 1


def test_whoever_waited_in_a_loop_that_is_closed_is_passed_over() -> None:
    slot = QueueSlot()
    held: list[Lease] = []

    async def hold() -> None:
        held.append(await slot.acquire())

    asyncio.run(hold())
    loop = asyncio.new_event_loop()
    slot._line.append(loop.create_future())
    loop.close()
    held[0].release()
    asyncio.run(hold())
    assert held[1].held


def test_slots_of_the_process_are_shared_by_digest_and_held_weakly() -> None:
    one = process_slot("digest")
    assert process_slot("digest") is one
    assert process_slot("other") is not one
    before = id(one)
    marker = one._line
    del one
    gc.collect()
    again = process_slot("digest")
    assert id(again) != before or again._line is not marker
