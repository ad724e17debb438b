"""The chat-ui of 2023, judged by recordings and by the rules of wire/h2o.md."""

from collections.abc import Mapping

import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import Fixed
from tests.sandbox.conformance import Case, Rules, cases, differences, said, unknown

RULES = Rules(
    main="h2o",
    headers=(
        "content-type",
        "location",
        "access-control-allow-origin",
        "cache-control",
        "vary",
        "x-compute-type",
    ),
    tags=("type", "status", "error_type", "special", "finish_reason"),
    # The stand-in router of the recording counted columns in a way of its own.
    varying=r"line \d+ column \d+",
)
CASES = cases("h2o")
FAULTS = {"h2o-eof-midstream": "fails-as=dropped; model-fails={pieces}"}
SMALL = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3"
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "h2o-http-503-loading": {"loading": True},
    "h2o-login-required-401": {"login": True},
    "h2o-overloaded-sse": {"max_concurrent": 0},
    "h2o-rate-limit-429": {"rate_limit": 3, "default_model": SMALL},
    "h2o-summarize": {"default_model": SMALL},
}
# Cases whose last exchange says nothing, after earlier ones that do.
SAID = {"h2o-rate-limit-429": [" Hello", "!"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
async def test_answers_like_the_recorded_server(case: Case) -> None:
    options = {"h2o": OPTIONS.get(case.case, {})}
    pieces, pace = SAID.get(case.case) or said(case), 0.0
    if case.expected.finish == "cancelled":
        pieces, pace = [*pieces, *(f" more{n}" for n in range(400))], 0.005
    async with Sandbox(("h2o",), script=Fixed(pieces), pace=pace, options=options) as sandbox:
        if case.case in FAULTS:
            fault = FAULTS[case.case].format(pieces=len(pieces))
            sandbox.servers["h2o"].faults.next(fault)
        assert await differences(case, sandbox.urls, RULES) == []


def test_tables_name_only_cases_that_exist() -> None:
    assert unknown([*FAULTS, *OPTIONS, *SAID], CASES) == []
