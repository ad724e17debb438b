"""Decoders on any bytes: only our errors, one end, the same at every cutting."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import PenstockError
from penstock.testing import Fed, feed_once
from penstock.types import Event, Finished
from tests.properties.depth import depths, tried
from tests.properties.dialects import (
    DECODERS,
    DIALECTS,
    READERS,
    SAYERS,
    only_our_errors,
    recorded_bodies,
)

WORDS = [
    b"data:",
    b"data: ",
    b"event: output\n",
    b"event: done\n",
    b"id: 1\n",
    b"\n\n",
    b"\r\n",
    b"\r",
]
WORDS += [
    b'{"',
    b'":',
    b"null",
    b"[",
    b"]",
    b"}",
    b"\\ud83d",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"\0",
]
WORDS += [dialect.end for dialect in DIALECTS.values()]
WORDS += [dialect.framed(dialect.token % (b'"x"', b"0")) for dialect in DIALECTS.values()]

ANY_BYTES = st.lists(st.binary(max_size=6) | st.sampled_from(WORDS), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=6)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded body with a few places overwritten, cut out, doubled, or filled with others."""
    body = bytearray(draw(st.sampled_from(recorded_bodies())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 40)))
        match draw(st.integers(0, 3)):
            case 0:
                body[start:end] = draw(st.binary(max_size=4) | st.sampled_from(WORDS))
            case 1:
                body[start:end] = b""
            case 2:
                body[end:end] = body[start:end]
            case _:
                del body[start:]
    return bytes(body)


def parts_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in parts that begin at these places, as far as there are such places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in pairwise([0, *places, len(data)])]


def check(name: str, data: bytes, cuts: list[int]) -> None:
    whole: Fed[Event] = feed_once(DECODERS[name](), [data])
    finished = [event for event in whole.events if isinstance(event, Finished)]
    assert (whole.failure is None) == (len(finished) == 1)
    if finished:
        assert whole.events[-1] is finished[0]
    assert feed_once(DECODERS[name](), parts_of(data, cuts)) == whole


@pytest.mark.parametrize("examples", depths(100, 1000))
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_takes_any_bytes(name: str, examples: int) -> None:
    @tried(examples)
    @given(data=ANY_BYTES, cuts=CUTS)
    def holds(data: bytes, cuts: list[int]) -> None:
        check(name, data, cuts)

    holds()


@pytest.mark.parametrize("examples", depths(100, 1000))
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_takes_any_mutated_recording(name: str, examples: int) -> None:
    @tried(examples)
    @given(data=mutated(), cuts=CUTS)
    def holds(data: bytes, cuts: list[int]) -> None:
        check(name, data, cuts)

    holds()


@pytest.mark.parametrize("examples", depths(60, 1000))
@pytest.mark.parametrize("name", READERS)
def test_a_reader_raises_only_our_errors(name: str, examples: int) -> None:
    @tried(examples)
    @given(body=ANY_BYTES | mutated())
    def holds(body: bytes) -> None:
        only_our_errors(READERS[name], body)

    holds()


@pytest.mark.parametrize("examples", depths(60, 1000))
@pytest.mark.parametrize("name", SAYERS)
def test_what_a_bad_answer_says_is_read_without_an_error(name: str, examples: int) -> None:
    @tried(examples)
    @given(body=ANY_BYTES | mutated())
    def holds(body: bytes) -> None:
        said = SAYERS[name](body)
        if isinstance(said, PenstockError):
            assert str(said).isprintable()
            assert len(str(said)) < 500

    holds()
