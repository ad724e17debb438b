"""How many examples a property is tried with.

The few of ``make test`` and the many of ``make test-all`` are the same ones in every run, so that
a change of the code alone can make a test fail. ``PENSTOCK_EXPLORE=1`` tries others each time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

_FIXED = not os.environ.get("PENSTOCK_EXPLORE")


def depths(few: int, many: int) -> list[int | ParameterSet]:
    """Values of a parameter ``examples``: the many only where time does not matter."""
    return [few, pytest.param(many, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]


def tried(examples: int) -> settings:
    """The settings of a property that is tried with so many examples."""
    return settings(
        max_examples=examples,
        derandomize=_FIXED,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
