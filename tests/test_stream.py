"""The answer as its caller holds it: one end, partial text kept, nothing left open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from penstock.errors import ModelError, PenstockError, ProtocolError, StreamCancelledError
from penstock.provider import EventStream
from penstock.stream import AnswerStream
from penstock.types import (
    Conversation,
    Event,
    Finished,
    Notice,
    Reasoning,
    Started,
    Text,
    ToolCall,
    Usage,
)


class Source:
    """A provider's context that says what it is told and counts its doors."""

    def __init__(self, *batches: Sequence[Event] | Exception, hang: bool = False) -> None:
        self.batches = batches
        self.hang = hang
        self.entered = 0
        self.left = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        self.entered += 1
        try:
            yield self._batches()
        finally:
            self.left += 1

    async def _batches(self) -> AsyncIterator[Sequence[Event]]:
        for batch in self.batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
        if self.hang:
            await asyncio.Event().wait()

    def stream(self) -> AnswerStream:
        return AnswerStream(self.open, provider="scripted", model="m")


END = Finished(usage=Usage(completion_tokens=2))


async def test_events_come_singly_and_facts_stay() -> None:
    conversation = Conversation("m", id="c")
    notice = Notice("text_differs")
    end = Finished("length", Usage(total_tokens=3), "ab.", conversation, (notice,))
    source = Source([Started("r1"), Reasoning("hm")], [Text("a"), Text("b")], [end])
    stream = source.stream()
    assert source.entered == 0
    async with stream as answer:
        events = [event async for event in answer]
    assert events == [Started("r1"), Reasoning("hm"), Text("a"), Text("b"), end]
    assert stream.partial == "ab"
    assert stream.started == Started("r1")
    assert stream.finish_reason == "length"
    assert stream.usage == Usage(total_tokens=3)
    assert stream.conversation is conversation
    assert stream.warnings == (notice,)
    assert (source.entered, source.left) == (1, 1)


async def test_before_the_end_there_are_no_facts() -> None:
    stream = Source([Text("a")], [END]).stream()
    assert (stream.finish_reason, stream.usage, stream.conversation) == (None, None, None)
    assert stream.warnings == ()
    await stream.aclose()


async def test_without_a_context_it_opens_and_closes_itself() -> None:
    source = Source([Text("a")], [END])
    stream = source.stream()
    assert [piece async for piece in stream.text()] == ["a"]
    assert source.left == 1
    assert [event async for event in stream] == []


async def test_the_end_is_handed_out_before_the_cleanup() -> None:
    source = Source([Text("a"), END])
    stream = source.stream()
    assert await stream.next_batch() == [Text("a"), END]
    assert source.left == 0
    assert await stream.next_batch() is None
    assert source.left == 1


async def test_batches_are_one_for_each_read() -> None:
    stream = Source([Text("a"), Text("b")], [END]).stream()
    assert [list(batch) async for batch in stream.batches()] == [[Text("a"), Text("b")], [END]]


async def test_an_error_carries_the_text_that_had_come() -> None:
    source = Source([Text("par"), Text("tial")], ModelError("worker lost"))
    stream = source.stream()
    with pytest.raises(ModelError) as caught:
        await stream.reply()
    assert caught.value.partial == "partial"
    assert not caught.value.retryable
    assert (caught.value.provider, caught.value.model) == ("scripted", "m")
    assert source.left == 1
    assert await stream.next_batch() is None


async def test_a_provider_that_just_stops_is_at_fault() -> None:
    source = Source([Text("a")])
    with pytest.raises(ProtocolError, match="without an end"):
        await source.stream().reply()
    assert source.left == 1


async def test_an_error_at_the_door_is_named_too() -> None:
    class Refuses:
        async def __aenter__(self) -> AsyncIterator[Sequence[Event]]:
            raise ModelError("no")

        async def __aexit__(self, *_: object) -> None:
            raise AssertionError("never entered")

    stream = AnswerStream(Refuses, provider="p", model="m")
    with pytest.raises(PenstockError) as caught:
        await stream.next_batch()
    assert caught.value.provider == "p"


async def test_leaving_early_leaves_the_context() -> None:
    source = Source([Text("a")], [Text("b")], [END])
    async with source.stream() as answer:
        async for _ in answer:
            break
    assert source.left == 1


async def test_cancelling_leaves_the_context_and_passes_on() -> None:
    source = Source([Text("a")], hang=True)
    stream = source.stream()
    task = asyncio.ensure_future(stream.reply())
    while stream.partial != "a":
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.left == 1


async def test_the_garbage_collector_leaves_the_context() -> None:
    """Row 61 of faults.md, by reference count and by cycle."""
    for cycle in (False, True):
        source = Source([Text("a")], hang=True)
        stream = source.stream()
        assert await stream.next_batch() == [Text("a")]
        if cycle:
            stream.__dict__["self"] = stream
        del stream
        gc.collect()
        async with asyncio.timeout(1):
            while not source.left:
                await asyncio.sleep(0)


