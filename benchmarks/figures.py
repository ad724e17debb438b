"""A measurement beside its budget, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        budget: what was promised; None where there is only something to compare with.
        at_least: the budget is a floor, not a ceiling.
    """

    name: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the budget holds."""
        if self.budget is None:
            return True
        return self.value >= self.budget if self.at_least else self.value <= self.budget


def show(figures: Iterable[Figure]) -> bool:
    """Print a table; whether every budget was kept."""
    kept = True
    for figure in figures:
        budget = ""
        if figure.budget is not None:
            sign = ">=" if figure.at_least else "<="
            budget = f"{sign} {figure.budget:,g} {figure.unit}"
        verdict = "" if figure.kept else "   over budget"
        print(f"{figure.name:<44}{figure.value:>12,.1f} {figure.unit:<10}{budget:<22}{verdict}")
        kept = kept and figure.kept
    return kept
