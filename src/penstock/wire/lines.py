"""Bytes to lines: linear in time, bounded in memory, split before anything is decoded.

Only CR, LF and CRLF end a line (WHATWG event streams), or only LF (newline-delimited JSON). U+2028,
U+0085 and the other separators of ``str.splitlines`` are data. A CR at the end of a read ends its
line at once; the LF of a CRLF cut between two reads is then skipped.
"""

from __future__ import annotations

from penstock.errors import ProtocolError

MAX_LINE = 1 << 20
"""Default bound of one line or event: 1 MiB."""


class LineDecoder:
    """Splits a byte stream into whole lines.

    Args:
        limit: longest line in bytes, without its end.
        carriage_return: True where a CR ends a line, too.
    """

    def __init__(self, *, limit: int = MAX_LINE, carriage_return: bool = True) -> None:
        self._limit = limit
        self._carriage_return = carriage_return
        self._skip_line_feed = False
        self._pending: list[bytes] = []
        self._pending_size = 0

    @property
    def idle(self) -> bool:
        """Nothing is kept of what came."""
        return not (self._pending or self._skip_line_feed)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their ends.

        Raises:
            ProtocolError: a line is longer than the limit.
        """
        if self._carriage_return and (self._skip_line_feed or b"\r" in data):
            data = self._unify(data)
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and self._pending:
            self._pending.append(lines[0])
            lines[0] = b"".join(self._pending)
            self._pending = []
            self._pending_size = 0
        if tail:
            self._pending.append(tail)
            self._pending_size += len(tail)
        if self._pending_size > self._limit or (
            len(data) + self._pending_size > self._limit
            and any(len(line) > self._limit for line in lines)
        ):
            raise ProtocolError(f"a line of the stream is longer than {self._limit} bytes")
        return lines

    def _unify(self, data: bytes) -> bytes:
        if self._skip_line_feed and data.startswith(b"\n"):
            data = data[1:]
            self._skip_line_feed = False
        if data:
            self._skip_line_feed = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def rest(self) -> bytes:
        """The unfinished last line; the decoder is empty afterwards."""
        rest = b"".join(self._pending)
        self._pending = []
        self._pending_size = 0
        return rest
