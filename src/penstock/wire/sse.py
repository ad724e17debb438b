"""Event streams by the WHATWG rules (HTML standard, "Parsing an event stream"), over bytes.

Laws of this file:
* a blank line dispatches; an event without any ``data`` line is not dispatched;
* several ``data`` lines join with LF; at most one space after the colon is dropped;
* one leading byte-order mark is dropped; a line that starts with a colon is a comment;
* the event type ends with its event, the id persists over events that have none;
* an unfinished event at the end of the stream is not dispatched and its id is not used.
"""

from __future__ import annotations

import msgspec

from penstock.errors import ProtocolError
from penstock.wire.lines import MAX_LINE, LineDecoder

_BOM = b"\xef\xbb\xbf"


class ServerEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    Attributes:
        data: the data lines joined, as bytes of UTF-8; white space is data.
        event: the event type.
        id: the last event id in force.
        own_id: True where this event brought that id itself.
    """

    data: bytes
    event: str = "message"
    id: str = ""
    own_id: bool = False


class SSEDecoder:
    """Bytes to ``ServerEvent``; the same events at every cutting of the bytes.

    Args:
        limit: largest event in bytes.

    Attributes:
        last_event_id: id of the last dispatched event, for ``Last-Event-ID``.
        retry: reconnection delay in milliseconds the server asked for.
    """

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._lines = LineDecoder(limit=limit)
        self._limit = limit
        self._first = self._blank = True
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._id: str | None = None

    def only(self, data: bytes) -> bytes | None:
        """The data of the event that ``data`` is, if it is one of one line, and no more.

        So it is with most reads of a stream that is sent token by token. None where it is not so,
        or what came before counts: then nothing was taken, and ``feed`` is the way.
        """
        if not self._blank or len(data) > self._limit or not data.startswith(b"data:"):
            return None
        end = -4 if data.endswith(b"\r\n\r\n") else -2 if data.endswith(b"\n\n") else 0
        line = data[:end]
        if b"\n" in line or b"\r" in line or not line:
            return None
        self._first = False
        return line[6:] if line[5:6] == b" " else line[5:]

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that ``data`` completes.

        Raises:
            ProtocolError: a line or an event is over the limit.
        """
        only = self.only(data)
        if only is not None:
            return [ServerEvent(only)]
        lines = self._lines.feed(data)
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[ServerEvent] = []
        for line in lines:
            if not line:
                self._dispatch(events)
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data.append(value)
                self._size += len(value) + 1
                if self._size > self._limit + 1:
                    raise self._over()
            else:
                self._field(line)
        self._blank = self._lines.idle and not (
            self._data or self._event or self.last_event_id or self._id is not None
        )
        return events

    def eof(self) -> ServerEvent | None:
        """What the stream left unfinished: an event that must not count, but may be looked at.

        A server that closes right after its end mark without the last blank line has ended well;
        only a dialect can know that mark.
        """
        rest = self._lines.rest()
        if self._first:
            rest = rest.removeprefix(_BOM)
        if rest.startswith(b"data:"):
            self._data.append(rest[6:] if rest[5:6] == b" " else rest[5:])
        elif rest:
            self._field(rest)
        events: list[ServerEvent] = []
        before = self.last_event_id
        self._dispatch(events)
        self.last_event_id = before
        return events[0] if events else None

    def _over(self) -> ProtocolError:
        return ProtocolError(f"an event of the stream is over {self._limit} bytes")

    def _dispatch(self, events: list[ServerEvent]) -> None:
        own_id = self._id is not None
        if self._id is not None:
            self.last_event_id = self._id
            self._id = None
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(
                ServerEvent(data, self._event or "message", self.last_event_id, own_id)
                if self._event or own_id or self.last_event_id
                else ServerEvent(data)
            )
            self._data.clear()
            self._size = 0
        self._event = ""

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"data":  # a line "data" without colon: one empty data line
            self._data.append(b"")
            self._size += 1
            if self._size > self._limit + 1:
                raise self._over()
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)
