"""The hot path: one answer from its upstream to its caller.

Laws:
* the stream is entered inside the ASGI call, by the task that serves it; no framework ever holds
  a generator that owns an upstream;
* status 200 goes out with the first output event, or with the first event that says what is
  waited for; an error before it is an HTTP status, an error after it is an error event without an
  end mark;
* a batch of events in is one write out; no task, queue or timer for a token. Once the answer flows,
  a batch is written from within the read that brings it, as long as the caller keeps up;
* one task beside it, once the answer takes its time, waits for the caller to leave, keeps a silent
  line alive, and gives up on a caller who does not read; leaving cancels the upstream by its own
  means;
* what is read upstream is never more than one batch ahead of what was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any

import msgspec

from penstock.config.gateway import Limits
from penstock.errors import PenstockError, StreamCancelledError
from penstock.gateway.errors import failure_of, refusal
from penstock.gateway.exchange import Exchange
from penstock.gateway.http import (
    JSON,
    ClientGone,
    Header,
    Line,
    Receive,
    Send,
    is_gone,
    respond,
)
from penstock.gateway.stops import StopCutter, cut_reply
from penstock.gateway.surfaces import estimate
from penstock.gateway.surfaces.chat import joined_usage
from penstock.gateway.surfaces.surface import KEEP_ALIVE, Asked, Writer
from penstock.provider import Batch
from penstock.stream import AnswerStream
from penstock.types import CONTENT, Event, Finished, Reply, Usage

_log = logging.getLogger("penstock.gateway")

_STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

UNWATCHED = 0.05
"""Seconds before anybody looks whether the caller has left: short answers are over by then."""


class Answer:
    """One answer on its way out.

    Args:
        exchange: the caller's request; what happens is noted there.
        asked: the question.
        writer: makes the bytes.
        streams: one upstream stream for each choice, not yet entered.
        limits: of the line to the caller.
        openai_compatible: the upstream speaks OpenAI's protocol.
        estimate_usage: tell an estimate where the upstream counts no tokens.
    """

    _send: Send
    _line: Line
    _opening = b""
    _started = False
    _over = False
    _stopping = False
    _sending: float | None = None
    _pieces_seen = 0
    _watcher: asyncio.Task[None] | None = None
    _gone = False

    def __init__(
        self,
        exchange: Exchange,
        asked: Asked,
        writer: Writer,
        streams: Sequence[AnswerStream],
        limits: Limits,
        *,
        openai_compatible: bool = False,
        estimate_usage: bool = False,
    ) -> None:
        self._exchange = exchange
        self._asked = asked
        self._writer = writer
        self._streams = streams
        self._limits = limits
        self._compatible = openai_compatible
        self._estimate = estimate_usage
        self._ends: list[Finished] = []
        self._sent_at = monotonic()

    async def run(self, receive: Receive, send: Send) -> None:
        """Answer. Cancelling, or the caller's leaving, closes the upstream and cleans up there.

        Raises:
            ClientGone: the caller left, or stopped reading.
        """
        self._send = send
        self._exchange.streamed = self._asked.stream
        if self._asked.stream:
            self._opening = self._writer.opening()
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        begin = task.get_loop().call_later(UNWATCHED, self._begin_watch, task, receive)
        try:
            try:
                if not self._asked.stream:
                    await self._whole()
                elif len(self._streams) == 1:
                    await self._streamed(self._streams[0], 0)
                else:
                    await self._copied()
            except PenstockError as error:
                await self._failed(error)
        except BaseException as error:
            self._note_route(self._streams[0])
            if not self._gone:  # else the watcher has cancelled, and that is what counts
                if is_gone(error):
                    raise ClientGone from None
                raise
        finally:
            begin.cancel()
            if self._watcher is not None:
                await self._end_watch()
        if self._gone:
            if task.uncancel() > cancelling:  # somebody else cancels as well
                raise asyncio.CancelledError
            raise ClientGone

    def _begin_watch(self, task: asyncio.Task[Any], receive: Receive) -> None:
        self._watcher = task.get_loop().create_task(self._watch(task, receive))

    async def _end_watch(self) -> None:
        watcher, self._watcher = self._watcher, None  # it holds this answer: no ring
        assert watcher is not None
        watcher.cancel()
        await asyncio.wait([watcher])
        if not watcher.cancelled() and (error := watcher.exception()) is not None:
            _log.error("the line to a caller failed in a way nobody foresaw", exc_info=error)

    async def stop(self) -> None:
        """End the answer because the gateway ends; the caller is told."""
        self._stopping = True
        for stream in self._streams:
            await stream.aclose()

    async def _copied(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for choice, stream in enumerate(self._streams):
                    group.create_task(self._streamed(stream, choice))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # others followed from it

    # -- streamed ------------------------------------------------------------------------------

    async def _streamed(self, stream: AnswerStream, choice: int) -> None:
        writer, exchange, send = self._writer, self._exchange, self._send
        cutter = StopCutter(self._asked.stops) if self._asked.stops else None
        line = exchange.line if cutter is None and len(self._streams) == 1 else None
        if line is not None:
            self._line = line
        async with stream:
            while True:
                flows = line is not None and exchange.first_content is not None and line.ready
                batch = await stream.next_batch(self._passed_on if flows else None)
                if batch is None:
                    break
                if cutter is not None:
                    batch = cutter.feed(batch)
                data = writer.events(batch, choice)
                last = batch[-1] if batch else None
                if type(last) is Finished:
                    self._note_content(batch)
                    await self._ended(data, last, choice, stream)
                    return
                if data:
                    if exchange.first_content is None:
                        self._note_content(batch)
                    else:
                        exchange.pieces += len(batch)
                    if not self._started:
                        data = await self._begun(data, stream)
                    # As ``_write`` does: a token is not worth a coroutine more.
                    self._sending = self._sent_at = monotonic()
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    self._sending = None
        raise StreamCancelledError("the answer was left before its end")

    def _passed_on(self, batch: Batch) -> bool:
        """Write ``batch`` from within the read that brought it; False where that must wait."""
        data = self._writer.events(batch, 0)
        if not data:
            return True
        self._exchange.pieces += len(batch)
        return self._line.write(data)

    def _note_content(self, batch: Sequence[Event]) -> None:
        """Note the pieces of ``batch``, and the instant if the first is among them."""
        pieces = sum(isinstance(event, CONTENT) for event in batch)
        self._exchange.pieces += pieces
        if pieces and self._exchange.first_content is None:
            self._exchange.first_content = monotonic()

    async def _begun(self, data: bytes, stream: AnswerStream) -> bytes:
        """Send the head of the answer; ``data`` with what goes before it."""
        self._started = True
        exchange = self._exchange
        self._note_route(stream)
        exchange.status = 200
        headers = [*_STREAM_HEADERS, *exchange.answer_headers(monotonic())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        return self._opening + data

    async def _ended(self, data: bytes, end: Finished, choice: int, stream: AnswerStream) -> None:
        usage = self._estimated(end.usage, stream)
        if usage is not None:
            warnings = (*end.warnings, estimate.NOTICE)
            end = msgspec.structs.replace(end, usage=usage, warnings=warnings)
        data += self._writer.finished(end, choice)
        if not self._started:
            data = await self._begun(data, stream)
        self._ends.append(end)
        if len(self._ends) < len(self._streams):
            await self._write(data)
            return
        self._over = True
        self._exchange.finish_reason = end.finish_reason
        self._exchange.usage = joined_usage([one.usage for one in self._ends])
        await self._write(data + self._writer.closing(self._ends), more=False)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._sending = self._sent_at = monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._sending = None

    # -- whole ---------------------------------------------------------------------------------

    async def _whole(self) -> None:
        streams, exchange = self._streams, self._exchange
        for stream in streams:
            stream.whole = True
        replies = [await streams[0].reply()] if len(streams) == 1 else await self._replies()
        if self._estimate or self._asked.stops:
            replies = [*map(self._completed, replies, streams)]
        for reply in replies:
            exchange.characters += len(reply.text)
            if reply.warnings:
                exchange.warnings += tuple(note.code for note in reply.warnings)
        exchange.usage = joined_usage([reply.usage for reply in replies])
        exchange.finish_reason = replies[0].finish_reason
        self._note_route(streams[0])
        await self._respond(200, self._writer.whole(replies))

    async def _replies(self) -> list[Reply]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(stream.reply()) for stream in self._streams]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # others followed from it
        return [task.result() for task in tasks]

    def _completed(self, reply: Reply, stream: AnswerStream) -> Reply:
        """``reply`` with what the gateway does to it: stop texts and estimates."""
        usage = self._estimated(reply.usage, stream)
        if usage is not None:
            warnings = (*reply.warnings, estimate.NOTICE)
            reply = msgspec.structs.replace(reply, usage=usage, warnings=warnings)
        return cut_reply(reply, self._asked.stops) if self._asked.stops else reply

    def _estimated(self, usage: Usage | None, stream: AnswerStream) -> Usage | None:
        """Counts with estimates for those that are not known; None where nothing is to be said."""
        if not self._estimate:
            return None
        return estimate.completed(usage, self._asked.request, stream.written)

    async def _respond(self, status: int, body: bytes, headers: Sequence[Header] = ()) -> None:
        self._started = self._over = True
        self._exchange.status = status
        every = self._exchange.answer_headers(monotonic())
        await respond(self._send, status, body, [JSON, *every, *headers])

    # -- ends ----------------------------------------------------------------------------------

    async def _failed(self, error: PenstockError) -> None:
        if self._stopping:
            failure = refusal(503, "the gateway is stopping; ask again", code="stopping")
        else:
            failure = failure_of(error, openai_compatible=self._compatible)
        exchange = self._exchange
        exchange.kind = error.kind
        self._note_route(self._streams[0])
        if self._started:
            self._over = True
            await self._write(self._writer.failed(failure), more=False)
        else:
            await self._respond(failure.status, self._writer.refused(failure), failure.headers())

    def _note_route(self, stream: AnswerStream) -> None:
        route = stream.route
        self._exchange.attempts = 0 if route is None else route.attempts
        self._exchange.target = None if route is None else route.target or None

    async def _watch(self, task: asyncio.Task[Any], receive: Receive) -> None:
        """Cancel ``task`` as soon as the line to the caller is of no use any more."""
        try:
            await self._until_gone(receive)
        except Exception as error:
            self._gone = True
            task.cancel()
            if not is_gone(error):
                raise

    async def _until_gone(self, receive: Receive) -> None:
        """Wait for the caller to leave; meanwhile keep the line alive.

        Raises:
            ClientGone: the caller left, or did not read for too long.
        """
        while True:
            try:
                # A whole answer is written at once: there is no silence on its line to fill.
                async with asyncio.timeout(self._limits.heartbeat if self._asked.stream else None):
                    message = await receive()
            except TimeoutError:
                await self._beat()
                continue
            if message["type"] == "http.disconnect":
                if self._over:
                    return
                raise ClientGone

    async def _beat(self) -> None:
        now = monotonic()
        seen, self._pieces_seen = self._pieces_seen, self._exchange.pieces
        if self._sending is not None:
            if now - self._sending >= self._limits.write:
                raise ClientGone
        elif self._pieces_seen != seen or self._over or not self._started:
            return
        elif now - self._sent_at >= self._limits.heartbeat:
            await self._write(KEEP_ALIVE)
