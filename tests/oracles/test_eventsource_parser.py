"""Our event-stream decoder against npm's ``eventsource-parser``, which we did not write.

Both get the same reads of the same streams: the vectors of the WHATWG rules, and streams put
together by chance. Node runs once over all of them. ``npm ci`` in this directory installs the
parser by its lock; ``.ci/run`` does so. Where that is not possible, the tests are skipped.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from penstock.wire.sse import SSEDecoder
from tests.wire.test_sse import VECTORS

HERE = Path(__file__).resolve().parent
SPLITS = 12
STREAMS = 1500

# Both decoders end a line at a CR; theirs waits for the next character to see whether it is a CRLF.
# A comment at the end brings that character.
END = b":\n"

FRAGMENTS = [b"data", b"event:", b"event: ", b"id:", b"id: ", b"id", b"retry:", b"\r", b"\r\r"]
FRAGMENTS += [b":", b" ", b"  ", b"x", b"ping", b"7", b"\0", b"\t", b"\xef\xbb\xbf", b"foo:bar"]
FRAGMENTS += [b"Data:", b"{}", "é".encode(), "\u2028".encode(), "\u0085".encode(), "👨".encode()]
FRAGMENTS += [b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"data:", b"data: word\n", b"\ndata:"] * 4

Events = list[tuple[str, str, str]]


def split(data: bytes, chance: random.Random) -> list[bytes]:
    """The bytes in up to nine reads; sometimes one by one."""
    if chance.random() < 0.1:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(chance.choices(range(len(data) + 1), k=chance.randint(0, 8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def streams() -> list[list[bytes]]:
    """All streams, cut into reads; the same in every run."""
    chance = random.Random(20)
    cut = [split(data + END, chance) for data, _ in VECTORS.values() for _ in range(SPLITS)]
    for _ in range(STREAMS):
        made = b"".join(chance.choices(FRAGMENTS, k=chance.randint(1, 30)))
        cut.append(split(made + b"\n\n" + END, chance))
    return cut


def ours(reads: list[bytes]) -> Events:
    """What we make of it; only an event's own id counts, for theirs does not keep the last one."""
    decoder = SSEDecoder()
    events = [event for read in reads for event in decoder.feed(read)]
    return [
        (event.event, event.data.decode("utf-8", "replace"), event.id if event.own_id else "")
        for event in events
    ]


@pytest.fixture(scope="module")
def judged() -> list[tuple[list[bytes], Events]]:
    """Every stream with what the other parser makes of it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("the oracle needs node, which is not installed")
    if not (HERE / "node_modules" / "eventsource-parser").is_dir():
        pytest.skip("the oracle is not installed: npm ci --prefix tests/oracles")
    cut = streams()
    asked = json.dumps([[base64.b64encode(read).decode() for read in reads] for reads in cut])
    done = subprocess.run(
        [node, "parse.mjs"], cwd=HERE, input=asked, capture_output=True, text=True, check=True
    )
    found = [
        [(event, data, ident) for event, data, ident in one] for one in json.loads(done.stdout)
    ]
    return list(zip(cut, found, strict=True))


def test_both_parsers_agree(judged: list[tuple[list[bytes], Events]]) -> None:
    differing = [(reads, ours(reads), theirs) for reads, theirs in judged if ours(reads) != theirs]
    assert differing == []


def test_the_streams_are_worth_comparing(judged: list[tuple[list[bytes], Events]]) -> None:
    """Were most of them empty, agreeing would mean nothing."""
    assert len(judged) > STREAMS
    assert sum(len(events) for _, events in judged) > STREAMS
