"""The runner as a command and as a function: verdicts, lines, exit statuses, what it judges."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from penstock.provider import ProviderConfig
from penstock.testing import CaseError, Summary, replay, replay_case, replay_cases
from penstock.testing.__main__ import main
from penstock.testing.replay import runner
from penstock.testing.replay.case import Case
from penstock.testing.replay.plan import Step
from penstock.testing.replay.protocols.h2o import H2O
from tests.testing.recorded import (
    CASSETTES,
    asked,
    case_of,
    cassette,
    deleted,
    exchange,
    frame,
    opened,
    settings,
)

GOOD = CASSETTES / "h2o" / "h2o-first-turn.json"
SKIPPED = CASSETTES / "openassistant" / "oa-session-variants.json"


def bad_copy(tmp_path: Path) -> Path:
    raw = json.loads(GOOD.read_text("utf-8"))
    raw["expected"]["finish"] = "length"
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def test_the_command_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(GOOD), str(SKIPPED)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "oa-session-variants: skipped: it asks no model anything: GET /api/chat",
        "1 passed, 0 failed, 1 skipped",
    ]
    assert err == ""


def test_a_difference_is_told_and_sets_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(bad_copy(tmp_path)), str(GOOD)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "h2o-first-turn: finish: expected length, got stop",
        "1 passed, 1 failed, 0 skipped",
    ]


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_bad_path_or_file_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    assert main(["replay", str(path), str(GOOD)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"penstock replay: {path}: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["replay"], ["unknown"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(paths: list[str], *, report: object) -> Summary:
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.testing.__main__.replay", interrupted)
    assert main(["replay", str(GOOD)]) == 130


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "penstock.testing", "replay", str(bad_copy(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.endswith("0 passed, 1 failed, 0 skipped\n")
    assert done.stderr == ""


def test_the_function_reports_or_not(tmp_path: Path) -> None:
    lines: list[str] = []
    summary = replay([GOOD], report=lines.append)
    assert lines == [summary.line]
    assert replay([str(GOOD)]).passed == 1
    assert Summary().line == "0 passed, 0 failed, 0 skipped"
    with pytest.raises(CaseError):
        replay([tmp_path / "none"])


async def test_a_result_tells_what_came_out() -> None:
    result = await replay_case(cassette("h2o-eof-midstream"))
    assert (result.verdict, result.text) == ("passed", " The connection will be")
    assert (result.pieces, result.finish, result.error) == (4, "error", "truncated")
    assert result.lines() == []


async def test_an_unknown_provider_is_skipped() -> None:
    result = await replay_case(case_of("elsewhere", [exchange("GET", "/")]))
    assert (result.verdict, result.reason) == ("skipped", "there is no protocol named elsewhere")


async def test_a_fault_that_is_none_of_our_errors_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: H2O, base: ProviderConfig) -> ProviderConfig:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(H2O, "config", broken)
    summary = await replay_cases([cassette("h2o-first-turn"), cassette("oa-unicode")])
    assert [result.verdict for result in summary.results] == ["failed", "passed"]
    assert summary.results[0].differences == ("raised ZeroDivisionError: oh",)


async def test_a_cancellation_is_not_taken_for_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(case: Case) -> object:
        raise asyncio.CancelledError

    monkeypatch.setattr(runner, "replay_case", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await replay_cases([cassette("h2o-first-turn")])


async def test_a_run_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DEADLINE", 0.2)
    hanging = asked("Hi", chunks=[b": still here\n\n"], left_open=True)
    result = await replay_case(case_of("h2o", [settings(), opened(), hanging]))
    assert result.differences == ("did not end within 0.2 s",)


async def test_a_difference_of_one_way_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[], [], ["odd"]])

    def odd_at_last(*_: object) -> list[str]:
        return next(answers)

    monkeypatch.setattr(runner, "differences", odd_at_last)
    result = await replay_case(cassette("h2o-first-turn"))
    assert result.differences == ("odd (all at once)",)


# -- what it judges ------------------------------------------------------------------------------

END = frame("", whole="Hi", special=True)
STREAM = [frame("H"), frame("i"), END]
SAID = {
    "text": "Hi",
    "pieces": ["H", "i"],
    "finish": "stop",
    "error": None,
    "exchange": 2,
    "cleanup_delete": True,
}


def h2o_case(message: dict[str, object], **expected: object) -> Case:
    return case_of("h2o", [settings(), opened(), message, deleted()], {**SAID, **expected})


async def test_a_made_up_case_agrees() -> None:
    result = await replay_case(h2o_case(asked("Hello", chunks=STREAM)))
    assert result.lines() == []


async def test_a_stall_is_met_by_our_own_limits() -> None:
    message = asked("Hello", chunks=STREAM[:1], closed="client")
    error = {"kind": "timeout", "status": 200, "message": ""}
    result = await replay_case(
        h2o_case(message, text="H", pieces=["H"], finish="error", error=error)
    )
    assert result.lines() == []


async def test_a_caller_may_leave_before_the_first_piece() -> None:
    message = asked("Hello", chunks=[b": hi\n\n"], closed="client")
    result = await replay_case(h2o_case(message, text="", pieces=[], finish="cancelled"))
    assert result.lines() == []


async def test_a_refusal_of_ours_where_the_server_answers_is_a_difference() -> None:
    case = h2o_case(asked("", chunks=STREAM))
    result = await replay_case(case)
    assert result.verdict in ("failed", "passed")
    blank_500 = h2o_case(
        asked("  ", status=500, answer={"message": "Internal Error"}),
        text="",
        pieces=[],
        finish="error",
        error={"kind": "server", "status": 500, "message": "Internal Error"},
    )
    assert (await replay_case(blank_500)).lines() == []


async def test_what_cannot_be_sent_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: H2O, step: Step, error: object) -> Step | None:
        return None

    monkeypatch.setattr(H2O, "relaxed", never)
    result = await replay_case(cassette("h2o-validation-sse"))
    assert result.verdict == "skipped"
    assert result.reason.startswith("our checks refuse to send it: h2o: temperature")
    expected = msgspec.structs.replace(cassette("h2o-validation-sse").expected, error=None)
    case = msgspec.structs.replace(cassette("h2o-validation-sse"), expected=expected)
    (line,) = (await replay_case(case)).differences
    assert line.startswith("refused here, where the server answers")


async def test_finishes_of_old_recordings() -> None:
    case = cassette("h2o-eof-midstream")
    expected = msgspec.structs.replace(case.expected, finish="incomplete")
    result = await replay_case(msgspec.structs.replace(case, expected=expected))
    assert result.verdict == "passed"


async def test_a_recorded_delete_must_come(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cassette("oa-single-turn-en")
    assert case.expected.cleanup_delete is None
    assert (await replay_case(case)).verdict == "passed"


async def test_pieces_of_polls_are_not_compared_but_their_text_is() -> None:
    case = cassette("replicate-poll-no-stream-url")
    pieces = ("Polling", " works, slowly.")
    expected = msgspec.structs.replace(case.expected, pieces=pieces)
    assert (await replay_case(msgspec.structs.replace(case, expected=expected))).verdict == "passed"
