"""``penstock serve`` as its user starts it: a process with a folder, a file and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MODEL = "openai_compatible/sandbox-model"
PATIENCE = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until that holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def environment(place: Path) -> dict[str, str]:
    """Nothing of the user's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(place), "TMPDIR": str(place)}


def command(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "penstock", *arguments]


class Program:
    """A gateway that runs.

    Attributes:
        lines: what it printed when it had started.
        url: where it is.
    """

    def __init__(self, process: subprocess.Popen[str], told: Path) -> None:
        self.process = process
        self._told = told
        assert process.stdout is not None
        self.lines = [process.stdout.readline().rstrip("\n") for _ in range(3)]
        found = re.search(r"http://\S+:\d+", self.lines[0])
        assert found, (self.lines, self.log)
        self.url = found[0]

    @property
    def log(self) -> str:
        """What it has said on stderr."""
        return self._told.read_text("utf-8")

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def open(self, path: str, body: Any = None) -> HTTPResponse:
        """One request on a connection of its own; the answer is not yet read."""
        asking = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        sent = None if body is None else json.dumps(body).encode()
        asking.request("GET" if body is None else "POST", path, sent, {"connection": "close"})
        return asking.getresponse()

    def get(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        with self.open(path, body) as answer:
            return answer.status, json.loads(answer.read())

    def chat(self, question: str, model: str = MODEL) -> str:
        """A whole answer."""
        status, answer = self.get("/v1/chat/completions", asked(question, model))
        assert status == 200, answer
        text: str = answer["choices"][0]["message"]["content"]
        return text

    def stream(self, question: str, model: str = MODEL) -> HTTPResponse:
        """A streamed answer, of which the first piece has come."""
        answer = self.open("/v1/chat/completions", {**asked(question, model), "stream": True})
        assert answer.status == 200
        while b'"content":"' not in answer.readline():
            pass
        return answer

    def says(self, words: str) -> None:
        """Wait until it has said these words on stderr."""
        until(lambda: words in self.log)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end: the exit status."""
        return self.process.wait(PATIENCE)


def asked(question: str, model: str = MODEL) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": question}]}


@contextmanager
def started(
    place: Path, *arguments: str, config: str = "", sandbox: bool = True
) -> Iterator[Program]:
    """A gateway on a free port, with this configuration; ended politely at the end of the block."""
    if config:
        (place / "penstock.toml").write_text(config, "utf-8")
    told = place / "stderr"
    options = ["serve", "--port", "0", *(["--sandbox"] if sandbox else []), *arguments]
    with told.open("w") as stderr:
        process = subprocess.Popen(
            command(*options),
            cwd=place,
            env=environment(place),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Program(process, told)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, told.read_text("utf-8")
    finally:
        process.kill()
        process.communicate()


def refused(place: Path, *arguments: str) -> tuple[int, str]:
    """A start that ends by itself: exit status, and what it said on stderr."""
    done = subprocess.run(
        command(*arguments),
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr
