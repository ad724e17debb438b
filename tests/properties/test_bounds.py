"""Decoders stay linear in time and bounded in memory, whatever a server sends.

Time is compared with time of the same process, and generously: eight times the bytes may take
thirty times as long; a decoder that rescans takes sixty-four times (faults.md rows 7 and 8).
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping

import pytest

from penstock.errors import ProtocolError, one_sentence
from penstock.wire.decoder import AnswerDecoder
from penstock.wire.status import words_of
from tests.properties.dialects import DECODERS, DIALECTS, SAYERS

GROWTH = 8
MOST = 30.0
ROUNDS = 2
READ = 1024

Reads = Callable[[int], list[bytes]]


def in_reads(data: bytes, size: int = READ) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


SHAPES: Mapping[str, Reads] = {
    "one long line": lambda n: in_reads(b"data: " + b"x" * n),
    "one long text": lambda n: in_reads(b'data: {"' + b"x" * n + b'":0'),
    "empty lines": lambda n: in_reads(b"\n" * n),
    "carriage returns": lambda n: in_reads(b"\r" * n),
    "comments": lambda n: in_reads(b": x\n" * (n // 4)),
    "empty data": lambda n: in_reads(b"data\n" * (n // 5)),
    "ids": lambda n: in_reads(b"id: 1\n\n" * (n // 7)),
    "single bytes": lambda n: in_reads(b"x" * (n // 8), 1),
}


def spent(work: Callable[[], object]) -> float:
    """The least CPU time of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def feed(make: Callable[[], AnswerDecoder], reads: Iterable[bytes]) -> AnswerDecoder:
    decoder = make()
    for data in reads:
        decoder.feed(data)
        if decoder.failure is not None:
            break
    decoder.eof()
    return decoder


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times longer eight times as much takes; of two tries the better one."""
    few = max(spent(lambda: work(size)), 1e-3)
    return min(spent(lambda: work(size * GROWTH)) / few for _ in range(2))


EACH = [
    pytest.param(
        name, shape, marks=[] if shape == "one long line" or name == "cog" else pytest.mark.slow
    )
    for name in DECODERS
    for shape in SHAPES
]


@pytest.mark.parametrize(("name", "shape"), EACH)
def test_time_is_linear(name: str, shape: str) -> None:
    def work(size: int) -> None:
        feed(DECODERS[name], SHAPES[shape](size))

    assert growth(work, 60_000) < MOST


@pytest.mark.parametrize("name", DIALECTS)
def test_time_is_linear_in_the_number_of_pieces(name: str) -> None:
    dialect = DIALECTS[name]
    frame = dialect.framed(dialect.token % (b'"x"', b"0"))

    def work(frames: int) -> None:
        feed(dialect.make, [*in_reads(frame * frames), dialect.end])

    assert growth(work, 1000) < MOST


MARKUP = [
    "<",
    "<a ",
    "<script>",
    "<style",
    "<title>",
    "</title",
    "</script ",
    "eyJ",
    "://a:",
    "sk-",
]
MARKUP += ["sk-", "bearer ", " ", "{", "[", '"', "\\", "\n", "&", "a@", "a.b"]


@pytest.mark.parametrize("unit", MARKUP)
def test_words_of_an_error_are_found_in_linear_time(unit: str) -> None:
    """The body of an error is read up to a limit; what is done with it must not block the loop."""
    text = unit * (1_000_000 // len(unit))
    body = text.encode()
    took = spent(lambda: (one_sentence(text), words_of(body), words_of(b'{"detail":"%s"}' % body)))
    assert took < 1.0  # it takes 0.1 s here; in quadratic time it would be minutes


@pytest.mark.parametrize("name", SAYERS)
def test_a_bad_answer_is_read_in_linear_time(name: str) -> None:
    body = b'{"error":"%s"}' % (b"<script>" * 100_000)
    assert spent(lambda: SAYERS[name](body)) < 1.0


# The final object of a Playground thread may be 4 MiB, any event 1 MiB; an empty data line is five
# bytes on the wire and counts as the line feed that it is.
LARGEST = 6 << 20
WHOLE = 17 << 20  # an answer that is one JSON text


@pytest.mark.parametrize("unit", [b"x", b"data: x\n", b'{"a":', b" ", b"data\r"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_stream_without_end_is_refused(name: str, unit: bytes) -> None:
    """faults.md row 7: what a decoder keeps is at most what was fed until it refuses more."""
    read = unit * (65536 // len(unit))
    decoder = DECODERS[name]()
    fed = 0
    while decoder.failure is None:
        decoder.feed(read)
        fed += len(read)
        assert fed <= (WHOLE if name == "h2o whole" else LARGEST)


@pytest.mark.parametrize("unit", [b"\n", b": x\n\n", b"id: 1\n\n", b"event: ping\ndata: x\n\n"])
def test_what_brings_no_event_is_not_kept(unit: bytes) -> None:
    for name in ("openassistant", "replicate", "cog"):
        decoder = DECODERS[name]()
        read = unit * (8192 // len(unit))
        decoder.feed(read)
        tracemalloc.start()
        try:
            for _ in range(60):
                decoder.feed(read)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert decoder.failure is None
        assert kept < 16384


@pytest.mark.parametrize("name", DIALECTS)
def test_an_event_of_eight_megabytes_is_refused_or_taken_whole(name: str) -> None:
    """faults.md rows 5 and 6."""
    dialect = DIALECTS[name]
    for size, taken in ((600 << 10, True), (8 << 20, False)):
        decoder = dialect.make()
        text = b"x" * size
        events = [
            event
            for data in in_reads(dialect.framed(dialect.token % (b'"%s"' % text, b"0")), 65536)
            for event in decoder.feed(data)
        ]
        if taken:
            assert decoder.failure is None
            assert events
        else:
            assert isinstance(decoder.failure, ProtocolError)
            assert not events
