"""Cases to verdicts: each case three ways, many at a time, one line for each that differs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from penstock.testing.replay.case import Case, Exchange, find_cases, load_case
from penstock.testing.replay.compare import differences
from penstock.testing.replay.plan import is_judged, plan
from penstock.testing.replay.protocols import protocol_of
from penstock.testing.replay.run import Outcome, Run, run
from penstock.testing.replay.server import Delivery
from penstock.types import Value

AT_A_TIME = 8
"""Cases that run side by side; more would only share the same cores."""
DEADLINE = 150.0
"""Seconds for one run of one case."""

Verdict = Literal["passed", "failed", "skipped"]
Report = Callable[[str], None]


class CaseResult(Value, frozen=True, kw_only=True):
    """The verdict on one case.

    Attributes:
        reason: why it was skipped.
        differences: what differs, with the ways it differs in.
        text: the text that came out last, for a reader.
        pieces: how many pieces it came in.
        finish: how it ended.
        error: kind of its error.
    """

    case: str
    provider: str
    verdict: Verdict
    reason: str = ""
    differences: tuple[str, ...] = ()
    text: str = ""
    pieces: int = 0
    finish: str | None = None
    error: str | None = None

    def lines(self) -> list[str]:
        """What a reader of the report sees; nothing for a case that passed."""
        if self.verdict == "skipped":
            return [f"{self.case}: skipped: {self.reason}"]
        return [f"{self.case}: {difference}" for difference in self.differences]


class Summary(Value, frozen=True):
    """The verdicts on all cases."""

    results: tuple[CaseResult, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many have this verdict."""
        return sum(1 for result in self.results if result.verdict == verdict)

    @property
    def passed(self) -> int:
        """Cases that agree in every way."""
        return self.count("passed")

    @property
    def failed(self) -> int:
        """Cases that differ."""
        return self.count("failed")

    @property
    def skipped(self) -> int:
        """Cases that hold nothing, or not everything, that this client can be asked for."""
        return self.count("skipped")

    @property
    def line(self) -> str:
        """The last line of a report."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def exit_status(self) -> int:
        """0 if nothing failed."""
        return 1 if self.failed else 0


def replay(paths: Sequence[str | PathLike[str]], *, report: Report | None = None) -> Summary:
    """Replay every case at and below ``paths``, each three ways, and say what differs.

    Must not be called from a running event loop; use ``replay_cases`` there.

    Args:
        report: takes one line for each difference and each skipped case, and the last line.

    Raises:
        CaseError: a path is not there or a file is no case; nothing was run.
    """
    cases = [load_case(path) for path in find_cases([Path(path) for path in paths])]
    return asyncio.run(replay_cases(cases, report=report))


async def replay_cases(cases: Sequence[Case], *, report: Report | None = None) -> Summary:
    """Replay ``cases``; the lines of the report come in their order."""
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(case: Case) -> CaseResult:
        async with gate:
            return await replay_case(case)

    waiting = [one(case) for case in cases]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    verdicts = tuple(_verdict(case, result) for case, result in zip(cases, results, strict=True))
    summary = Summary(verdicts)
    if report is not None:
        for result in verdicts:
            for line in result.lines():
                report(line)
        report(summary.line)
    return summary


async def replay_case(case: Case) -> CaseResult:
    """Replay one case three ways."""
    protocol = protocol_of(case)
    if protocol is None:
        return _skipped(case, f"there is no protocol named {case.provider}")
    case = protocol.placed(case)
    steps = plan(protocol, case)
    if not steps:
        return _skipped(case, f"it asks no model anything: {_requests(case)}")
    async with asyncio.TaskGroup() as group:
        runs = [
            (delivery, group.create_task(_in_time(run(case, protocol, steps, delivery))))
            for delivery in Delivery
        ]
    found: dict[str, list[str]] = {}
    outcome = Outcome()
    for delivery, task in runs:
        result = task.result()
        if result is None:
            found.setdefault(f"did not end within {DEADLINE:g} s", []).append(delivery.value)
            continue
        outcome = result.outcomes[-1]
        for difference in differences(case, protocol, steps, result):
            found.setdefault(difference, []).append(delivery.value)
    if found:
        return _result(case, "failed", outcome, differences=_named(found))
    if outcome.refused and outcome.error is not None:
        return _skipped(case, f"our checks refuse to send it: {outcome.error.text}")
    if not is_judged(case, steps):
        last = f"exchange {len(case.exchanges)}, {_request(case.exchanges[-1])}"
        return _skipped(case, f"{last}, asks no model anything; the rest agrees")
    return _result(case, "passed", outcome)


async def _in_time(running: Awaitable[Run]) -> Run | None:
    """The run; None where it does not end."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await running
    except TimeoutError:
        return None


def _result(
    case: Case, verdict: Verdict, outcome: Outcome, differences: tuple[str, ...] = ()
) -> CaseResult:
    return CaseResult(
        case=case.case,
        provider=case.provider,
        verdict=verdict,
        differences=differences,
        text=outcome.text,
        pieces=len(outcome.pieces),
        finish=outcome.finish,
        error=outcome.error.kind if outcome.error else None,
    )


def _skipped(case: Case, reason: str) -> CaseResult:
    return CaseResult(case=case.case, provider=case.provider, verdict="skipped", reason=reason)


def _named(found: dict[str, list[str]]) -> tuple[str, ...]:
    """Each difference once; with its ways where not all show it."""
    return tuple(
        text if len(ways) == len(Delivery) else f"{text} ({', '.join(ways)})"
        for text, ways in found.items()
    )


def _requests(case: Case) -> str:
    return ", ".join(dict.fromkeys(_request(exchange) for exchange in case.exchanges))


def _request(exchange: Exchange) -> str:
    return f"{exchange.request.method} {exchange.request.path}"


def _verdict(case: Case, result: CaseResult | BaseException) -> CaseResult:
    if isinstance(result, CaseResult):
        return result
    if not isinstance(result, Exception):
        raise result
    # Not one of our errors: a fault of the provider or of this kit, on this case alone.
    while isinstance(result, ExceptionGroup):
        result = result.exceptions[0]
    where = f"{type(result).__name__}: {result}"
    return _result(case, "failed", Outcome(), differences=(f"raised {where}",))
