"""The event stream of one message (wire/openassistant.md section 6).

Each event is one line of ASCII JSON and ends with CR LF CR LF. Until the first piece
there is a `pending` event a second; a ping comes each 15 s, whatever else is sent.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from penstock.sandbox.openassistant.records import (
    PLUGIN_THOUGHT,
    Ending,
    Message,
    Token,
    message_shape,
)
from penstock.sandbox.openassistant.work import Work
from penstock.sandbox.server import Stream

_PING = 15  # ticks
Tokens = Literal["whole", "bytes", "surrogates"]
Pings = Literal["comment", "event"]


class Feed:
    """Writes streams.

    Args:
        work: The queue, for the positions.
        tick: Length of a second.
        tokens: Whether characters beyond the basic plane come whole, as the runs of
            U+FFFD that byte tokens make of them, or in two halves.
        pings: The comment, or the event with a text that is no JSON of older releases.
    """

    def __init__(self, work: Work, *, tick: float, tokens: Tokens, pings: Pings) -> None:
        self._work = work
        self._tick = tick
        self._tokens: Tokens = tokens
        self._pings: Pings = pings

    async def send(self, out: Stream, message: Message) -> None:
        """Write events to their end. Readers of one message take turns."""
        reader = object()
        message.readers += 1
        self._work.attend(message)
        try:
            await self._send(out, message, reader)
        finally:
            message.readers -= 1
            message.leave_line(reader)

    async def _send(self, out: Stream, message: Message, reader: object) -> None:
        clock = asyncio.get_running_loop().time
        ping_at, pending_at = clock() + _PING * self._tick, clock() + self._tick
        while True:
            moment = clock()
            if moment >= ping_at:
                ping_at += _PING * self._tick
                message.leave_line(reader)
                await out.write(self._ping())
            elif message.ready:
                if not message.is_next(reader):
                    # Whose turn it is was woken by the same piece and takes it now.
                    await asyncio.sleep(0)
                    continue
                message.leave_line(reader)
                event = message.take()
                if event is not None:
                    await out.write(b"".join(self._frames(event, message)))
                if isinstance(event, Ending):
                    return
            elif not message.begun and moment >= pending_at:
                pending_at = moment + self._tick
                message.leave_line(reader)
                await out.write(self._pending(message))
            else:
                message.wait_in_line(reader)
                until = min(ping_at, math.inf if message.begun else pending_at)
                await message.change(until - moment)

    def _frames(self, event: Token | Ending, message: Message) -> Iterator[bytes]:
        if message.plugin is not None and message.used_plugin is None:
            # Before the first event; always followed by an empty token (section 6).
            message.used_plugin = message.plugin
            yield frame({"event_type": "plugin_intermediate", **PLUGIN_THOUGHT})
            yield frame({"event_type": "token", "text": ""})
        if isinstance(event, Token):
            for text in cut(event.text, self._tokens):
                yield frame({"event_type": "token", "text": text})
        elif event.error is None:
            yield frame({"event_type": "message", "message": message_shape(message)})
        else:
            shape = message_shape(message)
            yield frame({"event_type": "error", "error": event.error, "message": shape})

    def _pending(self, message: Message) -> bytes:
        position, size = self._work.place(message)
        told = {"event_type": "pending", "queue_position": position, "queue_size": size}
        return frame(told)

    def _ping(self) -> bytes:
        moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        head = ": ping - " if self._pings == "comment" else "event: ping\r\ndata: "
        return f"{head}{moment}\r\n\r\n".encode()


def frame(event: dict[str, object]) -> bytes:
    """Write one event."""
    return f"data: {json.dumps(event)}\r\n\r\n".encode("ascii")


def cut(text: str, tokens: Tokens) -> list[str]:
    """Cut a piece as the worker's tokenizer does."""
    if tokens == "whole" or text.isascii():
        return [text]
    parts: list[str] = [""]
    for one in text:
        if one <= "\uffff":
            parts[-1] += one
        elif tokens == "bytes":
            # Byte tokens that make no character yet, then the last one, which says nothing.
            parts += ["\ufffd", "\ufffd", "\ufffd", "", ""]
        else:
            offset = ord(one) - 0x10000
            parts[-1] += chr(0xD800 + (offset >> 10))
            parts.append(chr(0xDC00 + (offset & 0x3FF)))
    return parts
