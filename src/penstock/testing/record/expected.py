"""What our own decoders make of a recording: the ``expected`` of its case.

The case is replayed once as recorded, through the provider of its name, and the outcome is written
down. Then it is replayed like any other, three ways: a recording that our provider does not
understand is known at once, and says what differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.testing.replay.case import Case, Expected, ExpectedError
from penstock.testing.replay.plan import CaseProtocol, Chat, Step, plan
from penstock.testing.replay.protocols import protocol_of
from penstock.testing.replay.run import Outcome, run
from penstock.testing.replay.runner import CaseResult, replay_case
from penstock.testing.replay.server import Delivery

_ENDED = frozenset({"timeout", "truncated", "network", "cancelled", "protocol"})
"""Errors by which a client meets the place where the recorded one left."""


async def judged(case: Case) -> tuple[Case, CaseResult]:
    """``case`` with what is expected of it, and the verdict of the replay on that."""
    protocol = protocol_of(case)
    if protocol is not None:
        case = msgspec.structs.replace(case, expected=await _expected(case, protocol))
    return case, await replay_case(case)


async def _expected(case: Case, protocol: CaseProtocol) -> Expected:
    asked = [step for step in protocol.derive(case) if isinstance(step.call, Chat)]
    if not asked:
        return Expected()
    bare = msgspec.structs.replace(case, expected=_bare(case, asked))
    steps = plan(protocol, bare)
    outcomes = (await run(bare, protocol, steps, Delivery.RECORDED)).outcomes
    turns = [
        _of_outcome(case, step, outcome)
        for step, outcome in zip(steps, outcomes, strict=True)
        if isinstance(step.call, Chat)
    ]
    last = turns[-1]
    return last if len(turns) == 1 else msgspec.structs.replace(last, turns=tuple(turns))


def _bare(case: Case, asked: Sequence[Step]) -> Expected:
    """Nothing is known yet but which exchanges answer; a broken end makes the limits short."""
    turns = tuple(Expected(exchange=step.answer) for step in asked)
    responses = [exchange.response for exchange in case.exchanges]
    kind = "truncated" if any(response.closed == "reset" for response in responses) else ""
    if any(response.left_open for response in responses):
        kind = "timeout"
    return Expected(
        exchange=asked[-1].answer,
        turns=turns if len(turns) > 1 else (),
        error=ExpectedError(kind=kind) if kind else msgspec.UNSET,
    )


def _of_outcome(case: Case, step: Step, outcome: Outcome) -> Expected:
    window = case.exchanges[step.start : step.stop]
    left = any(exchange.response.client_left for exchange in window)
    error, finish = outcome.error, outcome.finish
    if left and error is not None and error.kind in _ENDED:
        error, finish = None, "cancelled"
    told = None
    if error is not None:
        told = ExpectedError(kind=error.kind, status=error.status, retry_after=error.retry_after)
    return Expected(
        text=outcome.text,
        pieces=outcome.pieces,
        finish=finish,
        error=told,
        next_parent=outcome.parent if _is_theirs(case, outcome.parent) else None,
        thinking=outcome.reasoning or None,
        exchange=step.answer,
        final_text=outcome.final_text,
        stream_mismatch="text_differs" in outcome.warnings,
    )


def _is_theirs(case: Case, parent: str | None) -> bool:
    """True for an id that the server gave; one of the client's own choice is another each time."""
    told = (exchange.response.content for exchange in case.exchanges)
    return parent is not None and any(parent.encode() in content for content in told)
