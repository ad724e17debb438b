"""``penstock chat``: the answer on stdout, everything else on stderr, a stop that arrives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import sync
from penstock.cli.render import Screen, harmless, waiting_words
from penstock.types import Finished, Notice, Reasoning, Text, ToolCall, Waiting
from tests.cli.conftest import Run
from tests.cli.terminal import PROGRAM
from tests.sandboxed import Servers


def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_the_answer_alone_is_on_stdout(run: Run, configured: Path) -> None:
    done = run("chat", "-m", "openassistant/OA_SFT_Llama_30B_6", "one  two\tthree")
    assert (done.code, done.out, done.err) == (0, "one  two\tthree\n", "")


def test_words_become_one_question_for_the_default_model(run: Run, configured: Path) -> None:
    assert run("chat", "one", "two").out == "one two\n"


@pytest.mark.parametrize("arguments", [["-"], []])
def test_a_question_comes_from_standard_input(
    run: Run, configured: Path, arguments: list[str]
) -> None:
    assert run("chat", *arguments, stdin="Žluťoučký 水".encode()).out == "Žluťoučký 水\n"


def test_input_that_is_no_text_is_told(run: Run, configured: Path) -> None:
    done = run("chat", "-", stdin=b"\xff\xfe")
    assert (done.code, done.err) == (1, "Error: standard input is not UTF-8 text\n")


def test_nothing_to_ask_is_told(run: Run, configured: Path) -> None:
    done = run("chat", "-", stdin=b" \n")
    assert (done.code, done.err) == (1, "Error: the question is empty\n")


def test_files_are_added_to_the_question(run: Run, configured: Path) -> None:
    Path("a.txt").write_text("first")
    done = run("chat", "-f", "a.txt", "then")
    assert done.out == "first\n\nthen\n"


def test_a_file_that_is_no_text_is_told(run: Run, configured: Path) -> None:
    Path("a.bin").write_bytes(b"\xff\x00")
    assert run("chat", "-f", "a.bin", "then").err == "Error: a.bin is not UTF-8 text\n"


def test_an_image_travels_as_an_image(run: Run, configured: Path, servers: Servers) -> None:
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run("chat", "-m", "allenai/Molmo2-8B", "-f", "a.png", "see")
    assert (done.code, done.out) == (0, "see\n")


def test_limits_reach_the_server_and_the_finish_is_told(run: Run, configured: Path) -> None:
    done = run("chat", "--max-tokens", "2", "-p", "seed=3", "one two three four")
    assert (done.out, done.err) == ("one two\n", "[finish: length]\n")


def test_events_as_json(run: Run, configured: Path) -> None:
    done = run("chat", "--json", "-m", "openai_compatible/sandbox-model", "one two")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["text"] for event in events if event["type"] == "text"] == ["one", " two"]
    assert events[-1]["type"] == "finished"
    assert events[-1]["finish_reason"] == "stop"


def test_a_failure_as_json_is_the_last_line(run: Run, configured: Path) -> None:
    done = run("chat", "--json", "FAIL")
    assert done.code == 1
    last = json.loads(done.out.splitlines()[-1])
    assert (last["type"], last["kind"], last["provider"]) == ("error", "model", "h2o")
    assert done.err.startswith("Error: h2o: ")


def test_a_whole_answer(run: Run, configured: Path) -> None:
    assert run("chat", "--no-stream", "one two").out == "one two\n"
    reply = json.loads(run("chat", "--no-stream", "--json", "one two").out)
    assert (reply["type"], reply["text"], reply["finish_reason"]) == ("reply", "one two", "stop")


def test_what_came_before_a_failure_stays(run: Run, configured: Path) -> None:
    done = run("chat", "FAIL soon")
    assert (done.code, done.out) == (1, "FAIL soon\n")
    assert "out of memory" in done.err


def test_warnings_of_the_configuration_are_told(
    run: Run, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_TIMOUT_IDLE", "3")
    done = run("chat", "one")
    assert done.out == "one\n"
    assert "did you mean PENSTOCK_TIMEOUT_IDLE?" in done.err


def test_piped_text_goes_with_the_question(configured: Path) -> None:
    command = [*PROGRAM, "chat", "what is this?"]
    done = subprocess.run(command, input=b"some text\n", capture_output=True, check=True)
    assert done.stdout == b"some text\n\n\nwhat is this?\n"


def test_no_question_and_no_terminal_is_told(configured: Path) -> None:
    command = [*PROGRAM, "chat"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"Error: the question is empty\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("extra", [[], ["--no-stream"]])
def test_an_interrupt_stops_the_remote_side(
    configured: Path, servers: Servers, extra: list[str], number: signal.Signals
) -> None:
    before = servers.state("h2o").runs.cancelled
    program = subprocess.Popen(
        [*PROGRAM, "chat", *extra, "HOLD"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: servers.state("h2o").runs.running == 1)
    if not extra:
        assert program.stdout is not None
        assert program.stdout.read(4) == b"HOLD"
    program.send_signal(number)
    _, said = program.communicate(timeout=20)
    assert program.returncode == 130
    assert said.decode().endswith("Stopped, here and on the server.\n")
    until(lambda: servers.state("h2o").runs.cancelled == before + 1)
    assert servers.state("h2o").conversations.left == []


def test_an_interrupt_is_the_last_line_of_the_events(configured: Path, servers: Servers) -> None:
    program = subprocess.Popen(
        [*PROGRAM, "chat", "--json", "HOLD"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: servers.state("h2o").runs.running == 1)
    assert program.stdout is not None
    assert b'"started"' in program.stdout.readline()
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=20)
    last = json.loads(out.splitlines()[-1])
    assert (program.returncode, last["type"], last["kind"]) == (130, "error", "cancelled")


def test_a_reader_that_leaves_stops_the_remote_side(configured: Path, servers: Servers) -> None:
    before = servers.state("h2o").runs.cancelled
    program = subprocess.Popen(
        [*PROGRAM, "chat", "HOLD"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    assert program.stdout.read(1) == b"H"
    program.stdout.close()
    with program.stderr as said:
        assert said.read() == b""
    assert program.wait(10) == 1
    until(lambda: servers.state("h2o").runs.cancelled == before + 1)
    assert servers.state("h2o").conversations.left == []


def test_who_waits_no_longer_is_told_that_something_may_be_left(
    run: Run, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, interrupts = sync.Client.close, iter([KeyboardInterrupt])

    def interrupted(client: sync.Client) -> list[str]:
        left = close(client)
        for interrupt in interrupts:
            raise interrupt
        return left

    monkeypatch.setattr(sync.Client, "close", interrupted)
    done = run("chat", "one")
    assert (done.out, done.err) == (
        "one\n",
        "Left on the server: what was still to be removed there\n",
    )


def test_an_unknown_model_is_told_with_the_nearest_of_its_server(
    run: Run, configured: Path
) -> None:
    done = run("chat", "-m", "openai_compatible/sandbox-modle", "hi")
    assert (done.code, done.out) == (1, "")
    assert "did you mean openai_compatible/sandbox-model" in done.err
    done = run("chat", "-m", "openai_compatible/zzz", "hi")
    assert done.err.endswith("; `penstock models openai_compatible` lists what there is\n")


def test_what_is_said_is_recorded_as_a_case(run: Run, configured: Path) -> None:
    done = run("chat", "--record", "cases", "one two")
    assert (done.code, done.out) == (0, "one two\n")
    (file,) = Path("cases").iterdir()
    assert done.err == f"recorded: {file}\n"
    assert run("replay", "cases").code == 0
    exchanges = json.loads(file.read_text())["exchanges"]
    assert exchanges[-1]["request"]["method"] == "DELETE"  # the end of the chat belongs to it


def test_what_cannot_be_recorded_is_told(
    run: Run, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PROXY", "http://127.0.0.1:9")
    done = run("chat", "--record", "cases", "one two")
    assert (done.code, done.err) == (1, "Error: h2o: --record does not go through a proxy\n")


def test_a_wait_is_told_once_on_a_plain_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    for _ in range(2):
        screen.event(Waiting("queue", 2, 7))
    screen.event(Text("yes\n"))
    assert capsys.readouterr() == ("yes\n", "in the queue: place 2 of 7\n")


def test_waiting_is_a_sentence() -> None:
    assert waiting_words(Waiting("queue", 2, 7)) == "in the queue: place 2 of 7"
    assert waiting_words(Waiting("queue")) == "in the queue: waiting"
    assert waiting_words(Waiting("cold_start")) == "the model is starting"
    assert waiting_words(Waiting("running")) == "the model is at work"


def test_control_sequences_of_a_server_are_no_orders_to_the_terminal() -> None:
    assert harmless("a\x1b]52;c;x\x07b\x9b2J\r\n\tc") == "a\ufffd]52;c;x\ufffdb\ufffd2J\ufffd\n\tc"


def test_what_is_not_the_answer_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.event(Waiting("cold_start"))
    screen.event(Reasoning("hm"))
    screen.event(Reasoning(", well"))
    screen.event(Text("yes\x1b"))
    screen.event(ToolCall(0, "1", "look", '{"a"'))
    screen.event(Finished("tool_calls", warnings=(Notice("parameter_dropped", "seed"),)))
    out, err = capsys.readouterr()
    assert out == "yes\x1b\n"  # no terminal: the answer is data
    assert err.splitlines() == [
        "hm, well",
        'look{"a"',
        "[finish: tool_calls]",
        "[note: a parameter was dropped: seed]",
    ]
