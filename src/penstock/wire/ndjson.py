"""Newline-delimited JSON: one JSON text a line, LF ends a line, CRLF and blank lines tolerated."""

from __future__ import annotations

from penstock.wire.lines import MAX_LINE, LineDecoder


class NDJSONDecoder:
    """Bytes to the bytes of each JSON text; parsing them is the dialect's.

    Args:
        limit: longest line in bytes.
    """

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        self._lines = LineDecoder(limit=limit, carriage_return=False)

    def feed(self, data: bytes) -> list[bytes]:
        """The texts that ``data`` completes, blanks around them removed.

        Raises:
            ProtocolError: a line is over the limit.
        """
        return [text for line in self._lines.feed(data) if (text := line.strip(b" \t\r"))]

    def eof(self) -> bytes:
        """The last line, where it lacks its LF. It may be cut anywhere."""
        return self._lines.rest().strip(b" \t\r")
