"""Servers that let a caller wait, and callers that let a server wait.

Rows 34, 36 to 39, 62, 64 and 66 of faults.md.
"""

from __future__ import annotations

import asyncio

import pytest

from penstock.sandbox.byte_server import Connection, Hang, Pause, Request, Send, Step
from penstock.types import Timeouts
from tests.faults.ground import (
    CHUNKED,
    DONE,
    LAST_CHUNK,
    STREAMS,
    chunk,
    frame,
    saying,
    sends,
    site,
    whole,
)
from tests.places import MODELS

ONE = chunk(frame("one"))
END = chunk(frame("", "stop") + DONE) + LAST_CHUNK
FIRST = Timeouts(first_content=0.15)
IDLE = Timeouts(first_content=20.0, idle=0.15)
COMMENTS: list[Step] = [Send(chunk(b": keep-alive\n\n")), Pause(0.01)] * 1000
TRICKLE: list[Step] = [step for one in whole(b"") for step in (Send(bytes([one])), Pause(0.02))]


@pytest.mark.parametrize(
    ("steps", "text", "phase"),
    [
        pytest.param([Request(), *TRICKLE], "", "first_content", id="34-headers-byte-by-byte"),
        pytest.param([Request(), Hang()], "", "first_content", id="36-silence"),
        pytest.param(sends(CHUNKED, Hang()), "", "first_content", id="36-silence-after-headers"),
        pytest.param(sends(CHUNKED + ONE, Hang()), "one", "idle", id="37-stall"),
        pytest.param(sends(CHUNKED + ONE + b"5", Hang()), "one", "idle", id="37-stall-in-a-chunk"),
        pytest.param([*sends(CHUNKED), *COMMENTS], "", "first_content", id="38-comments"),
        pytest.param([*sends(CHUNKED + ONE), *COMMENTS], "one", "idle", id="38-comments-later"),
    ],
)
async def test_row(steps: list[Step], text: str, phase: str) -> None:
    async with saying(steps, timeout=IDLE if text else FIRST) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("timeout", text)
        assert getattr(outcome.failure, "phase", None) == phase
        assert isinstance(outcome.failure, TimeoutError)
        assert outcome.failure.retryable is (not text)
        await here.server.quiet()
        assert len(here.server.requests) == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fault", ["stall-after=1", "comments-after=1; every=0.02"])
async def test_rows_37_38_for_every_back_end(name: str, fault: str) -> None:
    """Those that have another way to the answer take it, the others tell the limit."""
    async with site(name, timeout=Timeouts(first_content=0.3, idle=0.3), pace=0.005) as here:
        here.server.faults.next(fault, path=STREAMS[name])
        outcome = await here.ask("one two three four")
        assert outcome.kind in ("timeout", None)
        assert "one two three four".startswith(outcome.text)


async def test_row_39_a_total_limit_ends_a_lively_stream() -> None:
    steps = [*sends(CHUNKED), *[Send(ONE), Pause(0.02)] * 500]
    async with saying(steps, timeout=Timeouts(total=0.3)) as here:
        outcome = await here.ask()
        assert outcome.kind == "timeout"
        assert getattr(outcome.failure, "phase", None) == "total"
        assert ("one" * 500).startswith(outcome.text)
        await here.server.quiet()


@pytest.mark.parametrize("name", MODELS)
async def test_row_39_the_cleanup_has_limits_of_its_own(name: str) -> None:
    """The total limit is used up when it begins; what is there is undone all the same."""
    async with site(name, timeout=Timeouts(total=0.4), pace=0.05) as here:
        outcome = await here.ask("word " * 24)
        assert outcome.kind == "timeout"


async def test_row_62_a_slow_caller_breaks_no_limit() -> None:
    """The limits count while we wait for the server, never while the server waits for us."""
    steps = sends(CHUNKED + ONE, Pause(0.02), ONE, Pause(0.02), ONE + END)
    async with saying(steps, timeout=Timeouts(first_content=20.0, idle=1.0)) as here:
        pieces = []
        async with here.client.stream(here.model, "hi") as answer:
            async for piece in answer.text():
                pieces.append(piece)
                if len(pieces) == 1:
                    await asyncio.sleep(1.2)
        assert pieces == ["one"] * 3


async def test_row_62_a_limit_of_the_callers_own_stays_his() -> None:
    """No scope of ours is open while a piece is in his hands, so none can cancel him."""
    async with saying(sends(CHUNKED + ONE, Hang())) as here:
        answer = here.client.stream(here.model, "hi")
        while not answer.partial:
            await answer.next_batch()
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await answer.next_batch()
        assert type(caught.value) is TimeoutError
        await answer.aclose()
        await here.server.quiet()


async def test_row_64_two_readers_at_once() -> None:
    read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.play(*sends(CHUNKED + ONE))
        await read.wait()
        await connection.play(Send(ONE + END), Hang())

    async with saying(script) as here, here.client.stream(here.model, "hi") as answer:
        assert answer.started is None
        while not answer.partial:
            await answer.next_batch()
        first = asyncio.ensure_future(answer.next_batch())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await answer.next_batch()
        read.set()
        await first
        assert (await answer.reply()).text == "oneone"


async def test_row_66_a_caller_who_does_not_read_stops_the_server() -> None:
    """What was sent and not read is bounded, and it is read in the end."""
    count = 0
    big = chunk(frame("x" * 4000) * 16)
    most = 400  # of 64 KiB each: 25 MiB

    async def script(connection: Connection) -> None:
        nonlocal count
        await connection.play(*sends(CHUNKED))
        for _ in range(most):
            await connection.play(Send(big))
            count += 1
        await connection.play(Send(END), Hang())

    async with saying(script) as here, here.client.stream(here.model, "hi") as answer:
        while not answer.partial:
            await answer.next_batch()
        before = -1
        while before != count:  # the server goes on as long as it can
            before = count
            await asyncio.sleep(0.1)
        assert 0 < count < most / 2
        assert len((await answer.reply()).text) == most * 16 * 4000
