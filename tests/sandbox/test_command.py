"""``penstock sandbox``: what it prints is what a client needs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import pytest

import penstock

SANDBOX = (str(Path(sys.executable).with_name("penstock")), "sandbox")
LAST = "Ctrl-C stops them.\n"


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, interrupted at the end as by Ctrl-C."""
    command = [*SANDBOX, "--pace", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


def settings_of(process: subprocess.Popen[str]) -> dict[str, dict[str, str]]:
    """The printed configuration."""
    assert process.stderr is not None
    lines = list(takewhile(lambda line: line != LAST, process.stderr))
    text = "".join(lines[lines.index("[providers.openassistant]\n") :])
    providers: dict[str, dict[str, str]] = tomllib.loads(text)["providers"]
    return providers


def test_the_printed_settings_are_enough_to_ask_every_server() -> None:
    models = {
        "openassistant": "OA_SFT_Llama_30B_6",
        "replicate": "meta/meta-llama-3-70b-instruct",
        "openai_compatible": "sandbox-model",
    }
    names = [f"--provider={name}" for name in ("openassistant", "replicate", "openai")]
    with started(*names) as process:
        settings = settings_of(process)
        assert settings.keys() == models.keys()
        with penstock.sync.Client(providers=settings) as client:
            for provider, model in models.items():
                assert client.complete(f"{provider}/{model}", "one two").text == "one two"


def test_addresses_as_json_are_one_line() -> None:
    with started("--provider=replicate", "--provider=h2o:second", "--json") as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
    assert list(urls) == ["replicate", "replicate.stream", "h2o:second"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--provider=nobody"], "no sandbox 'nobody'"),
        (["--backend=http://127.0.0.1:9"], "--model"),
    ],
)
def test_what_cannot_be_started_is_wrong_usage(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [*SANDBOX, *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
