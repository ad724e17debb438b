"""Text from the command line reaches the demo unchanged."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

QUESTIONS = [
    "plain",
    'What\'s "this" for $5 & `date`; $(HOME) ${HOME} $$ \\n #1?',
    "$(shell touch broken) unbalanced $( and , ) (",
    "two  spaces \t and ünïcödé 🤔 ",
    "--help",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose set-up does nothing and whose demo says what it was told."""
    folder = tmp_path / "it's a project"
    (folder / "tools").mkdir(parents=True)
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    programs = {
        folder / "tools" / "setup": "exit 0",
        binaries / "penstock": (
            'printf "%s|%s|%s" "$1" "$PENSTOCK_DEMO_PROVIDER" "$PENSTOCK_DEMO_QUESTION"'
        ),
    }
    for path, line in programs.items():
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    return folder


def demo(project: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["make", "demo", *arguments],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not (project / "broken").exists()
    return done.stdout


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_survives_make_and_the_shell(project: Path, question: str) -> None:
    assert demo(project, f"QUESTION={question}", "PROVIDER=h2o") == f"demo|h2o|{question}"
    assert demo(project, QUESTION=question) == f"demo||{question}"


def test_nothing_given_is_nothing_passed(project: Path) -> None:
    assert demo(project) == "demo||"


def test_help_lists_every_command(project: Path) -> None:
    done = subprocess.run(
        ["make"], cwd=project, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    said = done.stdout.decode()
    for name in [
        "setup",
        "check",
        "fix",
        "test",
        "test-all",
        "demo",
        "bench",
        "docs",
        "lock",
        "clean",
    ]:
        assert f"make {name} " in said
