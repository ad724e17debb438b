"""The public test kit: scripted answers, bytes fed all ways, recorded exchanges replayed.

``python -m penstock.testing replay PATH...`` runs recorded cases; ``docs/guides/testing.md`` and
``docs/guides/replay.md`` show all of it.
"""

from __future__ import annotations

from penstock.testing.feed import Decoder, Fed, feed_all_ways, feed_once
from penstock.testing.replay import (
    Case,
    CaseError,
    CaseResult,
    Summary,
    load_case,
    packaged_cases,
    replay,
    replay_case,
    replay_cases,
)
from penstock.testing.scripted import Asked, Hold, Pause, ScriptedProvider

__all__ = [
    "Asked",
    "Case",
    "CaseError",
    "CaseResult",
    "Decoder",
    "Fed",
    "Hold",
    "Pause",
    "ScriptedProvider",
    "Summary",
    "feed_all_ways",
    "feed_once",
    "load_case",
    "packaged_cases",
    "replay",
    "replay_case",
    "replay_cases",
]
