"""Bytes to lines: every cutting gives the same lines, in linear time and bounded memory."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ProtocolError
from penstock.wire.lines import LineDecoder
from tests.wire.cuts import cuttings, feed_in_steps


def lines(pieces: list[bytes], *, carriage_return: bool = True) -> tuple[list[bytes], bytes]:
    decoder = LineDecoder(carriage_return=carriage_return)
    found = [line for piece in pieces for line in decoder.feed(piece)]
    return found, decoder.rest()


@pytest.mark.parametrize(
    ("data", "expected", "rest"),
    [
        (b"a\nb\n", [b"a", b"b"], b""),
        (b"a\r\nb\r\n", [b"a", b"b"], b""),
        (b"a\rb\r", [b"a", b"b"], b""),
        (b"a\r\n\r\nb", [b"a", b""], b"b"),
        (b"a\r\r\nb\n\n", [b"a", b"", b"b", b""], b""),
        (b"a\n\rb", [b"a", b""], b"b"),
        (
            "a\u2028b\u0085c\x0b\x0cd\x1ce\n".encode(),
            ["a\u2028b\u0085c\x0b\x0cd\x1ce".encode()],
            b"",
        ),
        (b"", [], b""),
    ],
)
def test_only_cr_lf_and_crlf_end_a_line(data: bytes, expected: list[bytes], rest: bytes) -> None:
    for pieces in cuttings(data):
        assert lines(pieces) == (expected, rest)


def test_without_carriage_return_only_lf_ends_a_line() -> None:
    for pieces in cuttings(b"a\rb\r\nc"):
        assert lines(pieces, carriage_return=False) == ([b"a\rb\r"], b"c")


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"bc"]), max_size=12))
def test_any_cutting_gives_the_same_lines(parts: list[bytes]) -> None:
    whole = lines([b"".join(parts)])
    assert all(lines(pieces) == whole for pieces in cuttings(b"".join(parts)))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_line_over_the_limit_is_refused_finished_or_not(size: int) -> None:
    for ending in (b"\n", b""):
        decoder = LineDecoder(limit=1000)
        data = b"x" * 1001 + ending
        with pytest.raises(ProtocolError, match="1000 bytes"):
            feed_in_steps(decoder.feed, data, size)


def test_a_line_at_the_limit_passes() -> None:
    assert LineDecoder(limit=1000).feed(b"x" * 1000 + b"\n" + b"y" * 1000) == [b"x" * 1000]


def test_a_long_line_in_small_reads_takes_linear_time() -> None:
    """faults.md row 8: 4 MiB in reads of 1 KiB."""

    def seconds(size: int) -> float:
        decoder = LineDecoder(limit=1 << 24)
        start = time.process_time()
        for _ in range(size // 1024):
            decoder.feed(b"x" * 1024)
        decoder.feed(b"\n")
        return time.process_time() - start

    seconds(1 << 20)
    assert seconds(1 << 23) < 64 * max(seconds(1 << 20), 0.002)
