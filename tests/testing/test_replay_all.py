"""Every recorded exchange with a real server, through our providers, three ways each."""

from __future__ import annotations

import pytest

from penstock.testing import CaseResult, Summary, replay
from tests.testing.recorded import CASSETTES

LINES: list[str] = []


@pytest.fixture(scope="module")
def summary() -> Summary:
    return replay([CASSETTES], report=LINES.append)


@pytest.mark.timeout(180)
def test_all_recorded_cases_agree(summary: Summary) -> None:
    failed = [
        line for result in summary.results if result.verdict == "failed" for line in result.lines()
    ]
    assert failed == []
    assert summary.exit_status == 0


def test_every_case_is_there(summary: Summary) -> None:
    counts: dict[str, int] = {}
    for result in summary.results:
        counts[result.provider] = counts.get(result.provider, 0) + 1
    assert counts == {
        "allenai": 68,
        "chatui": 20,
        "h2o": 31,
        "openassistant": 30,
        "replicate": 28,
    }


def test_few_cases_are_skipped_and_for_a_reason(summary: Summary) -> None:
    skipped = [result for result in summary.results if result.verdict == "skipped"]
    assert len(skipped) <= 30
    assert all(_says_why(result) for result in skipped)


def test_the_last_line_counts(summary: Summary) -> None:
    assert LINES[-1] == summary.line
    assert summary.line == f"{summary.passed} passed, 0 failed, {summary.skipped} skipped"


def _says_why(result: CaseResult) -> bool:
    return "asks no model anything" in result.reason or result.reason.startswith("our checks")
