"""The frame: commands, exit codes, one sentence for every mistake."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from penstock import __version__
from penstock.cli.main import COMMANDS
from tests.cli.conftest import Run

PROGRAM = [sys.executable, "-m", "penstock"]


def test_the_version_and_the_commands_are_told(run: Run) -> None:
    assert run("--version").out == f"penstock {__version__}\n"
    told = run("--help")
    assert told.code == 0
    assert all(f"\n  {name} " in told.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    told = run(name, "--help")
    assert told.code == 0
    assert told.out.startswith(f"Usage: penstock {name}")


def test_help_loads_no_library_that_only_a_command_needs() -> None:
    script = (
        "import sys; sys.argv = ['penstock', '--help']\n"
        "from penstock.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'rich', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modls"], "Did you mean 'models'?"),
        (["chat", "--nope"], "No such option"),
        (["chat", "-m", "h2o/x", "-p", "novalue", "hi"], "NAME=VALUE"),
        (["replay"], "Missing argument"),
        (["demo", "--provider", "nobody"], "there is no back end 'nobody'"),
        (["demo", "--backend", "http://127.0.0.1:1"], "--backend and --model go together"),
    ],
)
def test_wrong_usage_is_code_2(run: Run, arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert words in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "/nowhere/at.all", "models"], "there is no configuration file"),
        (["models", "nobody"], "'nobody' names no provider"),
        (["models", "h2o"], "base_url in [providers.h2o]"),
        (["chat", "-m", "openai/x", "hi"], "api_key is missing"),
        (["chat", "hi"], "no model is named"),
    ],
)
def test_a_mistake_of_the_user_is_one_sentence_and_code_1(
    run: Run, workplace: Path, arguments: list[str], sentence: str
) -> None:
    done = run(*arguments)
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert sentence in done.err
    assert done.err.count("\n") == 1


def test_what_the_system_refuses_is_one_sentence(run: Run, workplace: Path) -> None:
    Path("x.toml").write_text("")
    done = run("sandbox", "--provider", "h2o", "--host", "192.0.2.1")
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert "192.0.2.1 is no address of this machine" in done.err
    assert "Traceback" not in done.err


def test_a_port_in_use_is_one_sentence_with_what_to_do(run: Run, workplace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("sandbox", "--provider", "h2o", "--port", str(port))
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"Error: port {port} of 127.0.0.1 is in use by another program; end that one, or "
            "give another --port, or none for a free one\n"
        )
        done = run("sandbox", "--provider", "h2o", "--provider", "tgi", "--port", str(port - 1))
        assert "is in use by another program" in done.err  # met by the second server
        done = run("record", "http://127.0.0.1:9", "--port", str(port))
        assert done.err == (
            f"Error: cannot listen on 127.0.0.1 port {port}: address already in use; another port,"
            " or none for a free one, will do\n"
        )


def test_a_sandbox_that_does_not_exist_is_told_with_the_nearest(run: Run) -> None:
    done = run("sandbox", "--provider", "h2oo")
    assert done.code == 2
    assert "there is no sandbox 'h2oo'; did you mean h2o? Known are allenai, " in done.err


def test_a_reader_that_leaves_is_no_reason_to_complain() -> None:
    program = subprocess.Popen(
        [*PROGRAM, "providers", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    with program.stderr as said:
        assert said.read() == b""
    assert program.wait(10) == 1


def test_a_terminal_without_a_character_shows_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from penstock.cli.main import main

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
    monkeypatch.setattr(sys, "argv", ["penstock", "--version"])
    with pytest.raises(SystemExit):
        main()
    sys.stdout.write("水")
    assert raw.getvalue().endswith(b"?")
