"""What the tests of the command line share: the sandbox on its own thread, and a way to run."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import msgspec
import pytest

from penstock.cli.main import _run
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said, cut_tokens
from penstock.sandbox.server import State

NAMES = ("allenai", "openassistant", "h2o", "chatui", "replicate", "openai")


@dataclass
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


class Speaker:
    """Echoes; ``FAIL`` breaks off, ``HOLD`` speaks until it is stopped."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        for piece in cut_tokens(prompt.question):
            yield piece
        if "FAIL" in prompt.question:
            raise ModelFailure("out of memory")
        while "HOLD" in prompt.question:
            yield " on"
            await asyncio.sleep(0.01)


class Servers:
    """The sandbox on a thread of its own."""

    def __init__(self) -> None:
        self._ready: Future[Sandbox] = Future()
        self._stop: Future[None] = Future()
        self._ended = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Servers:
        self._thread.start()
        self.sandbox = self._ready.result(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set_result(None)
        self._thread.join(20)

    async def _serve(self) -> None:
        try:
            async with Sandbox(NAMES, script=Speaker()) as sandbox:
                self._ready.set_result(sandbox)
                await asyncio.wrap_future(self._stop)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def state(self, name: str) -> State:
        """What is open and left on a server."""
        return msgspec.convert(self.sandbox.state(name), State)


@pytest.fixture(scope="package")
def servers() -> Iterator[Servers]:
    with Servers() as running:
        yield running


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(servers: Servers, workplace: Path) -> Path:
    """The file that points every provider at the sandbox."""
    lines = []
    for name, table in servers.sandbox.providers.items():
        lines.append(f"[providers.{name}]")
        lines += [f'{key} = "{value}"' for key, value in table.items()]
    file = workplace / "penstock.toml"
    file.write_text('default_model = "h2o/falcon-40b"\n' + "\n".join(lines))
    file.chmod(0o600)
    return file


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; it sees no terminal."""

    def run(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["penstock", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = _run()
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run
