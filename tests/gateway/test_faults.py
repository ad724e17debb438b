"""Everything that breaks between a caller, the gateway and an upstream, on sockets.

Rows are those of faults.md. After each fault nothing is open and nothing is left (``fronted``
demands it), the caller was told, and the log and the figures say the same.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import socket
import struct
from typing import Any

import pytest

from penstock.config.gateway import GatewaySettings, Limits
from penstock.sandbox.byte_server import Connection, Hang, Pause, Request, Reset, Send, Step
from tests.faults.ground import (
    CHUNKED,
    DONE,
    STREAMS,
    chunk,
    frame,
    sends,
    until,
    whole,
)
from tests.faults.test_framing import ANSWER, CASES, END, ONE, Case
from tests.faults.test_waits import COMMENTS, TRICKLE
from tests.gateway.fronted import MODEL, Bytes, Told, before_bytes, before_site, streamed
from tests.gateway.raw import question, raw, request

STATUS = {
    "truncated": 502,
    "protocol": 502,
    "network": 502,
    "redirect": 502,
    "model": 502,
    "server": 502,
    "timeout": 504,
}
"""Kind of a failure before the first byte -> what the caller is told."""

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
REFUSAL = b'{"error":{"message":"no luck","type":"server_error","param":null,"code":null}}'
MORE: dict[str, Case] = {
    "3-byte-order-mark": Case(sends(whole(b"\xef\xbb\xbf" + ANSWER)), "one"),
    "6-endless-event": Case(
        sends(CHUNKED + ONE + chunk(b"data: " + b"x" * (2 << 20)), Hang()), "one", "protocol"
    ),
    "11-unknown-encoding": Case(sends(whole(ANSWER, "Content-Encoding: foo")), "", "protocol"),
    "12-compressed-and-cut": Case(
        sends(whole(gzip.compress(ANSWER)[:60], "Content-Encoding: gzip")), None, "truncated"
    ),
    "13-compressed-and-corrupt": Case(
        sends(whole(b"\x1f\x8b\x08\0" + b"\xff" * 60, "Content-Encoding: gzip")), "", "protocol"
    ),
    "29-redirect": Case(
        sends(whole(b"", "Location: http://127.0.0.1:9/", head=b"HTTP/1.1 302 X\r\n")),
        "",
        "redirect",
    ),
    "32-a-page": Case(sends(whole(b"<html>maintenance</html>", head=PAGE)), "", "protocol"),
    "33-an-error-as-success": Case(sends(whole(b"data: " + REFUSAL + b"\n\n")), "", "server"),
    "33-an-error-in-the-middle": Case(
        sends(whole(frame("one") + b"data: " + REFUSAL + b"\n\n")), "one", "server"
    ),
    "71-no-json": Case(sends(whole(b"data: {nope\n\n" + DONE)), "", "protocol"),
    "71-no-json-later": Case(sends(CHUNKED + ONE + chunk(b"data: {no\n\n")), "one", "protocol"),
    "73-nothing": Case(sends(whole(b"")), "", "truncated"),
}
WAITS: dict[str, Case] = {
    "34-headers-byte-by-byte": Case([Request(), *TRICKLE], "", "timeout"),
    "36-silence": Case([Request(), Hang()], "", "timeout"),
    "36-silence-after-headers": Case(sends(CHUNKED, Hang()), "", "timeout"),
    "37-stall": Case(sends(CHUNKED + ONE, Hang()), "one", "timeout"),
    "38-comments": Case([*sends(CHUNKED), *COMMENTS], "", "timeout"),
    "38-comments-later": Case([*sends(CHUNKED + ONE), *COMMENTS], "one", "timeout"),
}
UPSTREAM = {**CASES, **MORE, **WAITS}


@pytest.mark.parametrize("name", UPSTREAM)
async def test_what_an_upstream_does_in_a_stream(name: str) -> None:
    case = UPSTREAM[name]
    limits = {"first_content": 0.25, "idle": 0.25} if name in WAITS else {}
    async with before_bytes(case.steps, timeouts=limits) as here:
        told = await here.ask()
        await here.quiet()
        (line,) = await here.ended()
        kind = case.kind
        if case.text is None and kind is None:
            kind = line.get("kind")
        judge(told, line, kind, case.text)
        await here.counted(line)


def judge(told: Told, line: dict[str, Any], kind: str | None, text: str | None) -> None:
    """What the caller was told, and what the log says, against the outcome that is right."""
    assert (line["status"], line.get("kind")) == (told.status, kind)
    if text is not None:
        assert told.text == text
    if kind is None:
        assert (told.status, told.error, told.done) == (200, {}, True)
        return
    assert not told.done
    assert set(told.error) == {"message", "type", "param", "code"}
    assert told.error["message"]
    assert told.status == (200 if told.text else STATUS[kind])


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REPLY = json.dumps(
    {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "one"},
                "finish_reason": "stop",
            }
        ]
    }
).encode()
PLAIN: dict[str, Case] = {
    "whole": Case(sends(whole(REPLY, head=JSON)), "one"),
    "13-corrupt": Case(
        sends(whole(b"\x1f\x8b\x08\0" + b"\xff" * 60, "Content-Encoding: gzip", head=JSON)),
        "",
        "protocol",
    ),
    "16-cut-between-chunks": Case(
        sends(JSON + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(REPLY[:9])), "", "truncated"
    ),
    "18-shorter-than-its-length": Case(
        sends(JSON + b"Content-Length: 999\r\n\r\n" + REPLY), "", "truncated"
    ),
    "22-length-and-chunks": Case(
        sends(JSON + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Hang()),
        "",
        "protocol",
    ),
    "32-a-page": Case(sends(whole(b"<html></html>", head=PAGE)), "", "protocol"),
    "33-an-error-as-success": Case(sends(whole(REFUSAL, head=JSON)), "", "server"),
    "36-silence": Case([Request(), Hang()], "", "timeout"),
    "40-reset": Case(sends(Reset()), "", "network"),
    "41-closed": Case(sends(), "", "network"),
    "42-reset-inside": Case(
        sends(JSON + b"Content-Length: 999\r\n\r\n" + REPLY, Pause(0.03), Reset()), "", "truncated"
    ),
    "71-no-json": Case(sends(whole(REPLY[:-9], head=JSON)), "", "protocol"),
    "73-nothing": Case(sends(whole(b"", head=JSON)), "", "protocol"),
}


@pytest.mark.parametrize("name", PLAIN)
async def test_what_an_upstream_does_in_a_whole_answer(name: str) -> None:
    case = PLAIN[name]
    async with before_bytes(case.steps, timeouts={"first_content": 0.3}) as here:
        told = await here.ask(stream=False)
        await here.quiet()
        (line,) = await here.ended()
        judge(told, line, case.kind, case.text)
        await here.counted(line)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "http://nobody.invalid/v1"])
@pytest.mark.parametrize("stream", [True, False])
async def test_rows_46_47_nobody_there(base_url: str, stream: bool) -> None:
    async with before_bytes([Hang()], base_url=base_url) as here:
        told = await here.ask(stream=stream)
        (line,) = await here.ended()
        judge(told, line, "network", "")
        await here.counted(line)


async def test_a_failed_request_spoils_no_other() -> None:
    """Row 20 and its neighbours: what a broken connection brings never reaches another caller."""
    good = sends(whole(frame("mine", "stop") + DONE))
    evil = sends(whole(frame("one", "stop") + DONE) + whole(frame("evil", "stop") + DONE), Hang())
    async with before_bytes([evil, good]) as here:
        assert (await here.ask()).text == "one"
        assert (await here.ask()).text == "mine"


# -- every back end ------------------------------------------------------------------------------

BACK_ENDS = ("allenai", "openassistant", "h2o", "tgi", "chatui", "replicate", "cog", "openai")
BROKEN = (
    "break-after=2",
    "reset-after=2",
    "end-after=2",
    "error-after=2",
    "garbage-after=2",
    "stall-after=2",
    "status=503",
    "close",
)


@pytest.mark.parametrize("name", BACK_ENDS)
async def test_any_fault_of_a_back_end(name: str) -> None:
    """The whole answer with its end, or a failure that is told; nothing in between."""
    words = "one two three four five"
    limits = {"first_content": 0.4, "idle": 0.3}
    async with before_site(name, pace=0.002, timeouts=limits) as here:
        for number, fault in enumerate(BROKEN, 1):
            here.faults.next(fault, path=STREAMS[name])
            told = await here.ask(words)
            await here.quiet()
            line = (await here.ended(number))[-1]
            assert words.startswith(told.text), fault
            if told.done:
                assert (told.text, told.error) == (words, {}), fault
            else:
                assert told.error["message"], fault
            assert line["status"] == told.status
            assert ("kind" in line) is not told.done, fault


# -- callers -------------------------------------------------------------------------------------


def reset(line: socket.socket) -> None:
    """Close with a reset."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def half_close(line: socket.socket) -> None:
    """Say that nothing more is sent."""
    line.shutdown(socket.SHUT_WR)


