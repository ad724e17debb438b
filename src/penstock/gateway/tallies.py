"""Counts by labels, for one event loop: an addition costs a look-up and no lock.

``prometheus_client`` keeps its own counts behind a lock for each, and costs three times as much;
here it only writes them down (``gateway.metrics``). Who counts often under the same labels keeps
what it adds to, and saves the look-up as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import msgspec
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
Sample = tuple[str, dict[str, str], float]


class Family(msgspec.Struct, frozen=True):
    """A metric with its samples; travels between processes.

    Attributes:
        samples: name, labels and value of each.
    """

    name: str
    kind: str
    told: str
    samples: list[Sample]


class Tally:
    """Sums that only grow.

    Args:
        name: without ``_total``.
        told: one sentence.
        labels: the names of the labels.
    """

    def __init__(self, name: str, told: str, labels: Labels) -> None:
        self._name, self._told, self._labels = name, told, labels
        self._cells: dict[Labels, list[float]] = {}

    def cell(self, values: Labels) -> list[float]:
        """The one number of these label values, to add to; it is told once it is not 0."""
        return self._cells.setdefault(values, [0.0])

    def add(self, values: Labels, amount: float = 1.0) -> None:
        """Add ``amount`` to the sum of these label values."""
        self.cell(values)[0] += amount

    def family(self) -> Family:
        """The sums as they are now."""
        name = f"{self._name}_total"
        samples: list[Sample] = [
            (name, dict(zip(self._labels, values, strict=True)), total)
            for values, (total,) in self._cells.items()
            if total
        ]
        return Family(self._name, "counter", self._told, samples)


class Spread:
    """How values are spread: a histogram.

    Args:
        name: unit included.
        told: one sentence.
        bounds: upper ends of its steps, ascending; a value at the end of a step is in it.
        labels: the names of the labels.
    """

    def __init__(self, name: str, told: str, bounds: Sequence[float], labels: Labels) -> None:
        self._name, self._told, self._labels = name, told, labels
        self._bounds = tuple(bounds)
        self._steps = [*map(floatToGoString, self._bounds), "+Inf"]
        self._step_of = partial(bisect_left, self._bounds)
        self._fresh: dict[Labels, list[float]] = {}
        self._cells: dict[Labels, list[float]] = {}

    def fresh(self, values: Labels) -> list[float]:
        """Where to append what is to be counted under these label values."""
        return self._fresh.setdefault(values, [])

    def add(self, values: Labels, value: float) -> None:
        """Count ``value`` under these label values."""
        self.fresh(values).append(value)

    def settle(self) -> None:
        """Count what is fresh: many at a time cost less than each would alone."""
        for values, waiting in self._fresh.items():
            if not waiting:
                continue
            fresh = waiting.copy()
            waiting.clear()  # first, so that nothing is ever counted twice
            cell = self._cells.get(values)
            if cell is None:
                # A count for each step and one beyond, then the sum.
                cell = self._cells[values] = [0.0] * (len(self._bounds) + 2)
            for step, count in Counter(map(self._step_of, fresh)).items():
                cell[step] += count
            cell[-1] += sum(fresh)

    def family(self) -> Family:
        """The counts as they are now."""
        self.settle()
        samples: list[Sample] = []
        for values, (*counts, total) in self._cells.items():
            labels = dict(zip(self._labels, values, strict=True))
            below = list(accumulate(counts))
            samples += [
                (f"{self._name}_bucket", {**labels, "le": step}, count)
                for step, count in zip(self._steps, below, strict=True)
            ]
            samples.append((f"{self._name}_count", labels, below[-1]))
            samples.append((f"{self._name}_sum", labels, total))
        return Family(self._name, "histogram", self._told, samples)
