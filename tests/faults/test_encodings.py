"""Answers in an encoding that nobody asked for, over real sockets; rows 9 to 15 of faults.md."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from penstock.sandbox.byte_server import Connection, Hang, Pause, Request, Send
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

FRAMES = [frame("one"), frame(" two"), frame("", "stop") + DONE]
GZIP = gzip.compress(b"".join(FRAMES), mtime=0)
BITS = {"gzip": 31, "deflate": 15}


def head(encoding: str) -> bytes:
    return CHUNKED.replace(b"\r\n", f"\r\nContent-Encoding: {encoding}\r\n".encode(), 1)


@pytest.mark.parametrize("encoding", BITS)
async def test_row_9_a_flush_for_each_event_hands_each_out_at_once(encoding: str) -> None:
    packer = zlib.compressobj(wbits=BITS[encoding])
    packed = [packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in FRAMES]
    read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.play(Request(), Send(head(encoding) + chunk(packed[0])))
        await read.wait()  # the rest comes when the first piece has been handed out
        rest = b"".join(map(chunk, packed[1:])) + chunk(packer.flush()) + LAST_CHUNK
        await connection.play(Send(rest), Hang())

    async with saying(script) as here:
        async with here.client.stream(here.model, "hi") as answer:
            pieces = []
            async for piece in answer.text():
                pieces.append(piece)
                read.set()
        assert pieces == ["one", " two"]
        assert "accept-encoding: identity" in here.server.requests[0].lower()


async def test_row_10_no_flush_before_the_end_is_whole_at_the_end() -> None:
    steps = sends(head("gzip"), chunk(GZIP[:10]), Pause(0.05), chunk(GZIP[10:]) + LAST_CHUNK)
    async with saying(steps) as here:
        assert (await here.ask()).text == "one two"


@pytest.mark.parametrize("encoding", ["foo", "gzip, gzip", "br", "zstd", "gzip, foo"])
async def test_row_11_an_encoding_we_do_not_know(encoding: str) -> None:
    async with saying(sends(head(encoding) + chunk(GZIP), Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("protocol", "")
        await here.server.quiet()


@pytest.mark.parametrize("cut", [1, 8, 12])
async def test_row_12_cut_short_is_not_whole(cut: int) -> None:
    """Even where the end mark has come, as long as it is not read before the end of the body."""
    packer = zlib.compressobj(wbits=BITS["gzip"])
    started = packer.compress(FRAMES[0]) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(FRAMES[1]) + packer.flush()
    async with saying(sends(head("gzip") + chunk(started + rest[:-cut]) + LAST_CHUNK)) as here:
        outcome = await here.ask()
        assert outcome.kind == "truncated"
        assert "one two".startswith(outcome.text)
        assert outcome.text


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
async def test_row_13_corrupt(length: bool) -> None:
    bad = GZIP[:10] + b"\xff" + GZIP[11:]
    body = whole(bad, "Content-Encoding: gzip") if length else head("gzip") + chunk(bad)
    async with saying(sends(body, Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("protocol", "")


@pytest.mark.parametrize("size", [0, 1, 7])
async def test_row_14_several_members(size: int) -> None:
    members = b"".join(gzip.compress(one) for one in FRAMES)
    cuts = [members[at : at + (size or 10**6)] for at in range(0, len(members), size or 10**6)]
    async with saying(sends(head("gzip") + b"".join(map(chunk, cuts)) + LAST_CHUNK)) as here:
        assert (await here.ask()).text == "one two"


async def test_row_15_a_bomb_is_left_early() -> None:
    packer = zlib.compressobj(wbits=BITS["gzip"])
    started = packer.compress(FRAMES[0]) + packer.flush(zlib.Z_SYNC_FLUSH)
    bomb = [packer.compress(b":" * ((1 << 20) - 9) + b"\n" * 9) for _ in range(32)]
    assert sum(map(len, bomb)) < 1 << 18  # of 32 MiB
    sent = head("gzip") + b"".join(chunk(one) for one in (started, *bomb) if one)
    async with saying(sends(sent, Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("protocol", "one")
        await until(lambda: not here.server.open, "the connection is kept")


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_identity_is_no_encoding(encoding: str) -> None:
    body = whole(b"".join(FRAMES), f"Content-Encoding: {encoding}", head=STREAM)
    async with saying(sends(body)) as here:
        assert (await here.ask()).text == "one two"
