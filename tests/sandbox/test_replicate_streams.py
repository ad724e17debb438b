"""Event streams of Replicate's sandbox, as nchan serves them (wire/replicate.md section 5)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import aiohttp
import pytest

from penstock.sandbox.replicate.channel import Channel, Event, frame
from penstock.sandbox.script import Fixed
from tests.sandbox.replicate_service import (
    Serve,
    serving,
)
from tests.sandbox.speaking import Gated


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a service with a script and options."""
    async with AsyncExitStack() as stack:
        yield serving(stack)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Hel", b"data: Hel\n"),
        ("\n", b"data: \ndata: \n"),
        ("\n\n", b"data: \ndata: \ndata: \n"),
        ("", b"data: \n"),
        (" ", b"data:  \n"),
        ("a\nb", b"data: a\ndata: b\n"),
        ("a\r\nb", b"data: a\r\ndata: b\n"),
        ("a\rb", b"data: a\rb\n"),
        ("a\u2028b\u0085c", "data: a\u2028b\u0085c\n".encode()),
    ],
)
def test_text_as_nchan_frames_it(text: str, lines: bytes) -> None:
    event = Event("output", text, 1690212292, 3)
    assert frame(event) == b"event: output\nid: 1690212292:3\n" + lines + b"\n"
    assert frame(event, ids=False) == b"event: output\n" + lines + b"\n"


def test_ids_count_within_their_second() -> None:
    channel = Channel()
    before = int(time.time())
    for _ in range(3):
        channel.publish("output", "x")
    events = channel.feed.items
    assert before <= events[0].second <= time.time()
    assert len({event.place for event in events}) == 3
    assert events[0].number == 0
    assert sorted(event.place for event in events) == [event.place for event in events]


def test_ids_never_go_back() -> None:
    channel = Channel()
    future = int(time.time()) + 100
    channel.feed.add(Event("output", "x", future, 7))
    channel.publish("output", "y")
    assert channel.feed.items[-1].place == (future, 8)


@pytest.mark.parametrize(
    ("last_id", "start"),
    [
        (None, 0),
        ("", 0),
        ("odd", 0),
        ("100:0", 1),
        ("100:1", 2),
        ("102:0", 3),  # the last one: silence
        ("103:0", 3),  # of the future: silence
        ("102:1", 3),
        ("99:0", 0),  # too old: everything again
        ("101:5", 0),  # unknown in between: everything again
    ],
)
def test_places_to_go_on_from(last_id: str | None, start: int) -> None:
    channel = Channel()
    for second, number in ((100, 0), (100, 1), (102, 0)):
        channel.feed.add(Event("output", "x", second, number))
    assert channel.start_after(last_id) == start
    assert Channel().start_after(last_id) == 0


async def test_a_stream_is_replayed_and_resumed(serve: Serve) -> None:
    service = await serve(Fixed(["one", " two"]))
    made = await service.create()
    first = await service.listen(made)
    assert first.startswith(b": hi\n\nevent: output\nid: ")
    assert await service.listen(made) == first
    ids = re.findall(rb"id: (\d+:\d+)", first)
    rest = await service.listen(made, **{"Last-Event-ID": ids[0].decode()})
    assert rest == b": hi\n\n" + first[first.index(b"event: output\nid: " + ids[1]) :]


async def test_a_stream_stays_open_until_the_time_out(serve: Serve) -> None:
    service = await serve(Fixed(["one"]), second=0.002)
    made = await service.create()
    before = time.monotonic()
    body = await service.listen(made, until=b"")
    assert body.endswith(b"data: {}\n\n:408: 408 Request Timeout\n\n")
    assert time.monotonic() - before >= 0.05
    last = re.findall(rb"id: (\d+:\d+)", body)[-1].decode()
    again = await service.listen(made, until=b"", **{"Last-Event-ID": last})
    assert again == b": hi\n\n:408: 408 Request Timeout\n\n"


async def test_an_unknown_stream_is_silent(serve: Serve) -> None:
    service = await serve(second=0.001)
    url = f"{service.sandbox.urls['replicate.stream']}/v1/streams/{'a' * 52}"
    body = await service.listen({"urls": {"stream": url}}, until=b"")
    assert body == b": hi\n\n:408: 408 Request Timeout\n\n"


async def test_a_stream_is_no_json(serve: Serve) -> None:
    service = await serve()
    made = await service.create()
    headers = {"Accept": "application/json", "Origin": "http://page.invalid"}
    async with service.session.get(made["urls"]["stream"], headers=headers) as answer:
        assert (answer.status, await answer.read()) == (403, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "http://page.invalid"


async def test_headers_that_reached_the_streams_are_named(serve: Serve) -> None:
    service = await serve()
    made = await service.create()
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(made["urls"]["stream"], headers={"Accept": "text/event-stream"}) as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert await answer.content.readany()
    await service.listen(made)
    without, with_key = service.state["stream_headers"]
    assert "authorization" not in without
    assert "authorization" in with_key


async def test_a_reader_that_leaves_cancels_nothing(serve: Serve) -> None:
    script = Gated("one", " two")
    service = await serve(script)
    made = await service.create()
    script.open()
    await service.listen(made, until=b"data: one")
    async with asyncio.timeout(5):
        while service.state["open_streams"]:
            await asyncio.sleep(0.002)
    assert service.state["runs"]["running"] == 1
    script.open(2)
    assert (await service.over(made))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("odd", "wanted"),
    [
        ({"heartbeat": 0.005}, b"\n:\n\n:\n\n"),
        ({"heartbeat": 0.005, "ping": True}, b":comment\nevent: ping\n\n:comment\n"),
    ],
)
async def test_silence_may_be_broken(
    serve: Serve, odd: Mapping[str, object], wanted: bytes
) -> None:
    service = await serve(Gated("one"), stream=odd)
    assert wanted in await service.listen(await service.create(), until=wanted)


async def test_ids_may_be_lost_and_places_ignored(serve: Serve) -> None:
    service = await serve(Fixed(["one"]), stream={"ids": False})
    assert b"id:" not in await service.listen(await service.create())
    service = await serve(Fixed(["one"]), stream={"replay": True})
    made = await service.create()
    first = await service.listen(made)
    last = re.findall(rb"id: (\d+:\d+)", first)[-1].decode()
    assert await service.listen(made, **{"Last-Event-ID": last}) == first


@pytest.mark.parametrize("cut_by", ["break", "reset", "end"])
async def test_connections_may_be_lost(serve: Serve, cut_by: str) -> None:
    odd = {"cut_after": 20, "cut_by": cut_by, "cut_times": 2}
    service = await serve(Fixed(["one"]), stream=odd)
    made = await service.create()
    whole = b""
    for lost in (True, True, False):
        body, whole_end = b"", False
        headers = {"Accept": "text/event-stream"}
        async with service.session.get(made["urls"]["stream"], headers=headers) as answer:
            try:
                async for data in answer.content.iter_any():
                    body += data
                    if b"event: done" in body:
                        break
                else:
                    whole_end = True
            except (aiohttp.ClientPayloadError, aiohttp.ClientOSError):
                assert cut_by != "end"
        assert (len(body) == 20) == lost
        assert whole_end == (lost and cut_by == "end")
        whole = body
    assert whole.endswith(b"data: {}\n\n")
