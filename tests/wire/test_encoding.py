"""Encodings that were not asked for: undone, with their end and growth checked."""

from __future__ import annotations

import gzip
import zlib

import pytest

from penstock.errors import ProtocolError, TruncatedError
from penstock.wire.encoding import ContentDecoder
from tests.wire.cuts import cuttings, feed_in_steps

TEXT = b"the same words again and again, " * 60


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(TEXT)),
        (" X-GZIP ", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    ],
    ids=["gzip", "x-gzip", "deflate", "two members"],
)
def test_whole_bodies_at_every_cutting(encoding: str, data: bytes) -> None:
    """faults.md rows 9 and 14: every member of a gzip body is read."""
    for pieces in cuttings(data):
        decoder = ContentDecoder(encoding)
        assert b"".join(decoder.feed(piece) for piece in pieces) == TEXT
        decoder.eof()


def test_pieces_come_as_they_are_flushed() -> None:
    """faults.md row 9."""
    encoder = zlib.compressobj(wbits=31)
    decoder = ContentDecoder("gzip")
    for piece in (b"one", b"two"):
        data = encoder.compress(piece) + encoder.flush(zlib.Z_SYNC_FLUSH)
        assert decoder.feed(data) == piece


def test_a_cut_body_is_truncated() -> None:
    """faults.md row 12."""
    decoder = ContentDecoder("gzip")
    decoder.feed(gzip.compress(TEXT)[:-12])
    with pytest.raises(TruncatedError):
        decoder.eof()
    ContentDecoder("gzip").eof()  # no body at all is no cut


def test_a_corrupt_body_is_a_protocol_error() -> None:
    """faults.md row 13."""
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 0xFF  # the checksum
    decoder = ContentDecoder("gzip")
    with pytest.raises(ProtocolError):
        feed_in_steps(decoder.feed, bytes(data), 1)
    with pytest.raises(ProtocolError):
        ContentDecoder("gzip").feed(b"this is not gzip at all")


def test_a_bomb_is_stopped() -> None:
    """faults.md row 15."""
    bomb = gzip.compress(b"\0" * (64 << 20))
    decoder = ContentDecoder("gzip")
    with pytest.raises(ProtocolError, match="grows"):
        feed_in_steps(decoder.feed, bomb, 1024)


@pytest.mark.parametrize("encoding", ["foo", "gzip, gzip", "br"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """faults.md row 11."""
    with pytest.raises(ProtocolError, match="not asked for"):
        ContentDecoder(encoding)
