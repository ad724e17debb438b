"""Faults of a scenario file, and what ``--verbose`` shows of the requests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from penstock.sandbox.received import Received

PENSTOCK = str(Path(sys.executable).with_name("penstock"))


def ask(url: str) -> int:
    body = b'{"model": "sandbox-model", "messages": [{"role": "user", "content": "Hello"}]}'
    headers = {"Content-Type": "application/json", "Authorization": "Bearer canary"}
    request = urllib.request.Request(url + "/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as refusal:
        status = refusal.code
        refusal.close()
    return status


def test_the_command_takes_a_scenario_and_shows_requests(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text("[[rules]]\npath = 'chat'\nfault = 'status=418'\n")
    command = [PENSTOCK, "sandbox", "--provider=openai", "--json", "--verbose"]
    with subprocess.Popen(
        [*command, f"--scenario={scenario}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["openai"]
        assert [ask(url), ask(url)] == [418, 200]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert told.count("openai  POST /v1/chat/completions\n") == 2
    assert "Authorization: ***" in told
    assert '"content": "Hello"' in told
    assert "canary" not in told


def test_a_scenario_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text("[[rules]]\nfault = 'no-such'\n")
    done = subprocess.run(
        [PENSTOCK, "sandbox", f"--scenario={scenario}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "no-such" in done.stderr


@pytest.mark.parametrize(
    "body",
    [b'{"api_key": "canary", "a": 1}', b"grant=x&password=canary&b=1", b'{"token":"canary"}'],
)
def test_no_secret_is_shown(body: bytes) -> None:
    headers = {"Cookie": "hf-chat=canary", "X-Api-Key": "canary", "Accept": "*/*"}
    shown = Received("h2o", "POST", "/conversation", headers, body).shown()
    assert "canary" not in shown
    assert "Accept: */*" in shown


def test_a_long_body_is_cut_and_cannot_act_on_the_terminal() -> None:
    shown = Received("h2o", "POST", "/", {}, b"\x1b[2J" + b"x" * 5000).shown()
    assert len(shown) < 500
    assert "\x1b" not in shown
    assert shown.endswith("... (5004 bytes)")
