"""``penstock demo``: everything is asked, shown, measured and judged."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator

import msgspec
import pytest
from rich.console import Console

from penstock.cli.demo.board import Board
from penstock.cli.demo.flow import Flow
from penstock.cli.demo.play import Plan, Stand, play
from penstock.cli.demo.score import Turn, difference, row_of
from penstock.cli.demo.systems import KEYS, QUESTION, SYSTEMS
from penstock.sandbox.script import ModelFailure, Prompt, Said, Script
from penstock.testing.replay import CaseResult
from tests.cli.conftest import Run


class Shown:
    """A board that writes to memory."""

    def __init__(self, width: int = 80) -> None:
        self._file = io.StringIO()
        self.board = Board(Console(file=self._file, width=width))

    @property
    def text(self) -> str:
        return self._file.getvalue()


def plan_of(*keys: str, question: str = QUESTION, model: Script | None = None) -> Plan:
    systems = tuple(system for system in SYSTEMS if system.key in (keys or KEYS))
    return Plan(systems=systems, question=question, pace=0.0, model=model)


async def test_every_back_end_answers_and_nothing_is_left_behind() -> None:
    shown = Shown()
    assert await play(plan_of(), shown.board) == []
    table = shown.text.partition("All together")[2]
    for system in SYSTEMS:
        row = next(line for line in table.splitlines() if line.startswith(f"  {system.key} "))
        assert row.split()[1] == system.dialect
        assert row.split()[-1] == "0"
    assert "ModelError: replicate: " in shown.text
    assert "the model ran out of memory" in shown.text
    assert shown.text.count("as it was recorded") >= 7
    assert "All answers came whole and nothing was left behind" in shown.text


@pytest.mark.parametrize("width", [40, 80, 200])
async def test_it_fits_the_terminal_and_ends_no_line_with_blanks(width: int) -> None:
    shown = Shown(width)
    assert await play(plan_of("openassistant", "h2o_sync"), shown.board) == []
    lines = shown.text.splitlines()
    console = Console(width=width)
    assert max(console.measure(line).maximum for line in lines) <= min(width, 88)
    assert [line for line in lines if line != line.rstrip()] == []


async def test_a_question_of_ones_own_reaches_the_model_as_it_is() -> None:
    shown = Shown()
    question = 'What is "water" 水, $HOME?'
    assert await play(plan_of("h2o", "cog", question=question), shown.board) == []
    assert shown.text.count(f"You asked: “{question}”") == 2
    assert f"You began with “{question}”" in shown.text


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize(
    ("pace", "words"),
    [(0.0, "pieces a second, as fast as they come"), (0.001, "the servers keep to 1000")],
)
async def test_the_table_says_who_sets_the_pace(width: int, pace: float, words: str) -> None:
    shown = Shown(width)
    plan = msgspec.structs.replace(plan_of("tgi"), pace=pace)
    assert await play(plan, shown.board) == []
    assert words in " ".join(shown.text.split())
    spoken = msgspec.structs.replace(plan, model=Broken())
    assert spoken.pace_words == "as the model speaks"


def test_a_back_end_goes_by_its_providers_name_too(run: Run) -> None:
    assert "openai_compatible" in run("demo", "--provider", "openai_compatible", "--pace", "0").out


def test_a_back_end_that_does_not_exist_is_one_sentence(run: Run) -> None:
    done = run("demo", "--provider", "replicat")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: there is no back end 'replicat'; did you mean replicate? ")
    assert done.err.count("\n") == 1


class Broken:
    """A model that fails whatever it is asked."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        yield "half"
        raise ModelFailure("no memory")


async def test_a_failure_of_one_back_end_stops_no_other_and_is_told() -> None:
    shown = Shown()
    problems = await play(plan_of("tgi", "openai", model=Broken()), shown.board)
    assert [problem.partition(":")[0] for problem in problems] == ["openai", "tgi"]
    assert shown.text.count("✗ ") >= 4
    assert "All answers came whole" not in shown.text


