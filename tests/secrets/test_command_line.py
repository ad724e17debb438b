"""The commands against a server that tells the credential back: nothing of it on any stream."""

from __future__ import annotations

import io
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.cli.main import _run
from penstock.errors import PenstockError
from penstock.sync import Client
from tests.secrets.canaries import (
    API_KEY,
    COOKIE,
    HEADER,
    PASSWORD,
    SESSION,
    assert_unseen,
    found_in,
    texts_of_records,
)
from tests.secrets.echo import FORMS, Echo, echo_in_a_thread

FILE = f"""\
[providers.openai_compatible]
base_url = "URL"
api_key = "{API_KEY}"
headers = {{ "X-Gate" = "{HEADER}" }}

[providers.h2o]
base_url = "URL"
cookies = {{ "hf-chat" = "{COOKIE}", token = "{SESSION}" }}

[providers.replicate]
base_url = "URL"
api_key = "{API_KEY}"

[providers.behind]
base_url = "http://api.invalid"
proxy = "http://ann:{PASSWORD}@PROXY"
api_key = "{API_KEY}"
"""
COMMANDS: dict[str, tuple[str, ...]] = {
    "chat": ("chat", "-m", "openai_compatible/m", "hi"),
    "chat as json": ("chat", "-m", "openai_compatible/m", "--json", "hi"),
    "chat, whole": ("chat", "-m", "openai_compatible/m", "--no-stream", "hi"),
    "chat by cookie": ("chat", "-m", "h2o/falcon-40b", "hi"),
    "chat by proxy": ("chat", "-m", "behind/m", "hi"),
    "replicate": ("chat", "-m", "replicate/meta/meta-llama-3-8b-instruct", "hi"),
    "doctor": ("doctor",),
    "doctor as json": ("doctor", "--json"),
    "models": ("models",),
    "models of one": ("models", "openai_compatible"),
    "models of another": ("models", "replicate"),
    "providers": ("providers",),
    "config": ("config",),
    "config show": ("config", "show"),
    "config check": ("config", "check"),
    "a wrong option": ("chat", "-m", "openai_compatible/m", "--temperature", API_KEY, "hi"),
}


@pytest.fixture
def server() -> Iterator[Echo]:
    """The echo in a thread of its own, as commands run loops of their own."""
    with echo_in_a_thread() as running:
        yield running


@pytest.fixture
def configured(server: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "penstock.toml"
    file.write_text(FILE.replace("URL", server.url).replace("PROXY", server.url[7:]))
    file.chmod(0o644)  # others may read it: the warning about that shows no secret either
    monkeypatch.chdir(tmp_path)
    return file


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["penstock", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = _run()
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("status", [401, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_a_secret(
    command: str,
    status: int,
    server: Echo,
    configured: Path,
    run: Callable[..., tuple[int, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.status, server.form = status, FORMS["nested"]
    code, out, err = run(*COMMANDS[command])
    if command == "a wrong option":
        # What was typed is shown to who typed it; nothing else is.
        err = err.replace(API_KEY, "")
        assert code == 2
    assert out or err
    assert_unseen({"stdout": out, "stderr": err})
    assert_unseen(texts_of_records(caplog.records))


def test_a_recording_of_a_server_that_tells_all(server: Echo, tmp_path: Path) -> None:
    server.status, server.form = 401, FORMS["nested"]
    command = [sys.executable, "-m", "penstock", "record", "--provider", "openai_compatible"]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "cases"), "--", server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        config = {"base_url": url, "api_key": API_KEY, "headers": {"X-Api-Key": HEADER}}
        with (
            Client(providers={"openai_compatible": config}) as client,
            pytest.raises(PenstockError),
        ):
            client.complete("openai_compatible/m", "hi")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert any(map(found_in, server.sent)), "the server was told"
    (file,) = (tmp_path / "cases").iterdir()
    assert_unseen({"out": out, "err": err, "file": file.read_text()})
