"""Ways to cut bytes into reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise


def cuttings(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, cut once at every place (for short data), and at random places."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    places = range(len(data)) if len(data) <= 400 else range(0, len(data), len(data) // 200)
    for place in places:
        yield [data[:place], data[place:]]
    chance = random.Random(7)
    for _ in range(3):
        cuts = sorted(chance.sample(range(len(data) + 1), min(6, len(data) + 1)))
        ends = [0, *cuts, len(data)]
        yield [data[a:b] for a, b in pairwise(ends)]


def feed_in_steps(feed: Callable[[bytes], object], data: bytes, size: int) -> None:
    """Feed ``data`` in reads of ``size`` bytes."""
    for start in range(0, len(data), size):
        feed(data[start : start + size])
