"""The answer of the stream port: `: hi`, the events, and silence until the time-out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aiohttp import web

from penstock.sandbox.replicate.channel import (
    HEARTBEAT,
    HELLO,
    PING,
    RETRY,
    TIMED_OUT,
    TIMEOUT,
    Channel,
    StreamOptions,
    frame,
    with_fault,
)
from penstock.sandbox.server import LOG_LENGTH, Server, Stream, reply

# What was written must be read before a reset, which may take it back.
_BEFORE_RESET = 0.05


class Listening:
    """Readers of channels.

    Attributes:
        heard: Names of the headers of the last requests, in small letters; no values.
    """

    def __init__(
        self,
        server: Server,
        find: Callable[[str], Channel | None],
        options: StreamOptions,
        second: float,
    ) -> None:
        self._server = server
        self._find = find
        self._options = options
        self._timeout = TIMEOUT * second
        self.heard: deque[list[str]] = deque(maxlen=LOG_LENGTH)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream a channel; an unknown or expired one is silent."""
        self.heard.append(sorted({name.lower() for name in request.headers}))
        origin = request.headers.get("origin")
        cors = {"Access-Control-Allow-Origin": origin} if origin else {}
        if "text/event-stream" not in request.headers.get("accept", ""):
            return reply(403, headers=cors)
        fault = str(self._server.fault("stream") or "")
        if fault == "closed-channel":
            return reply(403, headers=cors)
        found = None if fault == "unknown-channel" else self._find(request.match_info["token"])
        channel = found or Channel()
        headers = {"Content-Type": "text/event-stream; charset=utf-8", **cors}
        last_id = None if self._options.replay else request.headers.get("last-event-id")
        async with self._server.stream(request, headers) as out:
            writer = self._writer(out, channel)
            await self._relay(writer, channel, channel.start_after(last_id), fault)
        return out.response

    def _writer(self, out: Stream, channel: Channel) -> _Writer:
        channel.connections += 1
        lost = channel.connections <= self._options.cut_times
        budget = self._options.cut_after if lost else None
        return _Writer(out, self._options, budget)

    async def _relay(self, writer: _Writer, channel: Channel, position: int, fault: str) -> None:
        clock = asyncio.get_running_loop().time
        events = channel.feed.items
        goes_on = await writer.write(RETRY if fault == "retry" else HELLO)
        leaves = clock() + self._timeout
        while goes_on:
            if position < len(events):
                event = events[position]
                data = with_fault(frame(event, ids=self._options.ids), event, fault, position)
                goes_on = await writer.write(data) if data else goes_on
                if event.name == "done" and self._options.closes:
                    return
                position += 1
                leaves = clock() + self._timeout
                continue
            left = leaves - clock()
            beat = self._options.heartbeat or left
            if await channel.feed.changed(min(beat, left)):
                continue
            if clock() >= leaves:
                await writer.write(TIMED_OUT)
                return
            goes_on = await writer.write(PING if self._options.ping else HEARTBEAT)


class _Writer:
    """Writes frames until a connection is to be lost."""

    def __init__(self, out: Stream, options: StreamOptions, budget: int | None) -> None:
        self._out = out
        self._options = options
        self._budget = budget

    async def write(self, data: bytes) -> bool:
        """Write `data`, or as much of it as there is; False when the connection is over."""
        if self._options.line_end == "crlf":
            data = data.replace(b"\n", b"\r\n")
        if self._budget is None:
            await self._out.write(data)
            return True
        await self._out.write(data[: self._budget])
        self._budget -= len(data)
        if self._budget > 0:
            return True
        await self._lose()
        return False

    async def _lose(self) -> None:
        match self._options.cut_by:
            case "break":
                self._out.break_off()
            case "reset":
                await asyncio.sleep(_BEFORE_RESET)
                self._out.reset()
            case "end":
                pass
