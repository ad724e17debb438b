"""The time limits of one call: what counts as life, and which limit a wait breaks."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.errors import PenstockError, StreamTimeoutError
from penstock.provider import ProviderConfig
from penstock.providers.common import Call
from penstock.transport import Limits, Session
from penstock.types import Event, Reasoning, Started, Text, Timeouts, ToolCall, Waiting
from penstock.wire.openai import ChatDecoder
from penstock.wire.request import HttpRequest
from tests.sockets import Peer, scripted


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(**values: float | None) -> Limits:
    return Limits(Timeouts(**values), clock=Clock())


def broken(some: Limits) -> str:
    error = some.broken()
    assert error.phase is not None
    return error.phase


@pytest.mark.parametrize("event", [Text("a"), Reasoning("a"), ToolCall()])
async def test_content_begins_the_idle_limit(event: Event) -> None:
    some = limits(first_content=10.0, idle=3.0)
    some.spend(9.0)
    some.saw([Started(), event, Started()])
    assert some.budget() == 3.0
    some.spend(3.0)
    assert some.budget() == 0.0
    assert broken(some) == "idle"


async def test_what_is_not_content_restarts_nothing() -> None:
    some = limits(first_content=10.0, idle=3.0)
    some.spend(9.0)
    some.saw([Started("id")])
    some.saw([])
    assert some.budget() == 1.0
    assert broken(some) == "first_content"


async def test_waiting_restarts_the_first_content_limit_and_has_its_own() -> None:
    """A queue or a cold start is no silence, however long the model then takes to begin."""
    some = limits(first_content=10.0, waiting=25.0)
    for _ in range(2):
        some.saw([Waiting("queue", 1, 2)])
        assert some.budget() == 10.0
        some.spend(9.0)
    some.saw([Waiting("queue", 1, 2)])
    assert some.budget() == 7.0
    some.spend(7.0)
    assert broken(some) == "waiting"


async def test_waiting_that_stops_being_reported_breaks_the_first_content_limit() -> None:
    some = limits(first_content=10.0, waiting=600.0)
    some.saw([Waiting("cold_start")])
    some.spend(10.0)
    assert broken(some) == "first_content"


async def test_waiting_after_content_restarts_nothing() -> None:
    some = limits(idle=3.0)
    some.saw([Text("a")])
    some.spend(2.0)
    some.saw([Waiting("queue")])
    assert some.budget() == 1.0


async def test_the_total_limit_counts_everything() -> None:
    some = limits(first_content=10.0, idle=10.0, total=12.0)
    some.spend(8.0)
    some.saw([Text("a")])
    assert some.budget() == 4.0
    some.spend(4.0)
    assert broken(some) == "total"


async def test_none_switches_limits_off() -> None:
    some = limits(first_content=None, idle=None)
    assert some.budget() is None
    some.spend(1e9)
    some.saw([Text("a")])
    assert some.budget() is None


async def test_a_step_that_takes_too_long() -> None:
    some = Limits(Timeouts(first_content=0.05))
    with pytest.raises(StreamTimeoutError) as caught:
        await some.pause(5)
    assert caught.value.phase == "first_content"


async def test_a_foreign_timeout_inside_a_step_stays_foreign() -> None:
    some = Limits(Timeouts(first_content=5.0))
    with pytest.raises(TimeoutError) as caught, some.step():
        raise TimeoutError("not ours")
    assert not isinstance(caught.value, StreamTimeoutError)


async def comments_only(peer: Peer) -> None:
    await peer.request()
    await peer.head()
    while True:
        await peer.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.01)


async def test_comments_do_not_count_as_content() -> None:
    """faults.md row 38: a stream of comments breaks the first content limit all the same."""
    async with scripted(comments_only) as server, Session() as session:
        config = ProviderConfig(name="p", timeouts=Timeouts(first_content=0.1))
        call = Call(session, config)
        request = HttpRequest(method="GET", url=server.url)
        async with call.open(request, refuse) as response:
            batches = call.pump(response, ChatDecoder("p"))
            with pytest.raises(StreamTimeoutError) as caught:
                await anext(batches)
        assert caught.value.phase == "first_content"
        await server.quiet()


def refuse(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
    raise AssertionError(f"status {status}")


async def test_a_slow_consumer_never_makes_the_server_look_stalled() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        for _ in range(3):
            await peer.chunk(b"piece")
        await peer.end()

    async with scripted(handler) as server, Session() as session:
        some = Limits(Timeouts(first_content=0.1, idle=0.1))
        async with session.open(HttpRequest(method="GET", url=server.url), some) as response:
            watch = some.watch(response.abort)
            got = b""
            while True:
                watch.start()
                data = await response.read_some()
                watch.stop()
                if not data:
                    break
                got += data
                some.saw([Text("piece")])
                await asyncio.sleep(0.15)  # longer than the limit, on our side
            watch.close()
        assert got == b"piece" * 3


async def test_one_timer_serves_many_reads() -> None:
    loop = asyncio.get_running_loop()
    some = Limits(Timeouts(first_content=50.0, idle=50.0))
    watch = some.watch(lambda: None)
    made = 0
    original = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        nonlocal made
        made += 1
        return original(*args, **kwargs)  # type: ignore[arg-type]

    loop.call_at = counted  # type: ignore[method-assign]
    started = time.process_time()
    for _ in range(1000):
        watch.start()
        watch.stop()
        some.saw([Text("a")])
    watch.close()
    assert made == 1
    assert time.process_time() - started < 1