async def test_a_dropped_stream_needs_no_collector_although_its_opener_names_it() -> None:
    source = Source([Text("a")], hang=True)

    def asked() -> AnswerStream:
        def opener() -> EventStream:
            assert not stream.whole
            return source.open()

        stream = AnswerStream(opener, provider="scripted", model="m")
        return stream

    stream = asked()
    assert await stream.next_batch() == [Text("a")]
    gc.disable()
    try:
        del stream
        async with asyncio.timeout(1):
            while not source.left:
                await asyncio.sleep(0)
    finally:
        gc.enable()


async def test_the_pieces_are_the_reply_where_the_final_text_does_not_count() -> None:
    end = Finished(final_text="whole", final_counts=False)
    assert (await Source([Text(" piece")], [end]).stream().reply()).text == " piece"


async def test_a_reply_of_the_default_model_tells_which_one_it_was() -> None:
    source = Source([Started(model="big"), Text("a")], [END])
    stream = AnswerStream(source.open, provider="scripted", model="")
    assert (await stream.reply()).model == "big"


async def test_a_whole_reply_prefers_the_servers_final_text() -> None:
    calls = [
        ToolCall(index=0, id="c1", name="weather", arguments='{"ci'),
        ToolCall(index=0, arguments='ty":1}'),
        ToolCall(index=1, id="c2", name="time"),
    ]
    end = Finished(finish_reason="tool_calls", final_text="whole ")
    reply = await Source([Text("who"), Reasoning("r"), *calls], [end]).stream().reply()
    assert reply.text == "whole "
    assert reply.reasoning == "r"
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("c1", "weather", '{"city":1}'),
        ("c2", "time", ""),
    ]
    assert (await Source([Text(" a ")], [END]).stream().reply()).text == " a "


async def test_two_readers_at_once_are_told_apart_and_the_first_goes_on() -> None:
    """faults.md row 64."""
    gate = asyncio.Event()

    class Gated(Source):
        async def _batches(self) -> AsyncIterator[Sequence[Event]]:
            await gate.wait()
            yield [Text("a"), END]

    source = Gated()
    stream = source.stream()
    reading = asyncio.ensure_future(stream.reply())
    await asyncio.sleep(0)
    for second in (stream.next_batch, stream.__aenter__):
        with pytest.raises(RuntimeError, match="another task"):
            await second()
    gate.set()
    assert (await reading).text == "a"
    assert (source.entered, source.left) == (1, 1)


async def test_a_turn_is_asked_once() -> None:
    """A stream whose entering failed or was cancelled is not entered again."""

    class Stuck(Source):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
            self.entered += 1
            await asyncio.Event().wait()
            yield self._batches()

    source = Stuck()
    stream = source.stream()
    task = asyncio.ensure_future(stream.__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stream.next_batch() is None
    with pytest.raises(StreamCancelledError):
        await stream.reply()
    assert source.entered == 1


async def test_an_answer_that_was_left_is_never_told_as_whole() -> None:
    stream = Source([Text("par")], [END]).stream()
    assert await stream.next_batch() == [Text("par")]
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StreamCancelledError) as caught:
        await stream.reply()
    assert (caught.value.partial, caught.value.provider) == ("par", "scripted")


class Slow(Source):
    """It cannot be entered before ``gate`` is set; a stubborn one swallows a cancellation."""

    def __init__(self, *, stubborn: bool = False) -> None:
        super().__init__([Text("a")], [END])
        self.gate = asyncio.Event()
        self.stubborn = stubborn

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
        async with super().open() as batches:
            yield batches


@pytest.mark.parametrize("stubborn", [False, True])
async def test_leaving_while_another_task_enters_ends_its_waiting(stubborn: bool) -> None:
    source = Slow(stubborn=stubborn)
    stream = source.stream()

    async def read() -> int:
        with pytest.raises(StreamCancelledError):
            await stream.reply()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    await stream.aclose()
    await stream.aclose()
    assert await reading == 0
    assert source.entered == source.left == int(stubborn)


async def test_a_caller_who_is_cancelled_while_another_task_leaves_stays_cancelled() -> None:
    stream = Slow().stream()
    reading = asyncio.ensure_future(stream.reply())
    await asyncio.sleep(0)
    await stream.aclose()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cleanup_that_fails_replaces_neither_answer_nor_error(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """faults.md row 69."""

    class Untidy(Source):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
            yield self._batches()
            raise ModelError("the deletion was refused")

    stream = Untidy([Text("a")], ModelError("worker lost") if fails else [END]).stream()
    if fails:
        with pytest.raises(ModelError, match="worker lost"):
            await stream.reply()
    else:
        assert (await stream.reply()).text == "a"
    assert "deletion was refused" in caplog.text
