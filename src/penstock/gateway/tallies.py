"""Counts by labels, for one event loop: an addition costs a look-up and no lock.

``prometheus_client`` keeps its own counts behind a lock for each, and costs three times as much;
here it only writes them down (``gateway.metrics``). Who counts often under the same labels keeps
their cell, and saves the look-up as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
Sample = tuple[str, dict[str, str], float]
Cell = list[float]
"""What is counted under one set of label values; it is told from the first count on."""


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
        self._cells: dict[Labels, Cell] = {}

    def cell(self, values: Labels) -> Cell:
        """The one number of these label values, to add to."""
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
        self._cells: dict[Labels, Cell] = {}

    def cell(self, values: Labels) -> Cell:
        """A count for each step and one beyond, then the sum of all values; to add to."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = [0.0] * (len(self._bounds) + 2)
        return cell

    def add(self, values: Labels, value: float) -> None:
        """Count ``value`` under these label values."""
        cell = self.cell(values)
        cell[bisect_left(self._bounds, value)] += 1.0
        cell[-1] += value

    def family(self) -> Family:
        """The counts as they are now."""
        samples: list[Sample] = []
        for values, (*counts, total) in self._cells.items():
            labels = dict(zip(self._labels, values, strict=True))
            below = list(accumulate(counts))
            if not below[-1]:
                continue
            samples += [
                (f"{self._name}_bucket", {**labels, "le": step}, count)
                for step, count in zip(self._steps, below, strict=True)
            ]
            samples.append((f"{self._name}_count", labels, below[-1]))
            samples.append((f"{self._name}_sum", labels, total))
        return Family(self._name, "histogram", self._told, samples)
