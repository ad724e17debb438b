"""Ai2 Playground, judged by recordings and by the rules of wire/allenai.md."""

from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import End, Fixed, ModelFailure, Prompt, Said, Script, Thought
from tests.sandbox.conformance import Case, Rules, cases, differences, said, unknown

MESSAGE = r"(?:msg|cpl)_(?:[A-Z][0-9]){3,5}"
RULES = Rules(main="allenai", identifiers=MESSAGE, tags=("type", "role"), host=False)
CASES = cases("allenai")
_TOOLS = "a script says texts and thoughts; it calls no tools"
CANNOT = {
    "allenai-2026-internal-tool": _TOOLS,
    "allenai-2026-user-tool-and-result": _TOOLS,
}
FAULTS = {"allenai-2026-unknown-tool-error-chunk": "fails-as=tool-unknown; model-fails=2"}
SIGNED_IN = "allenai-2026-signed-in-user"
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "allenai-2026-err-invalid-captcha": {"captcha": True},
    "allenai-2026-context-length-error": {"context": 2048},
    "allenai-2026-err-model-on-dead-host": {"dead_hosts": ["inferd"]},
}
FAILURES = {
    "allenai-2025-crash-truncated": ModelFailure("the worker died"),
    "allenai-2025-grpc-error-mid-stream": ModelFailure("worker went away"),
    "allenai-2026-backend-404-detail": ModelFailure("modal-http: app not found", 404),
    "allenai-2026-error-mid-stream": ModelFailure("CUDA out of memory"),
}
SAID: Mapping[str, Sequence[Said]] = {
    "allenai-2025-finish-aborted": ["half ", "an ans", End("aborted")],
    "allenai-2025-finish-length": ["1, 2, ", "3, 4, ", "5, 6", End("length")],
    "allenai-2025-unclosed-stream": ["par", End("unclosed stream")],
    "allenai-2026-length-is-invisible": ["", "1, 2, ", "3, 4", End("length")],
    "allenai-2026-thinking-interleaved": ["", Thought("t1 "), "A", Thought("t2\n"), "B", "\n"],
    "allenai-2026-thinking-with-system-prompt": [Thought("Let me"), Thought(" multiply."), "42"],
}


class Failing:
    """Says its pieces, then fails."""

    def __init__(self, pieces: Sequence[Said], failure: ModelFailure) -> None:
        self._pieces = pieces
        self._failure = failure

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for piece in self._pieces:
            yield piece
        raise ModelFailure(self._failure.message, self._failure.status)


def script_of(case: Case) -> Script:
    """The script that says what the recorded model said."""
    pieces = SAID.get(case.case) or said(case)
    if case.expected.pieces is None and case.expected.text is None:
        pieces = ["answer"]  # the last exchange is no chat, an earlier one is
    if case.case in FAILURES:
        return Failing(pieces, FAILURES[case.case])
    return Fixed(pieces)


def options_of(case: Case) -> dict[str, object]:
    """The options under which the recorded answer is the natural one."""
    options = dict(OPTIONS.get(case.case, {}))
    if "-2025-" in case.case:
        options["dialect"] = "message-stream"
    if case.case == SIGNED_IN:
        sent = dict(case.exchanges[0].request.headers)["Authorization"]
        options["bearers"] = {sent.removeprefix("Bearer "): "auth0|user-1"}
    return options


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)
async def test_answers_like_the_recorded_server(case: Case) -> None:
    if case.case in CANNOT:
        pytest.skip(CANNOT[case.case])
    options = {"allenai": options_of(case)}
    async with Sandbox(("allenai",), script=script_of(case), options=options) as sandbox:
        if case.case in FAULTS:
            sandbox.servers["allenai"].faults.next(FAULTS[case.case])
        assert await differences(case, sandbox.urls, RULES) == []


def test_tables_name_only_cases_that_exist() -> None:
    assert unknown([*CANNOT, *OPTIONS, *FAULTS, *FAILURES, *SAID, SIGNED_IN], CASES) == []
