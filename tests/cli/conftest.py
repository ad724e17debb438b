"""What the tests of the command line share: the sandbox on its own thread, and a way to run."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.cli.main import _run
from tests.sandboxed import Servers


@dataclass
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


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
