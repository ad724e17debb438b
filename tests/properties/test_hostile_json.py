"""Hostile JSON in every dialect: what the grammar refuses is our error, what it allows is taken.

The vectors are made by the grammar of RFC 8259, in the manner of JSONTestSuite: what every reader
must accept, what every reader must refuse, and what is left to it (faults.md row 71).
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from penstock.errors import PenstockError, ProtocolError
from penstock.testing import feed_once
from penstock.types import Event, Text
from tests.properties.dialects import DIALECTS, READERS, SAYERS, only_our_errors

ACCEPT: Mapping[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "minus-zero": b"-0",
    "integer": b"-123456789",
    "fraction": b"0.000001",
    "exponent": b"1E+2",
    "small-exponent": b"1e-2",
    "exponent-with-zeros": b"1e0002",
    "over-64-bits": b"18446744073709551616",
    "empty-text": b'""',
    "escapes": rb'"\"\\\/\b\f\n\r\t\u0041"',
    "pair": rb'"\ud83d\udc68"',
    "escaped-nul": rb'"\u0000"',
    "noncharacter": rb'"\uffff"',
    "separators": '"\u2028\u2029\u0085"'.encode(),
    "delete": b'"\x7f"',
    "high-planes": '"\U0010ffff\U0001d11e"'.encode(),
    "empty-array": b"[]",
    "empty-object": b"{}",
    "blanks": b'[ 1 ,\t2 , { "a" : [ ] } ]',
    "key-twice": b'{"a":1,"a":2}',
    "empty-key": b'{"":0}',
    "nul-in-key": rb'{"a\u0000b":0}',
    "mixed": b'[null,1,"1",{}]',
    "nested": b"[" * 100 + b"]" * 100,
}
REFUSE: Mapping[str, bytes] = {
    "nothing": b" ",
    "nan": b"NaN",
    "infinity": b"Infinity",
    "minus-infinity": b"-Infinity",
    "minus-nan": b"-NaN",
    "plus": b"+1",
    "leading-zero": b"012",
    "minus-leading-zero": b"-012",
    "leading-point": b".5",
    "trailing-point": b"1.",
    "point-exponent": b"1.e1",
    "bare-exponent": b"1e",
    "exponent-sign": b"1e+",
    "bare-minus": b"-",
    "hexadecimal": b"0x1",
    "grouped": b"1 000",
    "full-width": "１".encode(),
    "true-in-capitals": b"True",
    "true-cut": b"tru",
    "python-none": b"None",
    "undefined": b"undefined",
    "single-quotes": b"'a'",
    "bare-word": b"a",
    "open-text": b'"a',
    "bare-escape": b'"\\"',
    "unknown-escape": rb'"\x41"',
    "short-escape": rb'"\u00A"',
    "odd-escape": rb'"\u00G0"',
    "capital-escape": rb'"\U0041"',
    "raw-tab": b'"\t"',
    "raw-nul": b'"\0"',
    "raw-escape": b'"\x1f"',
    "open-array": b"[",
    "open-array-of": b"[1",
    "open-object": b"{",
    "closed-by-other": b"[1}",
    "closed-twice": b"[1]]",
    "trailing-comma": b"[1,]",
    "leading-comma": b"[,1]",
    "two-commas": b"[1,,2]",
    "no-comma": b"[1 2]",
    "colon-in-array": b'["a":1]',
    "trailing-comma-in-object": b'{"a":1,}',
    "no-colon": b'{"a" 1}',
    "two-colons": b'{"a"::1}',
    "bare-key": b"{a:1}",
    "number-as-key": b"{1:1}",
    "no-value": b'{"a":}',
    "comment": b"[1/*2*/]",
    "line-comment": b"[1]//",
    "two-values": b"1 2",
    "form-feed": b"[\x0c]",
    "no-break-space": b"[\xc2\xa0]",
    "mark-inside": b"[\xef\xbb\xbf1]",
    "ellipsis": b"[...]",
}
FREE: Mapping[str, bytes] = {
    "high-half": rb'"\ud800"',
    "low-half": rb'"\udc00"',
    "pair-turned": rb'"\udc68\ud83d"',
    "half-and-letter": rb'"\ud800a"',
    "invalid-utf-8": b'"\xff"',
    "overlong": b'"\xc0\xaf"',
    "surrogate-in-utf-8": b'"\xed\xa0\x80"',
    "beyond-unicode": b'"\xf4\xbf\xbf\xbf"',
    "cut-utf-8": b'"\xe0\xa4"',
    "utf-8-in-key": b'{"\xe9":1}',
    "huge-exponent": b"1e999",
    "tiny-exponent": b"1e-999",
    "huge-number": b"9" * 5000,
    "huge-fraction": b"0." + b"3" * 5000,
    "deep-arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep-objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep-and-open": b"[" * 100_000,
    "deep-objects-open": b'{"a":[' * 50_000,
    "utf-16": '"a"'.encode("utf-16"),
    "byte-order-mark": b"\xef\xbb\xbf1",
}


def cases(*tables: Mapping[str, bytes]) -> pytest.MarkDecorator:
    """Each vector of these tables as a test of its own."""
    named = [(name, vector) for table in tables for name, vector in table.items()]
    return pytest.mark.parametrize(
        "vector", [vector for _, vector in named], ids=[name for name, _ in named]
    )


every_dialect = pytest.mark.parametrize("name", DIALECTS)


@every_dialect
@cases(ACCEPT)
def test_a_member_nobody_knows_is_passed_over(name: str, vector: bytes) -> None:
    dialect = DIALECTS[name]
    decoder = dialect.make()
    events = decoder.feed(dialect.framed(dialect.token % (b'"kept"', vector)))
    assert decoder.failure is None
    assert [event.text for event in events if isinstance(event, Text)] == ["kept"]


@every_dialect
@cases(REFUSE)
def test_what_is_no_json_is_our_error(name: str, vector: bytes) -> None:
    dialect = DIALECTS[name]
    for payload in (vector, dialect.token % (vector, b"0"), dialect.token % (b'"lost"', vector)):
        decoder = dialect.make()
        events = decoder.feed(dialect.framed(payload))
        if payload.strip():
            assert isinstance(decoder.failure, ProtocolError)
        assert not [event for event in events if isinstance(event, Text)]


@every_dialect
@cases(ACCEPT, FREE)
def test_json_of_another_kind_raises_nothing_else(name: str, vector: bytes) -> None:
    dialect = DIALECTS[name]
    for payload in (vector, dialect.token % (vector, b"0"), dialect.token % (b'"kept"', vector)):
        for data in (dialect.framed(payload), dialect.framed(payload) + dialect.end):
            fed = feed_once(dialect.make(), [data])
            assert all(sound(event) for event in fed.events)


def sound(event: Event) -> bool:
    """Whether a text is one that can be written down."""
    return not isinstance(event, Text) or event.text == event.text.encode().decode()


@pytest.mark.parametrize("name", READERS)
def test_readers_of_bodies_raise_only_our_errors(name: str) -> None:
    for vector in {**ACCEPT, **REFUSE, **FREE}.values():
        for body in (vector, b'{"data":%s}' % vector, b"[%s]" % vector):
            only_our_errors(READERS[name], body)
    for vector in REFUSE.values():
        assert isinstance(only_our_errors(READERS[name], vector), PenstockError)


MEMBERS = (
    *("error", "detail", "message", "errors", "code", "type", "error_type", "title", "msg"),
    *("validation_errors", "estimated_time", "retry_after", "loc", "latest_version", "status"),
)


@pytest.mark.parametrize("name", SAYERS)
def test_what_a_bad_answer_says_may_be_anything(name: str) -> None:
    for vector in {**ACCEPT, **REFUSE, **FREE}.values():
        for member in MEMBERS:
            inner = b'{"%s":%s}' % (member.encode(), vector)
            for body in (inner, b'{"error":%s}' % inner, b'{"detail":[%s]}' % inner):
                SAYERS[name](body)
