"""Today's chat-ui, judged by recordings and by the rules of wire/h2o.md section 9."""

from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import Fixed, ModelFailure, Prompt, Said, Script, Thought
from tests.sandbox.conformance import Case, Rules, cases, differences, said, unknown

RULES = Rules(
    main="chatui",
    headers=(
        "content-type",
        "cache-control",
        "vary",
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
    ),
    tags=("type", "status", "interrupted", "from"),
    # keepAlive goes by the clock; a title comes when its own call to the model is done.
    floating="type=title|status=keepAlive",
)
CASES = cases("chatui")
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "chatui-provider-metadata": {"provider": "together"},
}


class Failing:
    """Says some pieces and fails, as often as told; then says other pieces."""

    def __init__(
        self, failure: ModelFailure, first: Sequence[Said] = (), then: Sequence[Said] | None = None
    ) -> None:
        self._failure = failure
        self._first = first
        self._then = then
        self._asked = 0

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self._asked += 1
        if self._then is not None and self._asked > 1:
            for one in self._then:
                yield one
            return
        for one in self._first:
            yield one
        raise self._failure


def script_of(case: Case) -> Script:
    """What the model of a recording said, or how it failed."""
    pieces = said(case)
    if case.case == "chatui-flaky-upstream":
        return Failing(ModelFailure("terminated"), pieces[:4], pieces[4:])
    if case.case == "chatui-reasoning":
        thoughts = [Thought(text) for text in ("Let me", " think.", "\n", "Done")]
        return Fixed([*thoughts, "The", " answer", " is", " 42."])
    if case.expected.finish == "cancelled":
        return Fixed([*pieces, *(f" more{n}" for n in range(400))])
    error = case.expected.error or {}
    status = error.get("upstream_status")
    if isinstance(status, int):
        return Failing(ModelFailure(str(error["message"]).partition(" ")[2], status))
    return Fixed(pieces)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
async def test_answers_like_the_recorded_server(case: Case) -> None:
    options = {"chatui": OPTIONS.get(case.case, {})}
    pace = 0.03 if case.expected.finish == "cancelled" else 0.0
    async with Sandbox(("chatui",), script=script_of(case), pace=pace, options=options) as sandbox:
        assert await differences(case, sandbox.urls, RULES) == []


def test_tables_name_only_cases_that_exist() -> None:
    assert unknown(OPTIONS, CASES) == []
