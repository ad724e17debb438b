"""Listening to a body: what comes is given at once, and whatever ends it is left for reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from penstock.errors import ProtocolError, TruncatedError
from penstock.transport import Limits, Response, Session
from penstock.transport.listening import Body
from penstock.transport.listening import Handler as Connection
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest
from tests.sockets import Handler, Peer, scripted, unfinished


@asynccontextmanager
async def answered(script: Handler) -> AsyncIterator[Response]:
    """The answer of a server that says what ``script`` says."""
    async with scripted(script) as server, Session() as session:
        request = HttpRequest(method="GET", url=server.url)
        async with session.open(request, Limits(Timeouts())) as response:
            yield response


def into(pieces: list[bytes], most: int = 1000) -> Callable[[bytes], bool]:
    """Takes up to ``most`` pieces."""

    def take(data: bytes) -> bool:
        pieces.append(data)
        return len(pieces) < most

    return take


async def rest_of(response: Response) -> bytes:
    parts = []
    while data := await response.read_some():
        parts.append(data)
    return b"".join(parts)


async def test_pieces_are_given_as_they_come_and_the_end_is_read() -> None:
    taken: list[bytes] = []
    listening, told = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await listening.wait()
        for piece in (b"one", b"two", b"three"):
            await peer.chunk(piece)
            while b"".join(taken)[-len(piece) :] != piece:
                await asyncio.sleep(0.001)
        told.set()
        await peer.end()

    async with answered(script) as response:
        listening.set()
        await response.listen(into(taken))
        assert told.is_set()
        assert await rest_of(response) == b""
    assert taken == [b"one", b"two", b"three"]


async def test_what_comes_with_the_end_is_read() -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await asyncio.sleep(0.02)
        await peer.send(b"4\r\nlast\r\n0\r\n\r\n")

    async with answered(script) as response:
        await response.listen(into(taken))
        assert b"".join(taken) + await rest_of(response) == b"last"


async def test_who_has_enough_is_given_no_more() -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        for _ in range(5):
            await asyncio.sleep(0.005)
            await peer.chunk(b"piece ")
        await peer.end()

    async with answered(script) as response:
        await response.listen(into(taken, most=2))
        assert taken == [b"piece ", b"piece "]
        assert await rest_of(response) == b"piece " * 3


async def test_what_had_come_before_is_read_first() -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"whole")

    async with answered(script) as response:
        while not response.here:
            await asyncio.sleep(0.001)
        await response.listen(into(taken))
        assert (taken, await rest_of(response)) == ([], b"whole")


@pytest.mark.parametrize("how", ["reset", "bad chunk", "closed"])
async def test_a_failure_is_told_by_reading(how: str) -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await asyncio.sleep(0.01)
        await peer.chunk(b"piece")
        await asyncio.sleep(0.01)
        if how == "reset":
            peer.reset()
        elif how == "bad chunk":
            await peer.send(b"no size\r\n")

    async with answered(script) as response:
        await response.listen(into(taken))
        assert taken == [b"piece"]
        with pytest.raises(ProtocolError if how == "bad chunk" else TruncatedError):
            await response.read_some()


async def test_the_taker_s_own_fault_is_raised_where_it_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await asyncio.sleep(0.01)
        await peer.chunk(b"piece")
        await peer.gone()

    def take(data: bytes) -> bool:
        raise LookupError("cannot be written")

    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, facts: faults.append(facts))
    async with answered(script) as response:
        with pytest.raises(LookupError, match="cannot be written"):
            await response.listen(take)


async def test_a_fault_after_a_cancellation_ends_the_listening() -> None:
    loop = asyncio.get_running_loop()
    handler = Connection(loop)
    body = Body(handler, 1 << 16, loop=loop)

    def take(data: bytes) -> bool:
        raise LookupError("cannot be written")

    task = asyncio.create_task(body.listen(take))
    await asyncio.sleep(0)
    task.cancel()  # what it waits for is cancelled at once, the task runs later
    body.feed_data(b"piece")
    listener = handler.listener
    assert listener is not None
    with pytest.raises(LookupError):
        listener.heard()
    assert handler.listener is None
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_passes_and_what_comes_later_is_read() -> None:
    taken: list[bytes] = []
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await asyncio.sleep(0.01)
        await peer.chunk(b"before")
        await go_on.wait()
        await peer.chunk(b"after")
        await peer.end()

    async with answered(script) as response:
        task = asyncio.create_task(response.listen(into(taken)))
        while not taken:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert (taken, await rest_of(response)) == ([b"before"], b"after")


async def test_much_at_once_is_given_whole_and_in_order() -> None:
    """More than the library holds before it pauses: what waits in its parser comes, too."""
    taken: list[bytes] = []
    pieces = [b"%07d " % number * 512 for number in range(600)]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await asyncio.sleep(0.02)
        await peer.send(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))
        await peer.end()

    async with answered(script) as response:
        async with asyncio.timeout(10):
            await response.listen(into(taken))
            rest = await rest_of(response)
    assert b"".join(taken) + rest == b"".join(pieces)
    assert taken


async def test_a_connection_that_serves_the_next_answer_is_not_listened_to() -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        for body in (b"first", b"second"):
            await peer.request()
            await peer.head()
            await asyncio.sleep(0.01)
            await peer.chunk(body)
            await asyncio.sleep(0.01)
            await peer.end()

    async with scripted(script) as server, Session() as session:
        request = HttpRequest(method="GET", url=server.url)
        async with session.open(request, Limits(Timeouts())) as response:
            await response.listen(into(taken))
            assert await rest_of(response) == b""
        async with session.open(request, Limits(Timeouts())) as response:
            assert await rest_of(response) == b"second"
        assert taken == [b"first"]


async def test_an_encoded_body_is_not_listened_to() -> None:
    taken: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Encoding: deflate")
        await peer.gone()

    async with answered(script) as response:
        await response.listen(into(taken))
        assert taken == []


@pytest.mark.parametrize("how", ["read", "fetch", "listen"])
async def test_the_end_of_the_session_ends_a_reading(how: str) -> None:
    async with scripted(unfinished) as server:
        session = Session()
        request = HttpRequest(method="GET", url=server.url)

        async def read() -> None:
            if how == "fetch":
                await session.fetch(request, Limits(Timeouts()))
            async with session.open(request, Limits(Timeouts())) as response:
                assert await response.read_some() == b"piece"
                if how == "listen":
                    await response.listen(into([]))
                await response.read_some()

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        await session.aclose()
        async with asyncio.timeout(1):
            with pytest.raises(TruncatedError):
                await task
        await server.quiet()
