"""Every id that ``penstock models`` prints is one that ``penstock chat`` can ask."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.cli.models import _columns
from tests.cli.conftest import Run

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


@pytest.fixture(scope="module")
def settings() -> Iterator[str]:
    """What ``penstock sandbox`` says to put into the configuration."""
    command = [sys.executable, "-m", "penstock", "sandbox", "--pace", "0"]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with running:
        assert running.stderr is not None
        lines: list[str] = []
        for line in running.stderr:
            if line.startswith("#"):
                break
            lines.append(line)
        yield "".join(line for line in lines if re.match(r"\[|\w+ = ", line))
        running.terminate()


def ids_of(line: str) -> list[str]:
    """The id of a line, and the short names beside it."""
    return [line.split("\t", maxsplit=1)[0], *re.findall(r"\bor (\S+?)(?:,|$)", line)]


def test_every_model_that_is_listed_answers(run: Run, workplace: Path, settings: str) -> None:
    Path("penstock.toml").write_text(settings)
    Path("penstock.toml").chmod(0o600)
    Path("picture.png").write_bytes(PNG)
    listed = run("models")
    assert (listed.code, listed.err) == (0, "")
    lines = listed.out.splitlines()
    assert {line.partition("/")[0] for line in lines} == set(re.findall(r"\.(\w+)\]", settings))
    assert any("h2o/falcon-40b" in ids_of(line) for line in lines)
    for line in lines:
        picture = ["-f", "picture.png"] if "only with an image" in line else []
        for model in ids_of(line):
            done = run("chat", "-m", model, *picture, "hi")
            assert (done.code, "hi" in done.out) == (0, True), (model, done)


def test_a_terminal_shows_columns_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a/long-name", ["A name of words", "or a/long, or a/lo"]), ("b/x", []), ("c/y", ["z"])]
    monkeypatch.setenv("COLUMNS", "60")
    assert list(_columns(rows)) == [
        "a/long-name  A name of words; or a/long, or a/lo",
        "b/x",
        "c/y          z",
    ]
    monkeypatch.setenv("COLUMNS", "30")
    assert "\n".join(_columns(rows)).splitlines() == [
        "a/long-name",
        "  A name of words; or a/long,",
        "  or a/lo",
        "b/x",
        "c/y",
        "  z",
    ]
    assert list(_columns([("a/x", ["\x1b[31mred"])])) == ["a/x  \ufffd[31mred"]
