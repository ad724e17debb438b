"""One exchange while it happens, and the value that becomes of it."""

from __future__ import annotations

from typing import Literal

from penstock.errors import PenstockError
from penstock.testing.record.bodies import text_or_none
from penstock.testing.replay.case import Chunk, Exchange, RecordedRequest, RecordedResponse
from penstock.wire.encoding import ContentDecoder

_ENCODED = ("content-encoding", "content-length")


class Taking:
    """What was sent, and what has come so far.

    Attributes:
        status: 0 until the server has answered.
        closed: how the answer ended; None while it has not.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        started: float,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.status = 0
        self.closed: Literal["clean", "reset", "client"] | None = None
        self._started = started
        self._answer_headers: tuple[tuple[str, str], ...] = ()
        self._chunks: list[Chunk] = []
        self._stopped = False

    @property
    def path(self) -> str:
        """The path, as it was sent."""
        return self.target.partition("?")[0]

    def answered(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of the answer has come."""
        self.status = status
        self._answer_headers = tuple(headers)

    def read(self, data: bytes, now: float) -> None:
        """The next bytes of the body, as one read gave them."""
        self._chunks.append(Chunk(data, round(now - self._started, 4)))

    def left(self, *, by_us: bool) -> None:
        """The client has left, or the recording ends while the answer is still coming."""
        if self.closed is None:
            self.closed = "clean" if by_us else "client"
            self._stopped = by_us

    def exchange(self) -> Exchange:
        """All of it as a value; a compressed body as what it says, so that secrets are found."""
        path, _, query = self.target.partition("?")
        sent, sent_headers = self._plain_request()
        body = text_or_none(sent)
        chunks, headers = self._plain()
        return Exchange(
            RecordedRequest(
                method=self.method,
                path=path,
                query=query,
                headers=sent_headers,
                body=body,
                body_b64=sent if body is None else None,
            ),
            RecordedResponse(
                status=self.status,
                headers=headers,
                chunks=chunks,
                closed=self.closed or "reset",
                closed_note="the recording was stopped" if self._stopped else "",
                left_open=self._stopped,
            ),
        )

    def _plain_request(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        encoding = "".join(v for n, v in self.headers if n.lower() == "content-encoding")
        if encoding.strip().lower() in ("", "identity"):
            return self.body, self.headers
        headers = tuple((n, v) for n, v in self.headers if n.lower() not in _ENCODED)
        try:
            return ContentDecoder(encoding).feed(self.body), headers
        except PenstockError:
            return b"", headers  # unreadable, and so perhaps full of secrets

    def _plain(self) -> tuple[tuple[Chunk, ...], tuple[tuple[str, str], ...]]:
        encodings = [v for n, v in self._answer_headers if n.lower() == "content-encoding"]
        encoding = "".join(encodings).strip().lower()
        if encoding in ("", "identity"):
            return tuple(self._chunks), self._answer_headers
        headers = tuple((n, v) for n, v in self._answer_headers if n.lower() not in _ENCODED)
        chunks: list[Chunk] = []
        try:
            decoder = ContentDecoder(encoding)
            chunks.extend(Chunk(decoder.feed(chunk.b64), chunk.t) for chunk in self._chunks)
            decoder.eof()
        except PenstockError:
            self.closed = "reset"  # what cannot be read is not kept: it may hold anything
        return tuple(chunk for chunk in chunks if chunk.b64), headers
