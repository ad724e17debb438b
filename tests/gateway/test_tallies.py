"""Counts by labels, compared with those of Prometheus' own library."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from penstock.gateway.tallies import Sample, Spread, Tally

BOUNDS = (0.01, 0.5, 1.0, 2.5, 1_000_000.0)
LABELS = st.sampled_from([("a",), ("b",)])


def others(metric: Counter | Histogram, registry: CollectorRegistry) -> set[tuple[object, ...]]:
    (family,) = registry.collect()
    samples = [(one.name, dict(one.labels), one.value) for one in family.samples]
    return comparable([one for one in samples if not one[0].endswith("_created")])


def comparable(samples: list[Sample]) -> set[tuple[object, ...]]:
    made = {(name, *sorted(labels.items()), round(value, 6)) for name, labels, value in samples}
    assert len(made) == len(samples)
    return made


@given(st.lists(st.tuples(LABELS, st.sampled_from([*BOUNDS, 0.0, 0.3, 2e6]) | st.floats(0, 3e6))))
def test_a_spread_is_a_histogram(values: list[tuple[tuple[str], float]]) -> None:
    registry = CollectorRegistry()
    theirs = Histogram("x_seconds", "x", ["l"], buckets=BOUNDS, registry=registry)
    ours = Spread("x_seconds", "x", BOUNDS, ("l",))
    for labels, value in values:
        theirs.labels(*labels).observe(value)
        ours.add(labels, value)
    assert comparable(ours.family().samples) == others(theirs, registry)
    assert ours.family().kind == "histogram"


@given(st.lists(st.tuples(LABELS, st.integers(1, 1000))))
def test_a_tally_is_a_counter(values: list[tuple[tuple[str], int]]) -> None:
    registry = CollectorRegistry()
    theirs = Counter("x", "x", ["l"], registry=registry)
    ours = Tally("x", "x", ("l",))
    for labels, value in values:
        theirs.labels(*labels).inc(value)
        ours.add(labels, value)
    assert comparable(ours.family().samples) == others(theirs, registry)
    assert ours.family().kind == "counter"


def test_what_is_beyond_the_last_step_is_counted_too() -> None:
    spread = Spread("x", "x", (1.0,), ())
    spread.add((), 5.0)
    counts = {labels.get("le"): value for name, labels, value in spread.family().samples}
    assert (counts["1.0"], counts["+Inf"]) == (0.0, 1.0)
    assert not math.isnan(counts["+Inf"])
