"""The event stream of one prediction, as nginx with nchan serves it.

Facts: wire/replicate.md section 5.3, all of them seen on nchan 1.3.6. A channel keeps its
events and never ends: after ``done`` its readers wait for the time-out like any others.
"""

from __future__ import annotations

import re
import time
from typing import Literal

import msgspec

from penstock.sandbox.run import Feed

EventName = Literal["output", "logs", "error", "done"]

HELLO = b": hi\n\n"
TIMED_OUT = b":408: 408 Request Timeout\n\n"
PING = b":comment\nevent: ping\n\n"
HEARTBEAT = b":\n\n"
RETRY = b"retry: 40\n\n"
TIMEOUT = 30.0
"""Seconds a reader waits for an event before it is sent away."""

_IDENT = re.compile(r"(\d{1,18}):(\d{1,18})")


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be odd about a stream.

    Attributes:
        line_end: ``crlf`` for a proxy that rewrites line ends.
        heartbeat: Seconds of silence after which a comment is sent; None sends none.
        ping: Heartbeats are nchan's: a comment and a ``ping`` event without data.
        ids: Whether events have ids.
        replay: Last-Event-ID is not looked at: everything again.
        closes: The connection ends after ``done``, as behind some proxies.
        cut_after: Bytes after which a connection is lost.
        cut_times: How many connections of a prediction are lost so.
        cut_by: ``break`` ends the body without its last chunk, ``reset`` resets the
            connection, ``end`` looks like an orderly end.
    """

    line_end: Literal["lf", "crlf"] = "lf"
    heartbeat: float | None = None
    ping: bool = False
    ids: bool = True
    replay: bool = False
    closes: bool = False
    cut_after: int | None = None
    cut_times: int = 1
    cut_by: Literal["break", "reset", "end"] = "break"


class Event(msgspec.Struct, frozen=True):
    """One event and its place: a Unix second and the number in that second."""

    name: EventName
    data: str
    second: int
    number: int

    @property
    def place(self) -> tuple[int, int]:
        """What its id says."""
        return self.second, self.number


class Channel:
    """The events of one prediction so far."""

    def __init__(self) -> None:
        self.feed: Feed[Event] = Feed()
        self.connections = 0

    def publish(self, name: EventName, data: str) -> None:
        """Add an event; its id is made of the clock."""
        second, number = int(time.time()), 0
        if self.feed.items:
            last = self.feed.items[-1]
            # The clock may have been set back; ids never go back.
            if last.second >= second:
                second, number = last.second, last.number + 1
        self.feed.add(Event(name, data, second, number))

    def start_after(self, last_id: str | None) -> int:
        """Number of events that a reader with that Last-Event-ID does not get.

        A known id skips all up to it, one of the future skips all there is; what cannot be
        placed begins with the first event.
        """
        found = _IDENT.fullmatch(last_id or "")
        events = self.feed.items
        if found is None or not events:
            return 0
        place = int(found[1]), int(found[2])
        if place > events[-1].place:
            return len(events)
        places = [event.place for event in events]
        return places.index(place) + 1 if place in places else 0


def frame(event: Event, *, ids: bool = True) -> bytes:
    """The bytes of an event: only LF parts its text in lines (section 5.2)."""
    ident = f"id: {event.second}:{event.number}\n" if ids else ""
    lines = "".join(f"data: {line}\n" for line in event.data.split("\n"))
    return f"event: {event.name}\n{ident}{lines}\n".encode()


def with_fault(framed: bytes, event: Event, fault: str, position: int) -> bytes:
    """Give the bytes of an event under a fault of the stream; none, if it is left out.

    Args:
        framed: Its bytes without.
        event: The event.
        fault: The fault's name.
        position: Number of the event in its channel.
    """
    if fault == "comments":
        # As in replicate-stream-comments-heartbeats.
        if position == 0 or event.name == "done":
            return (b":\n\n" if position == 0 else b":\n\n:\n\n") + framed
        head, _, rest = framed.partition(b"\n")
        return b": keep-alive\n\n:keep-alive\n" + head + b"\n:inside an event\n" + rest
    if fault == "retry" and position == 0:
        return framed.replace(b"\ndata: ", b"\nretry: 60\ndata: ", 1)
    if fault == "plain-error" and event.name == "error":
        return b"event: error\ndata: out of memory\n\n"
    if fault == "no-done" and event.name == "done" and event.data != "{}":
        return b""
    return framed