def close(line: socket.socket) -> None:
    """Close."""
    line.close()


async def connected(here: Bytes, buffer: int | None = None) -> socket.socket:
    """A bare connection to the gateway; the system takes about ``buffer`` bytes in advance."""
    line = socket.socket()
    if buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.setblocking(False)
    port = int(here.running.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    return line


PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


def asked(path: str, *, stream: bool) -> bytes:
    """A question of the surface at ``path``."""
    turn = [{"role": "user", "content": "hi"}]
    told = {"input": "hi"} if path.endswith("responses") else {"messages": turn, "max_tokens": 9}
    body = json.dumps({"model": MODEL, "stream": stream, **told}).encode()
    return request("POST", path, body=body)


async def received(line: socket.socket, mark: bytes) -> bytes:
    """What comes up to these bytes."""
    came = b""
    async with asyncio.timeout(5):
        while mark not in came:
            part = await asyncio.get_running_loop().sock_recv(line, 4096)
            assert part, came
            came += part
    return came


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("phase", ["stream", "before", "whole"])
async def test_row_68_a_caller_who_leaves(leave: Any, path: str, phase: str) -> None:
    """While text comes, before anything has come, and while a whole answer is waited for."""
    streams = phase == "stream"
    steps: list[Step] = sends(CHUNKED + ONE, Hang()) if streams else [Request(), Hang()]
    async with before_bytes(steps) as here:
        line = await connected(here)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(line, asked(path, stream=phase != "whole"))
        if streams:
            await received(line, b"one")
        else:
            await until(lambda: bool(here.server.requests), "the upstream is not asked")
        leave(line)
        await here.server.quiet()
        (told,) = await here.ended()
        line.close()
        assert (told["status"], told["kind"]) == (200 if streams else 499, "cancelled")
        assert here.server.connections[0].closed_by == "client"
        await here.counted(told)


async def test_row_68_every_choice_is_left() -> None:
    async with before_bytes(sends(CHUNKED + ONE, Hang())) as here:
        line = await connected(here)
        body = question(MODEL, "hi", stream=True, n=3)
        await asyncio.get_running_loop().sock_sendall(line, body)
        await until(lambda: len(here.server.requests) == 3, "three upstreams are asked")
        reset(line)
        await here.server.quiet()
        assert (await here.ended())[0]["kind"] == "cancelled"


async def test_row_68_a_caller_who_leaves_at_any_place_of_an_answer() -> None:
    """After any number of bytes, the end mark included."""
    steps: list[Step] = [Request(), Send(CHUNKED + ONE), Send(ONE, times=8), Send(END)]
    async with before_bytes(steps) as here:
        loop = asyncio.get_running_loop()
        body = question(MODEL, "hi", stream=True)
        for size in range(1, 3000, 150):
            line = await connected(here)
            await loop.sock_sendall(line, body)
            came = b""
            while len(came) < size and b"[DONE]" not in came:
                came += await loop.sock_recv(line, size - len(came))
            reset(line)
        await here.quiet()
        lines = await here.ended(20)
        assert {line["status"] for line in lines} <= {200, 499}
        assert {line.get("kind") for line in lines} <= {None, "cancelled"}


async def test_a_caller_who_leaves_in_the_middle_of_its_question_costs_nothing() -> None:
    async with before_bytes([Request(), Hang()]) as here:
        body = question(MODEL, "hi", stream=True)
        for size in range(10, len(body), 40):
            line = await connected(here)
            await asyncio.get_running_loop().sock_sendall(line, body[:size])
            reset(line)
        await here.quiet()
        assert here.server.requests == []


# -- callers who read slowly, or send strangely --------------------------------------------------


async def test_row_67_a_slow_reader_gets_every_byte() -> None:
    piece = "0123456789abcdef" * 256
    count = 400
    body = [Send(chunk(frame(piece)), times=count), Send(END)]
    async with before_bytes([*sends(CHUNKED), *body], buffer=8192) as here:
        loop = asyncio.get_running_loop()
        line = await connected(here, 8192)
        await loop.sock_sendall(line, question(MODEL, "hi", stream=True))
        await until(lambda: here.running.gateway.open_streams == 1, "it does not begin")
        came = await received(line, b"\r\n0\r\n\r\n")
        line.close()
        _, text = came.split(b"\r\n\r\n", 1)
        said, error, done = streamed(unchunked(text).decode())
        assert (error, done) == ({}, True)
        assert hashlib.sha256(said.encode()).digest() == digest(piece * count)
        assert (await here.ended())[0]["pieces"] >= count


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def unchunked(data: bytes) -> bytes:
    """A chunked body without its framing."""
    parts = []
    while data:
        size, _, data = data.partition(b"\r\n")
        parts.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    return b"".join(parts)


async def test_row_67_a_caller_who_never_reads_stops_the_upstream() -> None:
    """Bounded by what the system takes, then by a limit of time."""
    settings = GatewaySettings(limits=Limits(write=0.3, heartbeat=0.1))
    sent = 0

    async def endless(connection: Connection) -> None:
        nonlocal sent
        await connection.play(Request(), Send(CHUNKED))
        while True:
            await connection.play(Send(chunk(frame("x" * 4000))))
            sent += 4000

    async with before_bytes(endless, settings=settings, buffer=8192) as here:
        async with raw(here.running, buffer=4096) as caller:
            await caller.send(question(MODEL, "hi", stream=True))
            await here.server.quiet()
            (line,) = await here.ended()
            assert (line["status"], line["kind"]) == (200, "cancelled")
        assert sent < 16 << 20


async def test_row_67_a_caller_who_reads_slowly_but_steadily_gets_all() -> None:
    settings = GatewaySettings(limits=Limits(write=0.5))
    piece = "x" * 300_000

    async def much(connection: Connection) -> None:
        await connection.play(Request(), Send(CHUNKED))
        for _ in range(3):
            await connection.play(Send(chunk(frame(piece))), Pause(0.05))
        await connection.play(Send(chunk(frame("", "stop") + DONE) + b"0\r\n\r\n"))

    async with before_bytes(much, settings=settings, buffer=16384) as here:
        async with raw(here.running, buffer=16384, reads=True) as caller:
            await caller.send(question(MODEL, "hi", stream=True))
            came = b""
            while not came.endswith(b"\r\n0\r\n\r\n") and (part := await caller.some(8000)):
                came += part
                await asyncio.sleep(0.02)
        assert came.count(b"x") >= 3 * len(piece)
        assert (await here.ended())[0].get("kind") is None


async def test_a_silent_line_is_kept_alive_while_what_comes_says_nothing() -> None:
    """Tool calls whose next part is empty: nothing of that is written on this surface."""
    settings = GatewaySettings(limits=Limits(heartbeat=0.1))

    def called(arguments: str, name: str | None = None) -> bytes:
        function = {"arguments": arguments} | ({"name": name} if name else {})
        call = {"index": 0, "id": "c1", "type": "function", "function": function}
        delta = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        return chunk(b"data: " + json.dumps(delta).encode() + b"\n\n")

    steps: list[Step] = [Request(), Send(CHUNKED), Send(called("{", "f"))]
    for _ in range(10):
        steps += [Pause(0.05), Send(called(""))]
    steps.append(Send(called("}") + chunk(frame("", "tool_calls") + DONE) + b"0\r\n\r\n"))
    async with before_bytes([steps], settings=settings) as here:
        asked = {
            "model": MODEL,
            "max_tokens": 10,
            "stream": True,
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        }
        url = f"{here.running.url}/v1/messages"
        async with here.running.http.post(url, json=asked) as answer:
            text = await answer.text()
    assert answer.status == 200, text
    assert "\n:" in text


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_question_before_the_answer_to_the_last_is_dropped(at_once: bool) -> None:
    """Pipelining: whoever does it asks again on another connection."""
    first, second = (sends(whole(frame(text, "stop") + DONE)) for text in ("first", "second"))
    steps: list[Step] = [Request(), Pause(0.1), *first[1:]]
    async with before_bytes([steps, second]) as here:
        async with raw(here.running) as caller:
            one = question(MODEL, "hi", stream=True)
            await caller.send(one + one if at_once else one)
            await until(lambda: bool(here.server.requests), "the upstream is not asked")
            if not at_once:
                await caller.send(one[:40])
                await caller.send(one[40:])
            came = await caller.rest()
        assert came.count(b"HTTP/1.1 200 OK") == came.count(b"[DONE]") == 1
        assert b"first" in came
        assert came.endswith(b"\r\n0\r\n\r\n")
        assert len(here.server.requests) == 1
        assert (await here.ended())[0].get("kind") is None


async def test_questions_in_turn_share_a_connection() -> None:
    async with before_bytes([sends(whole(frame("one", "stop") + DONE))] * 3) as here:
        async with raw(here.running) as caller:
            for _ in range(3):
                await caller.send(question(MODEL, "hi", stream=True))
                came = b""
                while not came.endswith(b"\r\n0\r\n\r\n"):
                    came += await caller.some()
        assert len(await here.ended(3)) == 3


async def test_a_second_question_is_not_asked_once_its_caller_has_left() -> None:
    async with before_bytes(sends(CHUNKED + ONE, Hang())) as here:
        line = await connected(here)
        one = question(MODEL, "hi", stream=True)
        await asyncio.get_running_loop().sock_sendall(line, one + one)
        await until(lambda: bool(here.server.requests), "the upstream is not asked")
        reset(line)
        await here.server.quiet()
        await here.quiet()
        assert len(here.server.requests) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 99,
        b"GET\r\n\r\n",
        b"\xff\xfe x y\r\n\r\n",
    ],
    ids=["tls", "zeros", "no-path", "no-ascii"],
)
async def test_garbage_is_refused_and_asks_nobody(garbage: bytes) -> None:
    async with before_bytes([Hang()]) as here:
        async with raw(here.running) as caller:
            await caller.send(garbage)
            assert (await caller.rest()).startswith(b"HTTP/1.1 400 ")
        assert here.server.connections == []


async def test_callers_who_leave_do_not_hit_those_who_stay() -> None:
    steps: list[Step] = [
        *sends(CHUNKED + ONE),
        *[Send(chunk(frame("+"))), Pause(0.004)] * 20,
        Send(END),
    ]
    async with before_bytes(steps) as here:
        loop = asyncio.get_running_loop()

        async def leaves() -> None:
            line = await connected(here)
            await loop.sock_sendall(line, question(MODEL, "hi", stream=True))
            await loop.sock_recv(line, 10)
            reset(line)

        every = await asyncio.gather(
            *(here.ask() for _ in range(10)), *(leaves() for _ in range(10))
        )
        stayed = [told for told in every if told is not None]
        assert {(told.text, told.done) for told in stayed} == {("one" + "+" * 20, True)}
        kinds = [line.get("kind") for line in await here.ended(20)]
        assert kinds.count(None) >= 10
        assert set(kinds) <= {None, "cancelled"}
