"""Open-Assistant, judged by recordings (wire/openassistant.md)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said
from tests.sandbox.conformance import (
    UUID,
    Case,
    Exchange,
    Rules,
    cases,
    differences,
    said,
    unknown,
)

SESSION = r"eyJ[\w-]{10,}(?:\.[\w-]*){2,4}"
SITE = Rules(
    main="openassistant",
    identifiers=rf"{UUID}|{SESSION}|\b[0-9a-f]{{64}}\b",
    headers=("content-type", "content-encoding", "vary", "connection"),
    tags=("event_type", "type", "state", "role"),
    floating=r"^: ping",
    host=False,
)
NATIVE = msgspec.structs.replace(SITE, headers=("content-type", "cache-control"))
CASES = cases("openassistant")
FAULTS = {"oa-plugin-intermediate": "plugin", "oa-safety-silent": "safety"}
# How often the recorded client looked before the message was complete is chance.
CHANCE = "oa-cancel-then-delete-later"
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "oa-chat-disabled-404": {"enabled": False},
    "oa-message-too-long-413": {"message_length": 2000},
    "oa-pending-queue": {"tick": 0.02},
    "oa-ping-comment": {"tick": 0.02},
    "oa-queue-full-503": {"queue_limit": 0},
}
# Questions whose answer is over before its stream is opened.
QUICK = frozenset({"What is the capital of Japan?", "Will fail"})
FAILURES = {
    "oa-error-event-mid-stream": "CUDA out of memory. Tried to allocate 20.00 MiB",
    "oa-worker-drop-mid-stream": "Aborted due to worker error.",
}
FIRST_PIECE_AFTER = {"oa-pending-queue": 0.1}
SECOND_PIECE_AFTER = {"oa-ping-comment": 0.4}


class Recorded:
    """Says what the recorded model said, when it said it, once somebody reads it."""

    def __init__(self, case: Case) -> None:
        self._case = case.case
        self._pieces = said(case)
        self._fails_first = case.case == "oa-parent-not-complete-400"
        self.sandbox: Sandbox | None = None

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        if prompt.question in QUICK and (self._fails_first or self._case == "oa-followup-turn"):
            if self._fails_first:
                self._fails_first = False
                raise ModelFailure("out of memory")
            return
        async with asyncio.timeout(5):
            while not self._read():
                await asyncio.sleep(0.001)
        await asyncio.sleep(FIRST_PIECE_AFTER.get(self._case, 0))
        for number, piece in enumerate(self._pieces):
            await asyncio.sleep(SECOND_PIECE_AFTER.get(self._case, 0) if number == 1 else 0)
            yield piece
        if self._case in FAILURES:
            raise ModelFailure(FAILURES[self._case])

    def _read(self) -> bool:
        return self.sandbox is not None and self.sandbox.servers["openassistant"].open_streams > 0


def tokens_of(case: Case) -> dict[str, str]:
    """The recorded sessions that were valid, whole where they were sent in parts."""
    found: dict[str, str] = {}
    for exchange in case.exchanges:
        headers = {name.lower(): value for name, value in exchange.request.headers}
        cookie = headers.get("cookie", "")
        parts = re.findall(r"next-auth\.session-token(?:\.\d+)?=([^;]+)", cookie)
        for token in ("".join(parts), headers.get("authorization", "").removeprefix("Bearer ")):
            if re.fullmatch(SESSION, token):
                found[token] = "recorded"
    return found


def with_typed_streams(exchange: Exchange) -> Exchange:
    """Say of the website's event streams that they are ones: their answers do not."""
    if not exchange.request.path.endswith("/api/chat/events"):
        return exchange
    response = msgspec.structs.replace(exchange.response, untyped_events=True)
    return msgspec.structs.replace(exchange, response=response)


def parts_of(case: Case) -> list[tuple[Case, dict[str, object]]]:
    """The case, cut where it was recorded on two sites; with the options of each."""
    options = {**OPTIONS.get(case.case, {}), "sessions": tokens_of(case), "patience": 0}
    exchanges = [with_typed_streams(one) for one in case.exchanges]
    if case.case != "oa-session-variants":
        return [(msgspec.structs.replace(case, exchanges=exchanges), options)]
    return [
        (msgspec.structs.replace(case, exchanges=exchanges[:3]), options),
        (msgspec.structs.replace(case, exchanges=exchanges[3:]), {**options, "secure": True}),
    ]


def rules_of(case: Case) -> Rules:
    rules = NATIVE if "-native-" in case.case else SITE
    if case.case == CHANCE:
        tags = tuple(one for one in rules.tags if one != "state")
        return msgspec.structs.replace(rules, loose=("content",), tags=tags)
    return rules


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
async def test_answers_like_the_recorded_server(case: Case) -> None:
    for part, options in parts_of(case):
        script = Recorded(part)
        async with Sandbox(
            ("openassistant",), script=script, options={"openassistant": options}
        ) as sandbox:
            script.sandbox = sandbox
            if case.case in FAULTS:
                sandbox.servers["openassistant"].faults.next(FAULTS[case.case])
            assert await differences(part, sandbox.urls, rules_of(case)) == []


def test_tables_name_only_cases_that_exist() -> None:
    tables: Sequence[Mapping[str, object]] = (FAULTS, OPTIONS, FAILURES)
    assert unknown([name for table in tables for name in table], CASES) == []
    assert unknown([CHANCE, *FIRST_PIECE_AFTER, *SECOND_PIECE_AFTER], CASES) == []
