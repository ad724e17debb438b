"""Replay of recorded exchanges with real servers: see ``docs/guides/replay.md``."""

from __future__ import annotations

from penstock.testing.replay.case import Case, CaseError, load_case, packaged_cases
from penstock.testing.replay.runner import (
    CaseResult,
    Summary,
    replay,
    replay_case,
    replay_cases,
)

__all__ = [
    "Case",
    "CaseError",
    "CaseResult",
    "Summary",
    "load_case",
    "packaged_cases",
    "replay",
    "replay_case",
    "replay_cases",
]
