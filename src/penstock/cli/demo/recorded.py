"""Exchanges that were recorded from the real servers, replayed through the same providers."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.demo.board import Board
from penstock.cli.demo.systems import System
from penstock.testing.replay import packaged_cases, replay_case


async def replay_recorded(systems: Sequence[System], board: Board) -> list[str]:
    """Replay the recorded cases of these systems' protocols; returns what differs, in words.

    Each case runs over a loopback socket three ways: as recorded, byte by byte, all at once.
    """
    wanted = {system.provider for system in systems}
    cases = [case for case in packaged_cases() if (case.dialect or case.provider) in wanted]
    if not cases:
        return []
    board.heading("Recorded from the real servers", "replayed")
    problems: list[str] = []
    for case in cases:
        result = await replay_case(case)
        board.recorded(result)
        if result.verdict != "passed":
            reason = "; ".join(result.differences) or result.reason
            problems.append(f"recorded case {result.case}: {reason}")
    return problems
