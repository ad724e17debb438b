"""Decoders fed with bytes, and what came of it."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

from penstock.errors import PenstockError
from penstock.providers.replicate.dialect.answers import PollReader, Resume, StreamDecoder
from penstock.providers.replicate.dialect.cog import CogDecoder
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.types import Event, Finished, Text
from tests.providers.replicate.upstream import CASES

HEX = "0a" * 32
STREAMS = sorted(
    path.stem
    for path in CASES.glob("*.json")
    if sum('"text/event-stream' in line for line in path.read_text().splitlines())
)


def decode(*parts: bytes, stops: tuple[str, ...] = ()) -> tuple[list[Event], StreamDecoder]:
    decoder = StreamDecoder(Transcript(stops), Resume())
    found = [event for part in parts for event in decoder.feed(part)]
    return found, decoder


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]


def failure(decoder: StreamDecoder | CogDecoder | PollReader) -> PenstockError:
    assert decoder.failure is not None
    return decoder.failure


def streams_of(name: str) -> tuple[dict[str, Any], list[bytes]]:
    case = json.loads((CASES / f"{name}.json").read_text())
    bodies = [
        b"".join(b64decode(chunk["b64"]) for chunk in exchange["response"]["chunks"])
        for exchange in case["exchanges"]
        if dict(exchange["response"]["headers"])["content-type"].startswith("text/event-stream")
    ]
    return case, bodies


def outcome(case: dict[str, Any], bodies: list[list[bytes]]) -> tuple[list[str], object, object]:
    transcript, resume = Transcript(), Resume()
    events: list[Event] = []
    failed: PenstockError | None = None
    for reads in bodies:
        decoder: StreamDecoder | CogDecoder = (
            CogDecoder(transcript)
            if case.get("dialect") == "cog"
            else StreamDecoder(transcript, resume)
        )
        for data in reads:
            events += decoder.feed(data)
        failed = decoder.failure
    ends = [event.finish_reason for event in events if isinstance(event, Finished)]
    return texts(events), ends, failed and (failed.kind, failed.detail)
