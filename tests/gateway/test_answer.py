"""One answer on its way out: what is sent, what is noted, what is left behind; without sockets."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.config.gateway import Limits
from penstock.errors import ModelError, PenstockError
from penstock.gateway.answer import Answer
from penstock.gateway.exchange import Exchange
from penstock.gateway.http import ClientGone
from penstock.gateway.surfaces.chat import ChatWriter
from penstock.gateway.surfaces.surface import Asked
from penstock.stream import AnswerStream
from penstock.types import (
    ChatRequest,
    Event,
    Finished,
    Message,
    Reasoning,
    Started,
    Text,
    ToolCall,
    Usage,
    Waiting,
)

Batches = Sequence[Sequence[Event] | PenstockError]
STARTED, WAITING = Started(id="x"), Waiting("queue", position=2)
COUNTED = Finished(usage=Usage(prompt_tokens=1, completion_tokens=2))


class Upstreams:
    """Upstreams that say what they are told to, and how many of them are open."""

    def __init__(self, pace: float = 0.0) -> None:
        self.open = 0
        self.pace = pace

    def stream(self, batches: Batches) -> AnswerStream:
        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
            self.open += 1
            try:
                yield self._said(batches)
            finally:
                self.open -= 1

        return AnswerStream(opened, provider="p", model="m")

    async def _said(self, batches: Batches) -> AsyncIterator[Sequence[Event]]:
        for batch in batches:
            await asyncio.sleep(self.pace)
            if isinstance(batch, PenstockError):
                raise batch
            yield batch
        await asyncio.Event().wait()


class Sent:
    """What went out, and what is known afterwards."""

    def __init__(self, exchange: Exchange, messages: list[MutableMapping[str, Any]]) -> None:
        self.exchange = exchange
        self.status = messages[0]["status"] if messages else None
        self.text = b"".join(message.get("body", b"") for message in messages).decode()
        self.ended = bool(messages) and messages[-1].get("more_body") is False


async def answered(
    *upstreams: Batches,
    stops: tuple[str, ...] = (),
    stream: bool = True,
    estimate: bool = False,
    pace: float = 0.0,
) -> Sent:
    """Answer once; every upstream must be closed, and what ended well forgotten, afterwards."""
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    exchange = Exchange(scope, 0.0)
    request = ChatRequest(model="p/m", messages=(Message("user", "Hello"),))
    asked = Asked(request=request, stream=stream, stops=stops, copies=len(upstreams))
    writer = ChatWriter("chatcmpl-1", "p/m", 17, usage=True, copies=len(upstreams))
    behind = Upstreams(pace)
    streams = [behind.stream(batches) for batches in upstreams]
    answer = Answer(exchange, asked, writer, streams, Limits(), estimate_usage=estimate)
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    known = weakref.ref(answer)
    gc.disable()  # a ring would keep the text of an answer until it is looked for
    try:
        async with asyncio.timeout(5):
            await answer.run(receive, send)
        del answer
        await asyncio.sleep(0)
        assert known() is None or exchange.kind is not None  # an error knows where it was raised
    finally:
        gc.enable()
    assert behind.open == 0
    return Sent(exchange, messages)


@pytest.mark.parametrize(
    ("batches", "pieces"),
    [
        ([[Text("a")], [Text("b")], [COUNTED]], 2),
        ([[STARTED], [Text("a"), Text("b"), COUNTED]], 2),
        ([[WAITING], [WAITING], [STARTED, Text("a")], [Text("b"), COUNTED]], 2),
        ([[STARTED, WAITING, Reasoning("a")], [ToolCall(arguments="b")], [COUNTED]], 2),
    ],
)
async def test_the_first_piece_is_noted_wherever_it_comes_and_pieces_alone_are_counted(
    batches: Batches, pieces: int
) -> None:
    sent = await answered(batches)
    assert sent.exchange.first_content is not None
    assert sent.exchange.pieces == pieces
    assert sent.ended
    assert sent.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_takes_its_time_is_watched_and_is_whole(stream: bool) -> None:
    sent = await answered([[Text("a")], [Text("b")], [COUNTED]], stream=stream, pace=0.04)
    assert sent.status == 200
    assert sent.ended is stream


@pytest.mark.parametrize("batches", [[[COUNTED]], [[STARTED, WAITING], [COUNTED]]])
async def test_an_answer_without_a_piece_has_no_first_one(batches: Batches) -> None:
    sent = await answered(batches)
    assert (sent.exchange.first_content, sent.exchange.pieces) == (None, 0)
    assert sent.status == 200


async def test_nothing_is_sent_before_there_is_something_to_say() -> None:
    sent = await answered([[STARTED], ModelError("no", provider="p")])
    assert sent.status == 502
    assert sent.text.startswith('{"error"')


async def test_after_waiting_was_told_an_error_is_an_event() -> None:
    sent = await answered([[WAITING], ModelError("no", provider="p")])
    assert sent.status == 200
    assert ": waiting queue position=2" in sent.text
    assert 'data: {"error"' in sent.text
    assert "[DONE]" not in sent.text
    assert sent.ended
    assert sent.exchange.kind == "model"


async def test_a_stop_text_ends_the_upstream_that_goes_on() -> None:
    sent = await answered([[Text("one tw")], [Text("o three")]], stops=("two",))
    assert '"content":"one "' in sent.text
    assert "thr" not in sent.text
    assert sent.text.endswith("data: [DONE]\n\n")


async def test_one_choice_that_fails_ends_the_others() -> None:
    sent = await answered([[Text("a")]], [[Text("b")], ModelError("no", provider="p")])
    assert 'data: {"error"' in sent.text
    assert "[DONE]" not in sent.text


async def test_the_usage_of_all_choices_is_noted_and_told() -> None:
    sent = await answered([[Text("a"), COUNTED]], [[Text("b")], [COUNTED]])
    assert sent.exchange.usage is not None
    assert sent.exchange.usage.completion_tokens == 4
    assert '"completion_tokens":4' in sent.text
    whole = await answered([[Text("a"), COUNTED]], [[Text("b")], [COUNTED]], stream=False)
    assert whole.exchange.usage == sent.exchange.usage


@pytest.mark.parametrize("stream", [True, False])
async def test_an_estimate_counts_everything_that_was_written(stream: bool) -> None:
    batches: Batches = [
        [Reasoning("abcd"), Text("efgh"), ToolCall(id="c", name="ijkl", arguments="mnop")],
        [Finished()],
    ]
    sent = await answered(batches, stream=stream, estimate=True)
    usage = sent.exchange.usage
    assert usage == Usage(prompt_tokens=6, completion_tokens=4, estimated=True)
    assert '"estimated":true' in sent.text
    counted = await answered([[Text("a"), COUNTED]], stream=stream, estimate=True)
    assert counted.exchange.usage == COUNTED.usage
    unknown = await answered(batches, stream=stream)
    assert unknown.exchange.usage is None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_leaves_ends_every_upstream(stream: bool) -> None:
    behind = Upstreams()
    streams = [behind.stream([[Text("a")]]), behind.stream([])]
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    request = ChatRequest(model="p/m", messages=(Message("user", "Hello"),))
    asked = Asked(request=request, stream=stream, copies=2)
    writer = ChatWriter("chatcmpl-1", "p/m", 17, usage=False, copies=2)
    answer = Answer(Exchange(scope, 0.0), asked, writer, streams, Limits())

    async def receive() -> MutableMapping[str, Any]:
        while behind.open < 2:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message

    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await answer.run(receive, send)
    assert behind.open == 0


async def test_a_cancellation_that_meets_a_leaving_stays_a_cancellation() -> None:
    behind = Upstreams()
    answer, messages = single(behind.stream([[Text("a")]]))
    answering: asyncio.Task[None]

    async def left_and_cancelled() -> MutableMapping[str, Any]:
        answering.cancel()
        return {"type": "http.disconnect"}

    answering = asyncio.ensure_future(answer.run(left_and_cancelled, messages.send))
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await answering
    assert answering.cancelled()
    assert behind.open == 0


@pytest.mark.parametrize(
    "failure", [OSError("reset"), RuntimeError("the line is odd"), KeyError("type")]
)
async def test_a_line_that_fails_while_it_is_watched_ends_the_answer(failure: Exception) -> None:
    behind = Upstreams()
    answer, messages = single(behind.stream([[Text("a")]]))

    async def receive() -> MutableMapping[str, Any]:
        raise failure

    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await answer.run(receive, messages.send)
    assert behind.open == 0


async def test_an_answer_that_is_ended_while_it_is_opened_is_told() -> None:
    opening, opened = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        opening.set()
        await opened.wait()
        yield Upstreams()._said([[Text("never")]])

    answer, messages = single(AnswerStream(slow, provider="p", model="m"))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(answer.run(never, messages.send))
        await opening.wait()
        await answer.stop()
        opened.set()
    assert [message.get("status") for message in messages.sent] == [503, None]


async def test_a_server_that_cannot_write_says_that_the_caller_left() -> None:
    async def send(_: MutableMapping[str, Any]) -> None:
        raise BrokenPipeError

    behind = Upstreams()
    answer, _ = single(behind.stream([[Text("a")]]))
    with pytest.raises(ClientGone):
        await answer.run(never, send)
    assert behind.open == 0


@pytest.mark.parametrize(
    "batches",
    [[[Text("a")], [Finished()]], [[Text("a")], ModelError("died")]],
    ids=["end", "error"],
)
async def test_a_caller_who_does_not_read_the_last_write_is_given_up(batches: Batches) -> None:
    behind = Upstreams(pace=0.06)  # long enough to be watched
    answer, messages = single(behind.stream(batches), Limits(heartbeat=0.05, write=0.15))

    async def send(message: MutableMapping[str, Any]) -> None:
        await messages.send(message)
        if len(messages.sent) == 3:
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await answer.run(never, send)
    assert behind.open == 0


async def test_a_leaving_that_meets_another_error_is_a_leaving() -> None:
    @asynccontextmanager
    async def odd() -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        try:
            yield Upstreams()._said([])
        finally:
            raise ValueError("it was cancelled")

    async def left() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    answer, messages = single(AnswerStream(odd, provider="p", model="m"))
    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await answer.run(left, messages.send)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


class Messages:
    """What goes out."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


async def never() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def single(stream: AnswerStream, limits: Limits | None = None) -> tuple[Answer, Messages]:
    """An answer of one streamed choice."""
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    request = ChatRequest(model="p/m", messages=(Message("user", "Hello"),))
    writer = ChatWriter("chatcmpl-1", "p/m", 17, usage=False)
    asked = Asked(request=request, stream=True)
    return Answer(Exchange(scope, 0.0), asked, writer, [stream], limits or Limits()), Messages()
