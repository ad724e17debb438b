"""Feed a decoder the same bytes in every way they can be cut, and demand one outcome.

A network cuts bytes wherever it likes. What a decoder makes of them must not depend on that:
``feed_all_ways`` gives them whole, one by one, cut once at every place, and cut many times at
random places, and fails with the first way whose outcome differs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from penstock.errors import PenstockError
from penstock.types import Value

E_co = TypeVar("E_co", covariant=True)
E = TypeVar("E")

MOST_SINGLE_CUTS = 4096
"""Longer data is cut once at so many places, spread evenly, and next to every line end."""


class Decoder(Protocol[E_co]):
    """What can be fed: every provider's decoder, and the codecs of ``penstock.wire``.

    A decoder may have an attribute ``failure``: an error that followed the events of its read.
    """

    def feed(self, data: bytes, /) -> Sequence[E_co]:
        """The events that ``data`` completes."""

    def eof(self) -> Sequence[E_co] | object:
        """The events that the end of the body completes, or what was left unfinished."""


class Fed(Value, Generic[E], frozen=True):
    """What a decoder made of some bytes.

    Attributes:
        events: all events, in order.
        rest: what was left unfinished, where the decoder says that instead of last events.
        failure: kind and message of the error that ended it.
    """

    events: tuple[E, ...]
    rest: object = None
    failure: tuple[str, str] | None = None


def feed_all_ways(
    make_decoder: Callable[[], Decoder[E]],
    data: bytes,
    *,
    cuts: Iterable[int] | None = None,
    random_cuttings: int = 25,
    seed: int = 0,
) -> Fed[E]:
    """Feed ``data`` to fresh decoders in every way.

    Args:
        make_decoder: makes a fresh decoder.
        cuts: places for single cuts; by default every one.
        random_cuttings: how many ways with many cuts at random places.
        seed: decides those places.

    Returns:
        The one outcome.

    Raises:
        AssertionError: one way's outcome differs; it names the way.
    """
    whole = feed_once(make_decoder(), [data])
    for way, parts in _ways(data, cuts, random_cuttings, seed):
        fed = feed_once(make_decoder(), parts)
        if fed != whole:
            raise AssertionError(f"{way}: {_difference(whole, fed)}")
    return whole


def feed_once(decoder: Decoder[E], parts: Iterable[bytes]) -> Fed[E]:
    """Feed one decoder these parts, then the end of the body."""
    events: list[E] = []
    rest: object = None
    try:
        for part in parts:
            events.extend(decoder.feed(part))
            if (failure := _failure(decoder)) is not None:
                return Fed(tuple(events), failure=failure)
        last = decoder.eof()
        if isinstance(last, list):
            events.extend(last)
        else:
            rest = last
    except PenstockError as error:
        return Fed(tuple(events), failure=(error.kind, error.message))
    return Fed(tuple(events), rest, _failure(decoder))


def _failure(decoder: object) -> tuple[str, str] | None:
    failure = getattr(decoder, "failure", None)
    if not isinstance(failure, PenstockError):
        return None
    return (failure.kind, failure.message)


def _ways(
    data: bytes, cuts: Iterable[int] | None, random_cuttings: int, seed: int
) -> Iterator[tuple[str, list[bytes]]]:
    yield "byte by byte", [data[at : at + 1] for at in range(len(data))]
    yield "with empty reads between", [b"", data[: len(data) // 2], b"", data[len(data) // 2 :]]
    for at in _single_cuts(data) if cuts is None else cuts:
        yield f"cut at {at}", [data[:at], data[at:]]
    chance = random.Random(seed)  # noqa: S311 - the same places in every run are wanted
    for number in range(random_cuttings):
        places = sorted(
            chance.sample(range(len(data) + 1), k=chance.randint(0, min(40, len(data))))
        )
        borders = [0, *places, len(data)]
        parts = [data[a:b] for a, b in itertools.pairwise(borders)]
        yield f"random cutting {number} at {places}", parts


def _single_cuts(data: bytes) -> Iterable[int]:
    if len(data) <= MOST_SINGLE_CUTS:
        return range(1, len(data))
    spread = range(1, len(data), len(data) // MOST_SINGLE_CUTS + 1)
    ends = (at for at, byte in enumerate(data) if byte in b"\r\n")
    borders = {place for at in ends for place in (at, at + 1) if 0 < place < len(data)}
    return sorted({*spread, *sorted(borders)[:MOST_SINGLE_CUTS]})


def _difference(whole: Fed[E], fed: Fed[E]) -> str:
    if whole.failure != fed.failure:
        return f"failure is {fed.failure}, whole it is {whole.failure}"
    if whole.events == fed.events:
        return f"the rest is {fed.rest!r:.200}, whole it is {whole.rest!r:.200}"
    pairs = enumerate(zip(whole.events, fed.events, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(whole.events), len(fed.events)))
    return (
        f"event {at} is {fed.events[at : at + 1]!r:.200}, "
        f"whole it is {whole.events[at : at + 1]!r:.200}"
    )
