"""Recorded bodies as documents, and their bytes put back into the chunks they came in. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from penstock.testing.replay.case import Chunk

_ASCII_BLANKS = b" \t\r"


def documents(body: bytes) -> Iterator[object]:
    """The JSON documents of a body: the whole, or one for each line or event of a stream."""
    whole = _read(body)
    if whole is not None:
        yield whole
        return
    for line in body.split(b"\n"):
        found = _read(line.strip(_ASCII_BLANKS).removeprefix(b"data:"))
        if found is not None:
            yield found


def _read(data: bytes) -> object:
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found


def replaced_body(chunks: Sequence[Chunk], body: bytes) -> tuple[Chunk, ...]:
    """``chunks`` with the bytes of ``body``, which is as long as they are, cut where they were."""
    found: list[Chunk] = []
    at = 0
    for chunk in chunks:
        found.append(Chunk(body[at : at + len(chunk.b64)], chunk.t))
        at += len(chunk.b64)
    assert at == len(body)
    return tuple(found)


def text_or_none(body: bytes) -> str | None:
    """A body as text; None if it is none."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None
