"""Newline-delimited JSON: one JSON text a line, LF ends a line, CRLF and blank lines tolerated.

One leading byte-order mark is dropped (RFC 8259 section 8.1 allows it; ``faults.md`` row 3).
"""

from __future__ import annotations

from penstock.wire.lines import MAX_LINE, LineDecoder

_BOM = b"\xef\xbb\xbf"


class NDJSONDecoder:
    """Bytes to the bytes of each JSON text; parsing them is the dialect's.

    Args:
        limit: longest line in bytes.
    """

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        self._lines = LineDecoder(limit=limit, carriage_return=False)
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The texts that ``data`` completes, blanks around them removed.

        Raises:
            ProtocolError: a line is over the limit.
        """
        lines = self._lines.feed(data)
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        return [text for line in lines if (text := line.strip(b" \t\r"))]

    def eof(self) -> bytes:
        """The last line, where it lacks its LF. It may be cut anywhere."""
        rest = self._lines.rest()
        return (rest.removeprefix(_BOM) if self._first else rest).strip(b" \t\r")
