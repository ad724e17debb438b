"""A recorded case as a value, and how one is read from a file.

The format is that of ``wire/README.md``, "One case = one JSON file": exchanges with a real server
in their order, and what a correct client must make of them. Unknown fields are ignored, so that a
case may say more than this kit compares.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from penstock.types import Value

MAX_CASE_BYTES = 64 << 20
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


class CaseError(Exception):
    """A path that is not there, or a file that is no recorded case."""


class Chunk(Value, frozen=True):
    """The bytes of one read.

    Attributes:
        t: seconds since the request.
        b64: the bytes; in the file as base64.
    """

    b64: bytes
    t: float = 0.0


class RecordedRequest(Value, frozen=True, kw_only=True):
    """A request as it was sent to the real server."""

    method: str
    path: str
    query: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    body_b64: bytes | None = None

    def header(self, name: str) -> str:
        """The value of a header; empty where it was not sent."""
        return header_of(self.headers, name)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.body_b64 is not None:
            return self.body_b64
        return (self.body or "").encode("utf-8", "surrogatepass")


class RecordedResponse(Value, frozen=True, kw_only=True):
    """What the real server answered.

    Attributes:
        chunks: the body, already taken out of its framing.
        closed: ``clean``; ``reset`` for a body that broke off; ``client`` where our side left.
        left_open: after the chunks the server kept the connection open.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[Chunk, ...] = ()
    closed: Literal["clean", "reset", "client"] = "clean"
    closed_note: str = ""
    left_open: bool = False

    def header(self, name: str) -> str:
        """The value of a header; empty where it was not sent."""
        return header_of(self.headers, name)

    @property
    def content(self) -> bytes:
        """The whole body, as it came."""
        return b"".join(chunk.b64 for chunk in self.chunks)

    @property
    def unpacked(self) -> bytes:
        """The whole body, out of its content coding (oa-accept-gzip)."""
        if self.header("content-encoding").lower() not in ("gzip", "deflate"):
            return self.content
        try:
            return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(self.content)
        except zlib.error:
            return self.content

    @property
    def client_left(self) -> bool:
        """True where the recording client went away before the end."""
        return self.closed == "client" or "client" in self.closed_note


class Exchange(Value, frozen=True):
    """One request and its answer."""

    request: RecordedRequest
    response: RecordedResponse


class ExpectedError(Value, frozen=True, kw_only=True):
    """The error a correct client reports. ``message`` may be the server's own structure."""

    kind: str
    status: int | None = None
    message: Any = None
    retry_after: float | None = None


class Expected(Value, frozen=True, kw_only=True):
    """What a correct client makes of one answer; ``turns`` where there are several.

    What is not set is not compared.

    Attributes:
        text: all pieces joined; None or empty for no text, or where only its digest is given.
        pieces: the pieces as they came; empty ones count for nothing.
        finish: None where the wire does not tell.
        exchange: index of the exchange that holds the answer.
        final_text: the whole text as the server itself sent it at the end; also ``final_content``.
        stream_mismatch: that text is not what was streamed.
    """

    text: str | msgspec.UnsetType | None = msgspec.UNSET
    text_sha256: str | None = None
    text_chars: int | None = None
    pieces: tuple[str, ...] | None = None
    piece_chars: tuple[int, ...] | None = None
    pieces_chars: tuple[int, ...] | None = None
    finish: str | None = None
    error: ExpectedError | msgspec.UnsetType | None = msgspec.UNSET
    next_parent: str | None = None
    thinking: str | None = None
    cleanup_delete: bool | None = None
    exchange: int | None = None
    final_text: str | None = None
    final_content: str | None = None
    stream_mismatch: bool = False
    turns: tuple[Expected, ...] = ()

    @property
    def says_something(self) -> bool:
        """False where nothing but ``null`` is expected, as for a call that is no chat."""
        told = (self.text, self.text_sha256, self.pieces, self.finish, self.error)
        return any(item is not msgspec.UNSET and bool(item) for item in told)


class ClientOptions(Value, frozen=True):
    """What the recorded client did beside asking."""

    abort_after_pieces: int | None = None


class CallOptions(Value, frozen=True):
    """How the recorded client asked."""

    prefer_wait: bool = False


class Case(Value, frozen=True, kw_only=True):
    """One recorded case.

    Attributes:
        case: its name.
        provider: the protocol's name.
        model: what the caller asked for, where the requests do not say it.
        dialect: the wire protocol, where the provider has several and the requests do not say it.
    """

    case: str
    provider: str
    exchanges: tuple[Exchange, ...]
    expected: Expected
    notes: str | None = None
    client: ClientOptions = ClientOptions()
    options: CallOptions = CallOptions()
    model: str | None = None
    dialect: str | None = None


def header_of(headers: tuple[tuple[str, str], ...], name: str) -> str:
    """The first value of a header, whatever its case; empty if there is none."""
    return next((value for key, value in headers if key.lower() == name), "")


def parse_case(data: bytes, name: str) -> Case:
    """The case that a file holds.

    Args:
        name: what to call it in the error.

    Raises:
        CaseError: it is no case; the message says where it goes wrong.
    """
    try:
        # Not msgspec's own reader: a case may hold lone surrogates, which that one refuses.
        raw = json.loads(data)
        case = msgspec.convert(raw, Case)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise CaseError(f"{name}: not a recorded case: {error}") from None
    if not case.exchanges:
        raise CaseError(f"{name}: not a recorded case: it holds no exchange")
    return case


def load_case(path: Path) -> Case:
    """Read one case file.

    Raises:
        CaseError: it cannot be read or is no case.
    """
    try:
        if path.stat().st_size > MAX_CASE_BYTES:
            raise CaseError(f"{path}: larger than {MAX_CASE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror or 'cannot be read'}") from None
    return parse_case(data, str(path))


def find_cases(paths: Sequence[Path]) -> list[Path]:
    """The case files at and below ``paths``: files as given, of folders every ``*.json``.

    Raises:
        CaseError: a path is not there, or a folder holds no case.
    """
    found: dict[Path, None] = {}
    for path in paths:
        try:
            found.update(dict.fromkeys(_files(path)))
        except OSError as error:
            raise CaseError(f"{path}: {error.strerror or 'cannot be read'}") from None
    if not found:
        raise CaseError("no path given")
    return list(found)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CaseError(f"{path}: no such file or folder")
    below = sorted(item for item in path.rglob("*.json") if item.is_file())
    if not below:
        raise CaseError(f"{path}: no case file below this folder")
    return below


def packaged_cases(provider: str | None = None) -> tuple[Case, ...]:
    """Recorded cases that come with the package: one or a few of each protocol.

    Args:
        provider: only those of this provider.
    """
    return tuple(case for case in _packaged() if provider is None or case.provider == provider)


def _packaged() -> Iterator[Case]:
    folder = resources.files("penstock.testing").joinpath("cases")
    for protocol in sorted(folder.iterdir(), key=lambda item: item.name):
        for item in sorted(protocol.iterdir(), key=lambda item: item.name):
            if item.name.endswith(".json"):
                yield parse_case(item.read_bytes(), item.name)
