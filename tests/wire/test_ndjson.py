"""Newline-delimited JSON: LF ends a text, nothing else does."""

from __future__ import annotations

import pytest

from penstock.errors import ProtocolError
from penstock.wire.ndjson import NDJSONDecoder
from tests.wire.cuts import cuttings


def test_texts_at_every_cutting() -> None:
    data = b'{"a":1}\r\n\n  {"b":"\xe2\x80\xa8"}\n' + b" " * 40 + b'{"c":3}\n{"d"'
    for pieces in cuttings(data):
        decoder = NDJSONDecoder()
        texts = [text for piece in pieces for text in decoder.feed(piece)]
        assert texts == [b'{"a":1}', b'{"b":"\xe2\x80\xa8"}', b'{"c":3}']
        assert decoder.eof() == b'{"d"'


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(ProtocolError):
        NDJSONDecoder(limit=10).feed(b"x" * 11)
