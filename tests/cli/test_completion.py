"""``penstock completion``: the scripts, and what Tab offers, as a shell asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.completion import SHELLS
from tests.cli.conftest import Run

BASH = shutil.which("bash")


def offered(words: str) -> list[str]:
    """What a shell is told for the command line ``words``, its last word unfinished."""
    environment = {
        **os.environ,
        "_PENSTOCK_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "penstock"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_asks_this_program(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_PENSTOCK_COMPLETE={shell}_complete" in done.out


def test_another_shell_is_wrong_usage(run: Run) -> None:
    done = run("completion", "tcsh")
    assert done.code == 2
    assert "'bash', 'zsh', 'fish'" in done.err


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_reads_the_script(run: Run) -> None:
    script = run("completion", "bash").out
    asked = f"{script}\ncomplete -p penstock"
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" penstock\n")


def test_commands_are_offered(workplace: Path) -> None:
    assert offered("penstock do") == ["doctor"]


def test_models_that_are_known_are_offered(workplace: Path) -> None:
    Path("penstock.toml").write_text(
        '[aliases]\nhome = "mine/a"\n'
        '[providers.mine]\nbase_url = "http://127.0.0.1:1/v1"\nmodels = ["a", "b"]\n'
    )
    assert offered("penstock chat -m mine") == ["mine/a", "mine/b", "mine/"]
    assert offered("penstock chat -m ho") == ["home"]
    assert "allenai/tulu3-405b" in offered("penstock chat -m allenai/tu")


def test_providers_are_offered(workplace: Path) -> None:
    assert offered("penstock doctor open") == [
        "openassistant",
        "openai",
        "openrouter",
        "openai_compatible",
    ]
    assert offered("penstock models gro") == ["groq"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("penstock sandbox --provider h", ["h2o"]),
        ("penstock sandbox --script ec", ["echo", "ec"]),
        ("penstock sandbox --scenario sc", ["sc"]),
        ("penstock demo --provider h", ["h2o", "h2o_sync"]),
        ("penstock record --provider cha", ["chatui"]),
        ("penstock replay ca", ["ca"]),
    ],
)
def test_what_an_option_takes_is_offered(workplace: Path, words: str, names: list[str]) -> None:
    # A word that is given back stands for files: the shell completes these itself.
    assert offered(words) == names


def test_a_wrong_configuration_does_not_disturb_the_shell(workplace: Path) -> None:
    Path("penstock.toml").write_text("nonsense")
    assert offered("penstock models gro") == ["groq"]
