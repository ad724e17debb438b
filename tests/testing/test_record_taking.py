"""One exchange while it happens: encodings, odd ends, and a folder that cannot be written."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from pathlib import Path

import aiohttp

from penstock.testing.record import Recorder
from penstock.testing.record.taking import Taking
from tests.sockets import Peer, scripted


def taken(body: bytes, encoding: str, *chunks: bytes, sent: str = "") -> Taking:
    headers = (("Content-Encoding", sent), ("Content-Length", "1")) if sent else ()
    taking = Taking("POST", "/a?b=1", headers, body, started=10.0)
    taking.answered(200, [("Content-Encoding", encoding), ("X-Kept", "1")])
    for number, chunk in enumerate(chunks, 1):
        taking.read(chunk, 10.0 + number / 4)
    taking.closed = "clean"
    return taking


def test_a_compressed_request_is_kept_readable() -> None:
    request = taken(gzip.compress(b'{"a":1}'), "identity", sent="gzip").exchange().request
    assert request.content == b'{"a":1}'
    assert request.headers == ()


def test_what_cannot_be_read_is_not_kept() -> None:
    """It may hold any secret."""
    exchange = taken(b"\x28\xb5", "br", b"\x0b\x02\x80", sent="zstd").exchange()
    assert exchange.request.content == b""
    assert (exchange.response.content, exchange.response.closed) == (b"", "reset")


def test_a_compressed_answer_that_is_cut_is_a_broken_one() -> None:
    packed = gzip.compress(b"hello " * 1000)
    response = taken(b"", "gzip", packed[:20], packed[20:30]).exchange().response
    assert response.closed == "reset"
    assert response.content != b"hello " * 1000
    assert response.headers == (("X-Kept", "1"),)


def test_times_count_from_the_request() -> None:
    response = taken(b"", "", b"a", b"b").exchange().response
    assert [(chunk.t, chunk.b64) for chunk in response.chunks] == [(0.25, b"a"), (0.5, b"b")]


def test_who_leaves_after_the_end_has_not_left() -> None:
    taking = taken(b"", "")
    taking.left(by_us=False)
    assert taking.exchange().response.closed == "clean"


async def test_a_folder_that_is_gone_is_told_and_the_traffic_goes_on(tmp_path: Path) -> None:
    notes: list[str] = []
    folder = tmp_path / "cases"

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"here")

    async with scripted(handler) as server, aiohttp.ClientSession() as session:
        async with Recorder(server.url, folder, note=notes.append) as recorder:
            shutil.rmtree(folder)
            answer = await session.get(recorder.url)
            assert await answer.read() == b"here"
            async with asyncio.timeout(5):
                while len(notes) < 2:
                    await asyncio.sleep(0.005)
            folder.mkdir()
        (case,) = recorder.cases
    assert case.path.exists()
    assert notes == [notes[0], f"cannot write {case.path}: No such file or directory"]
