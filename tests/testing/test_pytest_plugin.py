"""The fixture for others, used as they would use it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.sandbox import Sandbox
from penstock.testing.pytest_plugin import running

TESTS = """
import penstock
import pytest


def test_a_plain_test_asks_it(penstock_sandbox):
    with penstock.sync.Client(providers=penstock_sandbox.providers) as client:
        assert client.complete("h2o/falcon-40b", "one two").text == "one two"
    assert len(penstock_sandbox.urls) > 8
    assert penstock_sandbox.state("h2o")["conversations"]["left"] == []


@pytest.mark.penstock_sandbox(providers=["openai"], script="lorem")
def test_the_marker_says_what_runs(penstock_sandbox):
    assert list(penstock_sandbox.urls) == ["openai"]
    with penstock.sync.Client(providers=penstock_sandbox.providers) as client:
        assert len(client.complete("openai_compatible/sandbox-model", "Hello").text) > 50
        penstock_sandbox.fault("openai", "break-bytes=9")
        with pytest.raises(penstock.PenstockError) as caught:
            client.complete("openai_compatible/sandbox-model", "Hello")
    assert caught.value.kind == "truncated"
"""


def test_the_fixture_as_others_use_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["penstock.testing.pytest_plugin"]\n')
    (tmp_path / "test_theirs.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:asyncio"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_fault_that_cannot_be_read_is_told_at_once() -> None:
    with (
        running(Sandbox(["openai"])) as sandbox,
        pytest.raises(ValueError, match="no-such"),
    ):
        sandbox.fault("openai", "no-such")


def test_nothing_is_left_of_a_sandbox_that_cannot_start() -> None:
    before = threading.active_count()
    with (
        running(Sandbox(["openai"])) as first,
        pytest.raises(OSError, match="address already in use"),
        running(Sandbox(["openai"], port=int(first.urls["openai"].rpartition(":")[2]))),
    ):
        pytest.fail("two servers listen on one port")
    assert threading.active_count() == before
