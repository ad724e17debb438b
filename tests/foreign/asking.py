"""What the programs have in common that ask a gateway; they run in their client's environment.

Standard library only: there is nothing else beside the client.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from tests.foreign.telling import tell

MODEL = "openai_compatible/sandbox-model"
CHATUI = "chatui/Qwen/Qwen3-8B"
H2O = "h2o/falcon-40b"
QUESTION = "naïve café, 日本語 🦜\n two  spaces"
HOLD = "HOLD the line"
"""The model answers and then goes on without an end."""
BREAKS = "FAIL in the middle"
"""The model answers and then fails."""
THINK = "THINK first"
"""The model thinks aloud, then answers."""
WEATHER = "What is the weather in Oslo?"
ARGUMENTS = '{"city": "Oslo"}'

FAULTS = {
    "wrong": "error=invalid_value",
    "long": "error=context_length_exceeded",
    "locked": "error=invalid_api_key",
    "gone": "error=model_not_found",
    "big": "error=request_too_large",
    "odd": "error=unprocessable",
    "limited": "retry-after=7",
    "broken": "error=server_error",
    "full": "error=overloaded",
    "cut": "end-after=2",
    "torn": "reset-after=2",
    "erring": "error-after=2",
    "slow": "model-delay=1.2",
    "silent": "silence",
}
"""Upstreams with a fault each, by the names of their providers."""
LATE = frozenset({"cut", "torn", "erring", "slow"})
"""Those that answer with a status of success first, or late."""
BUSY = "busy/sandbox-model"
"""Refused once, then answered."""

LEFT_WITHIN = 5.0  # seconds; it takes milliseconds, and without a cancel it would take for ever


class Place(NamedTuple):
    """Addresses.

    Attributes:
        url: of a gateway that wants no key.
        keyed: of one that wants ``key`` and estimates tokens that nobody counts.
        states: back end -> where it tells what is going on there.
    """

    url: str
    keyed: str
    key: str
    states: dict[str, str]


def run(*tasks: Callable[[Place], object]) -> None:
    """Run all tasks and print what they found."""
    tell(Place(**json.loads(sys.argv[1])), tasks)


def under_way(place: Place, backend: str) -> int:
    """Answers that a back end is writing at this moment."""
    with urllib.request.urlopen(place.states[backend]) as answer:
        return int(json.load(answer)["runs"]["running"])


def begun(place: Place, backend: str) -> bool:
    """Wait until a back end writes an answer."""
    return _until(lambda: under_way(place, backend) > 0)


def ended(place: Place, backend: str) -> bool:
    """Wait until a back end writes none any more."""
    return _until(lambda: under_way(place, backend) == 0)


def _until(true: Callable[[], bool]) -> bool:
    last = time.monotonic() + LEFT_WITHIN
    while not true():
        if time.monotonic() > last:
            return False
        time.sleep(0.01)
    return True
