"""Event streams by the WHATWG rules, each vector fed whole, byte by byte and cut everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ProtocolError
from penstock.wire.sse import ServerEvent, SSEDecoder
from tests.wire.cuts import cuttings

VECTORS: dict[str, tuple[bytes, list[tuple[str, str, str]]]] = {
    # name: (bytes, [(event, data, last id)]); after web-platform-tests eventsource/format-*
    "data": (b"data:test\n\n", [("message", "test", "")]),
    "bom": (b"\xef\xbb\xbfdata:1\n\n", [("message", "1", "")]),
    "bom-twice": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n", [("message", "2", "")]),
    "comments": (b"data:1\n:\0\n:\r\ndata:2\n:x\ndata:3\r:x\n\n", [("message", "1\n2\n3", "")]),
    "no-final-blank": (
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [("message", "test1", "")],
    ),
    "empty-data": (
        b"data:\n\ndata\ndata\n\ndata:test\n\n",
        [("message", "", ""), ("message", "\n", ""), ("message", "test", "")],
    ),
    "event": (b"event:test\ndata:x\n\ndata:x\n\n", [("test", "x", ""), ("message", "x", "")]),
    "event-empty": (b"event: \ndata:data\n\n", [("message", "data", "")]),
    "event-last-wins": (b"event:a\nevent:b\ndata:x\n\n", [("b", "x", "")]),
    "event-without-data": (b"event:ping\n\ndata:x\n\n", [("message", "x", "")]),
    "id": (b"id: 1\ndata:a\n\ndata:b\n\n", [("message", "a", "1"), ("message", "b", "1")]),
    "id-empty-resets": (
        b"id:1\ndata:a\n\nid\ndata:b\n\n",
        [("message", "a", "1"), ("message", "b", "")],
    ),
    "id-null": (b"id:1\x002\ndata:a\n\n", [("message", "a", "")]),
    "id-only-block": (b"id:7\n\ndata:a\n\n", [("message", "a", "7")]),
    "unknown-fields": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n",
        [("message", "test\n", "")],
    ),
    "one-space": (b"data:\ttest\rdata: \ndata:test\n\n", [("message", "\ttest\n\ntest", "")]),
    "two-spaces": (b"data:  x\n\n", [("message", " x", "")]),
    "newlines": (b"data:test\r\ndata\ndata:test\r\n\r", [("message", "test\n\ntest", "")]),
    "crlf": (b"data: a\r\n\r\ndata:b\r\n\r\n", [("message", "a", ""), ("message", "b", "")]),
    "crlf-empty": (b"data:\r\n\r\n", [("message", "", "")]),
    "crlf-two-lines": (b"data:a\r\ndata:b\r\n\r\n", [("message", "a\nb", "")]),
    "ends-mixed": (
        b"data:a\r\n\ndata:b\n\r\ndata:c\rdata:d\r\n\r\n",
        [("message", "a", ""), ("message", "b", ""), ("message", "c\nd", "")],
    ),
    "cr-only": (b"data:a\r\rdata:b\r\r", [("message", "a", ""), ("message", "b", "")]),
    "null-character": (b"data:\0\n\n\n\n", [("message", "\0", "")]),
    "utf-8": ("data:ok…\n\n".encode(), [("message", "ok…", "")]),
    "separators-are-data": (
        "data:a\u2028b\u2029c\u0085d\x0b\x0c\n\n".encode(),
        [("message", "a\u2028b\u2029c\u0085d\x0b\x0c", "")],
    ),
    "prefix-only": (b"dat:x\ndata :y\nData:z\ndata:ok\n\n", [("message", "ok", "")]),
    "colon-in-value": (b"data:a:b\n\n", [("message", "a:b", "")]),
}


def decode(pieces: list[bytes]) -> tuple[list[tuple[str, str, str]], SSEDecoder]:
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [(event.event, event.data.decode(), event.id) for event in events], decoder


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_at_every_cutting(name: str) -> None:
    data, expected = VECTORS[name]
    for pieces in cuttings(data):
        assert decode(pieces)[0] == expected


def test_an_id_knows_its_event() -> None:
    """Only events with an id of their own are skipped after a reconnect."""
    events = SSEDecoder().feed(b"id:1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\n")
    assert [(event.id, event.own_id) for event in events] == [
        ("1", True),
        ("1", False),
        ("2", True),
    ]


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry:1500", 1500),
        (b"retry: 0", 0),
        (b"retry:x", None),
        (b"retry:-1", None),
        (b"retry:1e3", None),
        (b"retry:", None),
        (b"retry:99999999999", None),
    ],
)
def test_retry_is_milliseconds_in_digits(line: bytes, retry: int | None) -> None:
    decoder = SSEDecoder()
    decoder.feed(line + b"\n\n")
    assert decoder.retry == retry


def test_an_unfinished_event_is_not_dispatched_and_its_id_not_used() -> None:
    _, decoder = decode([b"id:1\ndata:a\n\nid:2\ndata:b\n"])
    assert decoder.last_event_id == "1"
    assert decoder.eof() == ServerEvent(b"b", "message", "2", True)
    assert decoder.last_event_id == "1"
    assert decoder.eof() is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: [DONE]", ServerEvent(b"[DONE]")),
        (b"\xef\xbb\xbfdata:x", ServerEvent(b"x")),
        (b"event: done\ndata: {}", ServerEvent(b"{}", "done")),
        (b"data: {}\nevent: done", ServerEvent(b"{}", "done")),
        (b": comment", None),
        (b"", None),
    ],
)
def test_what_the_end_leaves_may_be_looked_at(data: bytes, expected: ServerEvent | None) -> None:
    decoder = SSEDecoder()
    decoder.feed(data)
    assert decoder.eof() == expected


def test_an_event_over_the_limit_is_refused() -> None:
    decoder = SSEDecoder(limit=100)
    with pytest.raises(ProtocolError, match="100 bytes"):
        decoder.feed(b"data:" + b"x" * 60 + b"\ndata:" + b"x" * 60 + b"\n")
    with pytest.raises(ProtocolError, match="100 bytes"):
        SSEDecoder(limit=100).feed(b"data:" + b"x" * 200)
    with pytest.raises(ProtocolError, match="100 bytes"):
        SSEDecoder(limit=100).feed(b"data\n" * 102)


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_and_cut_alike(data: bytes) -> None:
    def outcome(pieces: list[bytes]) -> list[ServerEvent]:
        decoder = SSEDecoder()
        return [event for piece in pieces for event in decoder.feed(piece)]

    whole = outcome([data])
    for pieces in cuttings(data[:40]):
        assert outcome([*pieces, data[40:]]) == whole


@given(st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))))
def test_any_text_survives_its_framing(texts: list[str]) -> None:
    data = b"".join(
        b"".join(b"data: " + line.encode() + b"\n" for line in text.split("\n")) + b"\n"
        for text in texts
    )
    assert [event.data.decode() for event in SSEDecoder().feed(data)] == texts
