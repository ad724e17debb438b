"""Answers whose HTTP is broken or odd, byte by byte, as a client of an OpenAI-compatible server.

Each case is named by its row of faults.md. A case says what the caller gets: the text handed out,
and the kind of the failure, or None where the answer is whole.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.errors import TruncatedError
from penstock.sandbox.byte_server import Connection, Hang, Pause, Request, Reset, Send, Step
from penstock.types import Timeouts
from tests.faults.ground import (
    CHUNKED,
    DONE,
    LAST_CHUNK,
    STREAM,
    chunk,
    frame,
    saying,
    sends,
    until,
    whole,
)

ONE = chunk(frame("one"))
END = chunk(frame("", "stop") + DONE) + LAST_CHUNK
ANSWER = frame("one") + frame("", "stop") + DONE
EVIL = whole(frame("evil", "stop") + DONE)
SECOND = whole(frame("two", "stop") + DONE)
APART = Pause(0.03)  # long enough for two writes to be two reads; nothing depends on it


class Case(msgspec.Struct):
    """What is sent, and what that is to a caller.

    Attributes:
        text: what is handed out; None where it depends on how the bytes arrive.
        again: whether the same turn may be asked again.
    """

    steps: list[Step]
    text: str | None
    kind: str | None = None
    again: bool = False


CASES = {
    "16-cut-between-chunks": Case(sends(CHUNKED + ONE), "one", "truncated"),
    "16-cut-before-any-chunk": Case(sends(CHUNKED), "", "truncated", again=True),
    "17-cut-inside-a-chunk": Case(
        sends(CHUNKED + ONE + chunk(frame("two"))[:30]), "one", "truncated"
    ),
    "17-reset-inside-a-chunk": Case(
        sends(CHUNKED + ONE, APART, chunk(frame("two"))[:30], APART, Reset()), "one", "truncated"
    ),
    "17-cut-inside-an-event-at-an-orderly-end": Case(
        sends(CHUNKED + ONE + chunk(frame("two")[:40]) + LAST_CHUNK), "one", "truncated"
    ),
    "18-length-too-big": Case(
        sends(STREAM + b"Content-Length: 9999\r\n\r\n" + frame("one")), "one", "truncated"
    ),
    "21-until-close-cut": Case(sends(STREAM + b"\r\n" + frame("one")), "one", "truncated"),
    "21-until-close-whole": Case(sends(STREAM + b"\r\n" + ANSWER), "one"),
    "21-http-1.0-cut": Case(
        sends(STREAM.replace(b"1.1", b"1.0") + b"\r\n" + frame("one")), "one", "truncated"
    ),
    "22-length-and-chunks": Case(
        sends(
            STREAM + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + ONE + END, Hang()
        ),
        "",
        "protocol",
    ),
    "23-two-lengths": Case(sends(whole(ANSWER, "Content-Length: 5"), Hang()), "", "protocol"),
    "23-nul-in-a-header": Case(sends(whole(ANSWER, "X: a\0b"), Hang()), "", "protocol"),
    "23-header-without-a-colon": Case(sends(whole(ANSWER, "broken"), Hang()), "", "protocol"),
    "24-bad-chunk-size-in-the-same-read": Case(
        sends(CHUNKED + ONE + b"zz\r\n" + ONE, Hang()), None, "protocol"
    ),
    "24-bad-chunk-size-in-a-later-read": Case(
        sends(CHUNKED + ONE, APART, b"zz\r\n" + ONE, Hang()), "one", "protocol"
    ),
    "25-chunk-size-overflow": Case(
        sends(CHUNKED + ONE, APART, b"f" * 18 + b"\r\n" + ANSWER, Hang()), "one", "protocol"
    ),
    "26-short-chunk-extension": Case(
        sends(CHUNKED + ONE.replace(b"\r\n", b";e=1\r\n", 1) + END), "one"
    ),
    "26-long-chunk-extension": Case(
        sends(CHUNKED + ONE + b"5;" + b"e" * 200_000 + b"\r\nabcde\r\n" + END), None, None
    ),
    "27-trailer": Case(sends(CHUNKED + ONE + END[:-2] + b"X: y\r\n\r\n"), "one"),
    "27-many-trailers": Case(
        sends(CHUNKED + ONE, APART, b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", Hang()),
        "one",
        "truncated",
    ),
    "27-many-trailers-after-the-end-mark": Case(
        sends(CHUNKED + ONE + END[:-2], APART, b"X: y\r\n" * 20_000 + b"\r\n", Hang()), "one"
    ),
    "28-interim": Case(sends(b"HTTP/1.1 100 Continue\r\n\r\n" + whole(ANSWER)), "one"),
    "28-many-interim": Case(
        sends(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 500 + whole(ANSWER)), "one"
    ),
    "35-long-header": Case(sends(whole(ANSWER, "X: " + "a" * (1 << 20)), Hang()), "", "protocol"),
    "35-many-headers": Case(sends(whole(ANSWER, *["X: y"] * 20_000), Hang()), "", "protocol"),
    "40-reset-before-headers": Case(sends(Reset()), "", "network", again=True),
    "40-reset-inside-headers": Case(sends(STREAM, APART, Reset()), "", "network", again=True),
    "41-close-before-headers": Case(sends(), "", "network", again=True),
    "41-close-inside-headers": Case(sends(STREAM), "", "network", again=True),
    "42-reset-inside-an-event": Case(
        sends(CHUNKED + chunk(frame("one") + frame("two")[:20]), APART, Reset()),
        "one",
        "truncated",
    ),
    "43-reset-after-the-end-mark": Case(
        sends(CHUNKED + ONE + END[: -len(LAST_CHUNK)], APART, Reset()), "one"
    ),
    "43-close-after-the-finish-reason": Case(
        sends(CHUNKED + ONE + chunk(frame("", "stop"))), "one"
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_row(name: str) -> None:
    case = CASES[name]
    async with saying(case.steps) as here:
        outcome = await here.ask()
        assert outcome.kind == case.kind
        if case.text is not None:
            assert outcome.text == case.text
        assert outcome.text in ("", "one"), "never a part of an event"
        if outcome.error is not None:
            assert outcome.error.retryable is (case.again and not outcome.text)
            assert not outcome.error.__cause__
        await here.server.quiet()  # no connection in such a state is kept
        assert len(here.server.requests) == 1


async def test_row_16_what_came_before_the_cut_reaches_a_slow_consumer() -> None:
    """It had come, and must not be lost with the connection because nobody had read it yet."""
    steps = sends(CHUNKED + ONE, APART, ONE, APART, ONE, Reset())
    async with saying(steps) as here:
        pieces = []

        def lost() -> bool:
            connector = here.client.session._pools[""].connector
            return all(protocol.transport is None for protocol in connector._acquired)

        async def read() -> None:
            async with here.client.stream(here.model, "hi") as answer:
                async for piece in answer.text():
                    pieces.append(piece)
                    await until(lost, "the client has not seen the end of the connection")

        with pytest.raises(TruncatedError) as caught:
            await read()
        assert caught.value.partial == "".join(pieces) == "oneoneone"


@pytest.mark.parametrize("late", [False, True], ids=["same-read", "later"])
async def test_row_19_an_answer_that_goes_on_after_its_length(late: bool) -> None:
    """The rest is nobody's answer, and its connection is not used again.

    In one read with it the HTTP library drops the answer, too: an error, and never a wrong text.
    """
    rest = b"and what nobody asked for"
    steps = sends(whole(ANSWER), APART, rest, Hang()) if late else sends(whole(ANSWER) + rest)
    async with saying(steps) as here:
        for count in (1, 2):
            outcome = await here.ask()
            assert (outcome.text, outcome.kind) == (("one", None) if late else ("", "protocol"))
            await here.server.quiet()
            assert len(here.server.connections) == count


async def test_row_20_an_answer_nobody_asked_for_reaches_nobody() -> None:
    """It came with the answer before it."""
    first = sends(whole(ANSWER) + EVIL, Request(), Send(EVIL), Hang())
    async with saying([first, sends(SECOND, Hang())]) as here:
        assert (await here.ask()).text == "one"
        assert (await here.ask()).text == "two"
        assert len(here.server.connections) == 2


@pytest.mark.parametrize("size", [len(EVIL), len(EVIL) - 5, 20, 1])
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
async def test_row_20_nor_one_that_comes_while_the_connection_is_idle(
    size: int, read: bool
) -> None:
    """Whole or in part, whether the event loop has seen it or only the system."""
    idle = asyncio.Event()

    async def script(connection: Connection) -> None:
        if connection.number:
            await connection.play(*sends(SECOND, Hang()))
        await connection.play(*sends(whole(ANSWER)))
        await idle.wait()
        await connection.play(Request(), Send(EVIL[size:]), Hang())

    async with saying(script) as here:
        assert (await here.ask()).text == "one"
        here.server.connections[0]._transport.write(EVIL[:size])
        idle.set()
        if read:
            await asyncio.sleep(0.02)
        outcome = await here.ask()
        # Half a head that was read cannot be seen; the rest of it is no HTTP to the next caller.
        allowed = [("two", None), ("", "protocol")] if size <= 20 else [("two", None)]
        assert (outcome.text, outcome.kind) in allowed


async def test_row_28_interim_answers_for_ever_are_inside_the_limit() -> None:
    hints = [Send(b"HTTP/1.1 103 Hints\r\n\r\n"), Pause(0.005)]
    steps: list[Step] = [Request(), *hints * 4000]
    async with saying(steps, timeout=Timeouts(first_content=0.2)) as here:
        outcome = await here.ask()
        assert outcome.kind == "timeout"
        assert getattr(outcome.error, "phase", None) == "first_content"
        await here.server.quiet()
