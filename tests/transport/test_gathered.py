"""Writes that go out together."""

from __future__ import annotations

import asyncio

from penstock.errors import PenstockError
from penstock.transport import Limits, Session
from penstock.transport.gathered import MOST, Gathered
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest
from tests.sockets import Peer, scripted


class Line:
    """A writer that notes what is written, or has no other side any more."""

    def __init__(self, written: list[bytes], *, closed: bool = False, lost: bool = False) -> None:
        self._written = written
        self._closed = closed
        self._lost = lost

    def is_closing(self) -> bool:
        return self._closed

    def write(self, data: bytes) -> None:
        if self._lost:
            raise RuntimeError("the handler is closed")
        self._written.append(data)


async def test_they_follow_one_another_in_the_next_turn_of_the_loop() -> None:
    written: list[bytes] = []
    gathered = Gathered()
    for data in (b"a", b"b"):
        gathered.write(Line(written), data)
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"a", b"b"]
    gathered.write(Line(written), b"c")
    await asyncio.sleep(0)
    assert written == [b"a", b"b", b"c"]


async def test_no_more_than_a_few_wait() -> None:
    written: list[bytes] = []
    gathered = Gathered()
    for _ in range(MOST):
        gathered.write(Line(written), b"x")
    assert len(written) == MOST


async def test_a_line_that_is_gone_takes_no_other_with_it() -> None:
    written: list[bytes] = []
    gathered = Gathered()
    gathered.write(Line(written, closed=True), b"to nobody")
    gathered.write(Line(written, lost=True), b"to nobody")
    gathered.write(Line(written), b"a")
    gathered.flush()
    assert written == [b"a"]


async def test_requests_at_a_time_get_their_own_answers_and_cancelled_ones_leave_nothing() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(peer.requests[-1][1])

    async def ask(session: Session, url: str, body: bytes) -> bytes:
        request = HttpRequest(method="POST", url=url, body=body)
        _, told = await session.fetch(request, Limits(Timeouts(first_content=5.0)))
        return told

    bodies = [b"%d" % number * 40 for number in range(3 * MOST)]
    async with scripted(echo) as server, Session() as session:
        for _ in range(2):  # the second time over kept connections
            told = await asyncio.gather(*(ask(session, server.url, body) for body in bodies))
            assert told == bodies
        tasks = [asyncio.create_task(ask(session, server.url, body)) for body in bodies]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(outcome, PenstockError) for outcome in outcomes)
        assert session.open_connections == 0
        assert await ask(session, server.url, b"last") == b"last"
