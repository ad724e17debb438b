"""Bytes fed all ways: one outcome, or a failure that names the way."""

from __future__ import annotations

import pytest

from penstock.errors import ModelError, ProtocolError, TruncatedError
from penstock.testing import feed_all_ways, feed_once
from penstock.testing.feed import MOST_SINGLE_CUTS
from penstock.wire.sse import SSEDecoder


class Lines:
    """A decoder that is right."""

    def __init__(self) -> None:
        self.rest = b""
        self.reads = 0

    def feed(self, data: bytes) -> list[bytes]:
        self.reads += 1
        *lines, self.rest = (self.rest + data).split(b"\n")
        if b"bad" in lines:
            raise ProtocolError("a bad line")
        return lines

    def eof(self) -> object:
        if self.rest:
            raise TruncatedError("no line end")
        return []


class ReadsAreLines(Lines):
    """Takes each read for a line."""

    def feed(self, data: bytes) -> list[bytes]:
        return [data] if data else []


class ForgetsTheRest(Lines):
    """Loses what is cut off."""

    def feed(self, data: bytes) -> list[bytes]:
        lines = super().feed(data)
        self.rest = self.rest if self.reads == 1 else b""
        return lines


class KeepsTheLastRead(Lines):
    """Tells the last read for the rest."""

    def feed(self, data: bytes) -> list[bytes]:
        lines = super().feed(data)
        self.last = data.rpartition(b"\n")[2]
        return lines

    def eof(self) -> bytes:
        return self.last


class CountsReads(Lines):
    """Fails where it was fed more than twice."""

    def eof(self) -> object:
        if self.reads > 3:
            raise ModelError("too often")
        return super().eof()


class Fails(Lines):
    """Keeps its failure instead of raising it."""

    failure: ProtocolError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        try:
            return super().feed(data)
        except ProtocolError as error:
            self.failure = error
            return []


def test_one_outcome_is_returned() -> None:
    fed = feed_all_ways(Lines, b"one\ntwo\n\nthree\n")
    assert fed.events == (b"one", b"two", b"", b"three")
    assert fed.failure is None


def test_the_real_decoder_of_event_streams_passes() -> None:
    fed = feed_all_ways(
        SSEDecoder, b"\xef\xbb\xbfdata: a\r\nid: 1\r\n\r\ndata: \xd0\x9f\r\rdata:x\n\n"
    )
    assert [event.data for event in fed.events] == [b"a", "П".encode(), b"x"]


@pytest.mark.parametrize("data", [b"", b"x\n"])
def test_short_data_has_no_places_to_cut(data: bytes) -> None:
    assert feed_all_ways(Lines, data).failure is None


def test_a_failure_is_part_of_the_outcome() -> None:
    assert feed_all_ways(Lines, b"bad\n").failure == ("protocol", "a bad line")
    assert feed_all_ways(Lines, b"one\ntwo").failure == ("truncated", "no line end")
    fed = feed_all_ways(Fails, b"bad\nmore\n")
    assert fed.failure == ("protocol", "a bad line")


def test_events_lost_with_a_failure_of_the_same_read_are_caught() -> None:
    with pytest.raises(AssertionError, match=r"event 0 is \(b'one',\), whole it is \(\)"):
        feed_all_ways(Lines, b"one\nbad\n")


def test_a_decoder_that_takes_reads_for_lines_is_caught() -> None:
    with pytest.raises(AssertionError, match="byte by byte: event 0 is"):
        feed_all_ways(ReadsAreLines, b"one\ntwo\n")


def test_a_decoder_that_ends_too_early_is_caught() -> None:
    with pytest.raises(AssertionError, match="event 0 is"):
        feed_all_ways(ForgetsTheRest, b"one\ntwo\n")


def test_a_difference_in_failure_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"failure is \('model', 'too often'\), whole it is"):
        feed_all_ways(CountsReads, b"one\ntwo\n")


def test_what_is_left_unfinished_is_part_of_the_outcome() -> None:
    fed = feed_all_ways(SSEDecoder, b"data: a\n\ndata: [DONE]")
    assert fed.rest is not None
    with pytest.raises(AssertionError, match="the rest is b'o', whole it is b'two'"):
        feed_all_ways(KeepsTheLastRead, b"one\ntwo")


def test_only_given_cuts_are_made() -> None:
    fed = feed_all_ways(Lines, b"one\ntwo\n", cuts=[2, 5], random_cuttings=0)
    assert fed.events == (b"one", b"two")


def test_long_data_is_cut_at_line_ends_and_evenly() -> None:
    data = b"".join(b"line %d\n" % number for number in range(MOST_SINGLE_CUTS // 4))
    assert len(feed_all_ways(Lines, data, random_cuttings=2).events) == MOST_SINGLE_CUTS // 4


def test_feed_once_takes_parts_as_they_are() -> None:
    assert feed_once(Lines(), [b"o", b"", b"ne\n"]).events == (b"one",)
