"""Measure what has a budget: start-up time, and speed from bytes to values.

Each figure is the best of several runs, in CPU time, which a busy machine disturbs least. Prints a
table and ends with 1 where a budget is missed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.wire.ndjson import NDJSONDecoder
from penstock.wire.sse import SSEDecoder

ROUNDS = 7
EVENTS = 20_000
READ = 4096


class Figure(msgspec.Struct, frozen=True):
    """One measurement beside its budget.

    Attributes:
        at_least: the budget is a floor, not a ceiling.
    """

    name: str
    value: float
    budget: float
    unit: str
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the budget holds."""
        return self.value >= self.budget if self.at_least else self.value <= self.budget


def main() -> int:
    """Measure all, print, judge."""
    figures = [*start_up(), *decoders()]
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        verdict = "" if figure.kept else "   over budget"
        budget = f"{sign} {figure.budget:,.0f} {figure.unit}"
        print(f"{figure.name:<34}{figure.value:>12,.0f} {figure.unit:<9}{budget:<22}{verdict}")
    return int(not all(figure.kept for figure in figures))


def start_up() -> list[Figure]:
    """What a user waits for before anything happens."""
    bare = child_time("-c", "pass")
    imported = child_time("-c", "import penstock") - bare
    command = str(Path(sys.executable).with_name("penstock"))
    return [
        Figure("import penstock, over bare Python", imported * 1e3, 80, "ms"),
        Figure("penstock --version", child_time(command, "--version") * 1e3, 150, "ms"),
        Figure("penstock --help", child_time(command, "--help") * 1e3, 150, "ms"),
    ]


def child_time(*arguments: str) -> float:
    """The least CPU seconds that a Python with these arguments took."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, spent)
    return best


def decoders() -> list[Figure]:
    """Events per second of CPU, in reads of 4 KiB."""
    token = b'{"token":{"id":5,"text":" word","logprob":-0.5,"special":false},"details":null}'
    sse = b"data:" + token + b"\n\n"
    line = token + b"\n"
    return [
        rate("event stream (SSE)", SSEDecoder, sse),
        rate("lines of JSON (NDJSON)", NDJSONDecoder, line),
    ]


class Decoder(Protocol):
    """What takes the bytes of one read."""

    def feed(self, data: bytes) -> Sized:
        """The values that the bytes complete."""


def rate(name: str, make: Callable[[], Decoder], frame: bytes) -> Figure:
    """Events per CPU second."""
    body = frame * EVENTS
    reads = [body[start : start + READ] for start in range(0, len(body), READ)]
    best = float("inf")
    for _ in range(ROUNDS):
        decoder = make()
        started = time.process_time()
        seen = sum(len(decoder.feed(read)) for read in reads)
        best = min(best, time.process_time() - started)
        if seen != EVENTS:
            raise SystemExit(f"bench: {name}: {seen} of {EVENTS} events came")
    return Figure(name, EVENTS / best, 400_000, "events/s", at_least=True)


if __name__ == "__main__":
    sys.exit(main())
