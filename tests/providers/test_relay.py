"""Batches handed on from within the reads: as many as can be, none lost, none twice, any end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from penstock.client import Client
from penstock.errors import PenstockError, ProtocolError, StreamCancelledError, StreamTimeoutError
from penstock.stream import AnswerStream
from penstock.types import Event, Text, Timeouts
from tests.places import MODELS, place
from tests.sandboxed import Speaker
from tests.sockets import Handler, Peer, scripted

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
LONG = " ".join([WORDS] * 10)
FEW = 3
"""Batches with text that only iterating gives: the first, and those with the end."""


class Reading:
    """Reads an answer to its end through a sink that wants ``most`` batches at a time."""

    def __init__(self, stream: AnswerStream, most: int = 1000) -> None:
        self.relayed = self.iterated = 0
        self.text = ""
        self._stream = stream
        self._most = most
        self._wanted = most

    def sink(self, batch: Sequence[Event]) -> bool:
        self.relayed += 1
        self._note(batch)
        self._wanted -= 1
        return self._wanted > 0

    def _note(self, batch: Sequence[Event]) -> None:
        self.text += "".join(event.text for event in batch if isinstance(event, Text))

    async def to_its_end(self) -> None:
        committed = False
        while True:
            self._wanted = self._most
            batch = await self._stream.next_batch(self.sink if committed else None)
            if batch is None:
                return
            self.iterated += any(isinstance(event, Text) for event in batch)
            self._note(batch)
            committed = committed or bool(self.text)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("most", [1000, 3, 1])
async def test_most_pieces_go_round_the_reader_and_the_answer_is_whole(
    name: str, most: int
) -> None:
    async with place(name, Speaker()) as here:
        stream = here.client.stream(here.model, WORDS)
        reading = Reading(stream, most)
        async with stream:
            await reading.to_its_end()
        assert reading.text.strip() == WORDS
        assert stream.partial == reading.text
        assert stream.finished is not None
        assert most < len(WORDS) or reading.iterated <= FEW
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_an_answer_that_breaks_off_fails_with_its_text(name: str) -> None:
    async with place(name, Speaker()) as here:
        stream = here.client.stream(here.model, f"FAIL {WORDS}")
        reading = Reading(stream)
        with pytest.raises(PenstockError) as caught:
            async with stream:
                await reading.to_its_end()
        assert reading.iterated <= FEW
        assert caught.value.partial == stream.partial == reading.text
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_a_cancellation_leaves_nothing(name: str) -> None:
    async with place(name, Speaker()) as here:
        stream = here.client.stream(here.model, LONG)
        reading = Reading(stream)

        async def read() -> None:
            async with stream:
                await reading.to_its_end()

        task = asyncio.create_task(read())
        while reading.relayed < 2 and not task.done():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await here.clean()


@pytest.mark.parametrize("name", ["openai", "allenai", "replicate", "openassistant"])
async def test_another_task_may_leave_it_meanwhile(name: str) -> None:
    async with place(name, Speaker()) as here:
        stream = here.client.stream(here.model, LONG)
        reading = Reading(stream)
        task = asyncio.create_task(reading.to_its_end())
        while reading.relayed < 2 and not task.done():
            await asyncio.sleep(0.005)
        await stream.aclose()
        with pytest.raises(StreamCancelledError) as caught:
            await task
        assert caught.value.partial.startswith(reading.text)
        await here.clean()


async def test_the_time_limit_between_two_pieces_holds() -> None:
    async def stalled(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        for _ in range(6):  # each within the limit, all together beyond it
            await peer.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
            await asyncio.sleep(0.1)
        await peer.gone()

    async with scripted(stalled) as server:
        table = {"local": {"base_url": server.url, "timeouts": Timeouts(idle=0.4)}}
        async with Client(providers=table) as client:
            stream = client.stream("local/m", "hi")
            reading = Reading(stream)
            with pytest.raises(StreamTimeoutError, match=r"stalled for 0\.4 s") as caught:
                async with stream:
                    await reading.to_its_end()
    assert caught.value.partial == "a" * 6
    assert reading.iterated <= FEW


async def test_who_only_iterates_gets_all() -> None:
    async with (
        place("openai", Speaker()) as here,
        here.client.stream(here.model, WORDS) as stream,
    ):
        assert "".join([piece async for piece in stream.text()]).strip() == WORDS


# -- ends that are told by reading -----------------------------------------------------------------


def piece(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode()


async def failed(script: Handler, most: int = 1000) -> tuple[Reading, PenstockError]:
    """How the answer of a server that says ``script`` fails."""
    async with (
        scripted(script) as server,
        Client(providers={"local": {"base_url": server.url}}) as client,
    ):
        stream = client.stream("local/m", "hi")
        reading = Reading(stream, most)
        with pytest.raises(PenstockError) as caught:
            async with stream:
                await reading.to_its_end()
    return reading, caught.value


async def test_pieces_of_the_read_that_brings_the_failure_are_not_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        for text in "ab":
            await peer.chunk(piece(text))
            await asyncio.sleep(0.02)
        await peer.chunk(piece("c") + b'data: {"error":{"message":"out of memory"}}\n\n')
        await peer.gone()

    reading, error = await failed(script)
    assert "out of memory" in error.message
    assert (reading.text, error.partial) == ("abc", "abc")


async def test_bad_http_after_a_piece_in_one_read_is_a_protocol_error() -> None:
    """The sink wants no more of it, and the connection is lost before anybody reads on."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(piece("a"))
        await asyncio.sleep(0.02)
        data = piece("b")
        await peer.send(b"%x\r\n%s\r\nno size\r\n" % (len(data), data))
        await peer.gone()

    _, error = await failed(script, most=1)
    assert isinstance(error, ProtocolError)
    assert error.partial == "ab"


@pytest.mark.parametrize("name", ["openai", "h2o", "allenai", "replicate"])
async def test_a_dropped_stream_is_left_also_after_a_sink(name: str) -> None:
    async with place(name, Speaker()) as here:
        stream = here.client.stream(here.model, LONG)
        while not stream.partial:
            await stream.next_batch()
        await stream.next_batch(lambda batch: False)
        del stream
        gc.collect()
        await here.clean()
