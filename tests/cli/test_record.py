"""``penstock record``: the address on standard output, a file for each conversation."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import penstock
from penstock.testing import replay
from tests.cli.conftest import Run
from tests.sandboxed import Servers

RECORD = (sys.executable, "-m", "penstock", "record")


@contextmanager
def recording(*arguments: str) -> Iterator[tuple[str, list[str]]]:
    """The command in a process of its own: its address; after the end what it said."""
    said: list[str] = []
    with subprocess.Popen(
        [*RECORD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), said
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert (process.returncode, out) == (0, "")
            said += err.splitlines()


def ask(url: str) -> None:
    with penstock.sync.Client(providers={"h2o": {"base_url": url}}) as client:
        assert client.complete("h2o/falcon-40b", "one two").text == "one two"


def test_a_conversation_becomes_a_file_that_replays(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    upstream = servers.sandbox.urls["h2o"]
    with recording("-o", str(folder), "--", upstream) as (url, said):
        ask(url)
    (file,) = folder.iterdir()
    assert f"Recording {upstream} into {folder}." in said
    assert f"{file}  4 exchanges; 'one two', stop" in said
    assert any(line.startswith("POST /conversation/") for line in said)
    summary = replay([file])
    assert (summary.passed, summary.failed) == (1, 0)


def test_nothing_recorded_is_said(servers: Servers, tmp_path: Path) -> None:
    with recording("-o", str(tmp_path), servers.sandbox.urls["h2o"]) as (url, said):
        assert url.startswith("http://127.0.0.1:")
    assert said[-1] == "Nothing was recorded."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ftp://x"], "base_url must be an http or https URL"),
        (["--host", "0.0.0.0", "http://127.0.0.1:1"], "a recorder listens on loopback only"),
        (["--provider", "nobody", "http://127.0.0.1:1"], "there is no provider 'nobody'"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_what_cannot_be_recorded_is_one_sentence(
    run: Run, arguments: list[str], sentence: str
) -> None:
    done = run("record", *arguments)
    assert done.code == 1
    assert sentence in done.err
    assert done.out == ""