async def test_what_is_left_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stand, "left", 2)
    shown = Shown(60)
    problems = await play(plan_of("tgi"), shown.board)
    assert problems == ["tgi: 2 conversations left behind"]
    assert "2 left behind" in " ".join(shown.text.split())


def test_a_recorded_exchange_that_differs_is_told() -> None:
    shown = Shown()
    shown.board.recorded(
        CaseResult(
            case="a-case",
            provider="h2o",
            verdict="failed",
            differences=("text 'a' should be 'b'",),
            text="x" * 500,
        )
    )
    assert "✗ text 'a' should be 'b'" in shown.text
    assert "as it was recorded" not in shown.text
    assert "x…" in shown.text


def test_the_command_says_by_its_code_whether_all_was_right(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("demo", "--provider", "tgi", "--pace", "0").code == 0
    monkeypatch.setattr(Stand, "left", 1)
    assert run("demo", "--provider", "tgi", "--pace", "0").code == 1


def test_provider_and_question_come_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DEMO_PROVIDER", "cog tgi")
    monkeypatch.setenv("PENSTOCK_DEMO_QUESTION", "Why?")
    done = run("demo", "--pace", "0")
    assert done.code == 0
    assert "2 back ends" in done.out
    assert "You asked: “Why?”" in done.out


def test_an_interrupt_ends_it_in_order() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "penstock", "demo", "--pace", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    while b"A penstock is" not in program.stdout.readline():
        pass
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=15)
    assert program.returncode == 130
    assert said.strip() == b""


# -- the parts ---------------------------------------------------------------------------------


def flowed(*pieces: str, width: int, hang: int | None = None) -> str:
    written: list[str] = []
    flow = Flow(lambda text, _: written.append(text), width=width, indent=2, hang=hang)
    for piece in pieces:
        flow.feed(piece)
    flow.end()
    return "".join(written)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["one two three"], "  one two\n  three\n"),
        (["on", "e t", "wo th", "ree"], "  one two\n  three\n"),
        (["a\n\n  b\n"], "  a\n\n    b\n"),
        (["水圧鉄管 水圧"], "  水圧鉄管\n  水圧\n"),
        (["abcdefghijklmno"], "  abcdefghij\n  klmno\n"),
        (["a", " "], "  a\n"),
        ([], ""),
    ],
)
def test_a_flow_wraps_between_words_however_they_come(pieces: list[str], expected: str) -> None:
    assert flowed(*pieces, width=12) == expected
    assert flowed(*"".join(pieces), width=12) == expected


def test_a_flow_writes_a_word_as_soon_as_it_is_whole() -> None:
    written: list[str] = []
    flow = Flow(lambda text, _: written.append(text), width=40)
    flow.feed("one tw")
    assert "".join(written) == "  one"
    flow.feed("o ")
    assert "".join(written) == "  one two"


def test_a_flow_hangs_its_lines_under_the_first_word() -> None:
    assert flowed("> one two three", width=12, hang=4) == "  > one two\n    three\n"


def test_a_row_counts_all_answers_and_the_time_of_the_first() -> None:
    turns = [
        Turn(text="abcd", times=(0.1, 0.2, 0.3), finish="length"),
        Turn(text="e", times=(0.5,), finish="stop"),
    ]
    row = row_of(turns, 1)
    assert (row.pieces, row.characters, row.left, row.finish) == (4, 5, 1, "stop")
    assert (row.first_words, row.rate_words) == ("100 ms", "10")


def test_a_row_without_answers_claims_nothing() -> None:
    row = row_of([], 0)
    assert (row.first_words, row.rate_words, row.finish) == ("-", "-", None)


def test_a_difference_is_named() -> None:
    assert difference("abc", "abc") is None
    assert difference("ab", "abc") == "2 of 3 characters arrived"
    assert difference("axc", "abc") == "character 2 is 'x' and should be 'b'"
