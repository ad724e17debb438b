"""Replicate's hosted API and Cog, judged by the recorded exchanges."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.replicate import ReplicateServer
from penstock.sandbox.script import Fixed, ModelFailure, Prompt, Said, Script
from tests.sandbox.conformance import Case, Rules, cases, differences, said, unknown

MODEL = "meta/meta-llama-3-70b-instruct"
HOSTED = Rules(
    main="replicate",
    origins={"stream.replicate.com": "replicate.stream"},
    identifiers=r"\b[0-9a-z]{22}c0[0-9a-z]{2}\b|\b[a-z2-7]{52}\b|\b\d{10}:\d+",
    host=False,
    headers=("content-type", "ratelimit-reset", "preference-applied", "allow", "retry-after"),
    tags=("status", "source", "data_removed", "reason"),
    # The recorded field set is that of 2023; models of text have token counts since (section 4).
    loose=("metrics",),
)
COG = Rules(
    main="cog",
    identifiers=r"pred_[0-9a-f]{16}",
    host=False,
    headers=("content-type", "cache-control"),
    tags=("status",),
)
CASES = cases("replicate")
FAULTS = {
    "replicate-create-missing-id": "prediction=no-id",
    "replicate-error-502-html": "refusal=page-502",
    "replicate-stream-comments-heartbeats": "stream=comments",
    "replicate-stream-id-retry-fields": "stream=retry",
}
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "replicate-cog-422-input": {"max_tokens": 64},
    "replicate-error-401-invalid-token": {"tokens": ()},
    "replicate-error-402-credit": {"credit": False},
    "replicate-error-429-then-ok": {"throttled": 1},
    "replicate-poll-no-stream-url": {"outputs": {MODEL: "list"}, "sparse": True},
    "replicate-poll-string-output": {"outputs": {MODEL: "text"}},
    "replicate-prediction-failed-before-output": {"outputs": {MODEL: "text"}},
    "replicate-stream-crlf-line-ends": {"stream": {"line_end": "crlf", "closes": True}},
}
RULES = {
    # Polls follow each other at once, so that there is no time to be ``starting`` in.
    "replicate-poll-no-stream-url": msgspec.structs.replace(HOSTED, tags=("source",)),
    "replicate-prediction-failed-before-output": msgspec.structs.replace(HOSTED, tags=("source",)),
    # Recorded for a prediction that had said nothing; what was said is kept.
    "replicate-client-abort-cancel": msgspec.structs.replace(HOSTED, loose=("metrics", "output")),
}


class Stepwise:
    """Says each piece, or fails, once the server has seen so many requests."""

    def __init__(self, steps: Mapping[int, list[str] | ModelFailure]) -> None:
        self._steps = steps
        self.seen: Callable[[], int] = lambda: 0

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for number, said_then in self._steps.items():
            while self.seen() < number:
                await asyncio.sleep(0)
            if isinstance(said_then, ModelFailure):
                raise said_then
            for piece in said_then:
                yield piece


class CancelledByOthers:
    """Says some pieces, then somebody cancels the prediction."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self.server: ReplicateServer | None = None

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for piece in self._pieces:
            yield piece
        assert self.server is not None
        for prediction in self.server.predictions.values():
            prediction.run.cancel()
        yield "never said"


SCRIPTS: Mapping[str, Script] = {
    "replicate-poll-no-stream-url": Stepwise(
        {2: ["", "Polling", " works"], 3: [", slowly"], 4: [".", ""]}
    ),
    "replicate-poll-string-output": Stepwise({2: ["A single string.\nTwo lines."]}),
    "replicate-prediction-failed-before-output": Stepwise(
        {2: ModelFailure("Prediction failed to start: out of memory")}
    ),
    # The cases count no empty pieces; here there are three.
    "replicate-stream-blank-tokens": Fixed(["", "Four", " ", "", "  two", ""]),
    "replicate-stream-done-canceled": CancelledByOthers(["Counting", ": 1", ", 2"]),
    "replicate-stream-error-event": Stepwise(
        {0: ["Once", " upon"], 1: ModelFailure("Something went wrong")}
    ),
}


def script_of(case: Case) -> Script:
    script = SCRIPTS.get(case.case) or Fixed(said(case))
    if case.expected.finish == "cancelled" and case.case not in SCRIPTS:
        return Fixed([*said(case), *(f" more{number}" for number in range(400))])
    return script


def options_of(case: Case) -> Mapping[str, object]:
    options = dict(OPTIONS.get(case.case, {}))
    if "cog" in case.case:
        return options
    if case.exchanges[1:2] and case.exchanges[1].response.closed == "reset":
        options["stream"] = {"cut_after": len(case.exchanges[1].response.body)}
    key = dict(case.exchanges[0].request.headers)["authorization"].removeprefix("Bearer ")
    return {"tokens": (key,), **options}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
async def test_answers_like_the_recorded_server(case: Case) -> None:
    name = "cog" if "cog" in case.case else "replicate"
    script = script_of(case)
    pace = 0.005 if case.case == "replicate-client-abort-cancel" else 0.0
    async with Sandbox((name,), script=script, pace=pace, options={name: options_of(case)}) as box:
        server = box.servers[name]
        if case.case in FAULTS:
            server.faults.next(FAULTS[case.case])
        if isinstance(script, Stepwise):
            script.seen = lambda: server._requests
        if isinstance(script, CancelledByOthers):
            assert isinstance(server, ReplicateServer)
            script.server = server
        rules = COG if name == "cog" else RULES.get(case.case, HOSTED)
        assert await differences(case, box.urls, rules) == []


def test_tables_name_only_cases_that_exist() -> None:
    assert unknown([*FAULTS, *OPTIONS, *RULES, *SCRIPTS], CASES) == []
