"""Every code block of the README and the documentation does what the page says.

The blocks of a page run in order in one empty folder; Python blocks share their names. What a
comment before a block can ask for is explained in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.sandbox import Sandbox
from tests.docs.blocks import Block, blocks_of, commands_of, pages, shows

ROOT = Path(__file__).resolve().parents[2]
Settings = dict[str, dict[str, str]]
COMMAND_LIMIT = 30.0
GUIDE_OF_CLIENTS = "gateway-clients.md"
"""What stands there for foreign clients is run by tests/foreign/test_gateway_guide.py."""


class Page:
    """The state that the blocks of one page share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, object] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Do what the block's language asks for."""
        if name := block.marks.get("file"):
            Path(name).write_text(block.text, "utf-8")
        if block.language == "python":
            self.run_python(block)
        elif block.language == "console":
            self.run_console(block)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)

    def run_python(self, block: Block) -> None:
        """Run the block; line numbers in a traceback are those of the page."""
        source = "\n" * (block.line - 1) + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(self.path), "exec", flags=flags, dont_inherit=True)
        result = eval(code, self.names)
        if isinstance(result, Awaitable):
            asyncio.run(finished(result))

    def run_console(self, block: Block) -> None:
        """Run the commands; only the last one may end otherwise than with 0."""
        commands = commands_of(block)
        for number, (command, shown) in enumerate(commands, 1):
            expected = int(block.marks.get("exit", "0")) if number == len(commands) else 0
            done = subprocess.run(
                ["sh", "-c", command],
                capture_output=True,
                text=True,
                timeout=COMMAND_LIMIT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            said = (done.stdout + done.stderr).strip()
            assert done.returncode == expected, f"$ {command}\n{said}"
            if shown:
                assert shows(shown, said), (
                    f"$ {command}\nthe page shows:\n{shown}\nit says:\n{said}"
                )


async def finished(result: Awaitable[object]) -> None:
    """Await anything awaitable."""
    await result


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with our commands in reach and a plain terminal."""
    monkeypatch.chdir(tmp_path)
    binaries = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([binaries, os.environ.get("PATH", "")]))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture(scope="module")
def servers() -> Iterator[Settings]:
    """The sandbox on a thread of its own, for all pages; what a client must know of it."""
    settings: Future[Settings] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        async with Sandbox() as sandbox:
            settings.set_result(sandbox.providers)
            await asyncio.wrap_future(stop)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if not settings.done():
                settings.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(run)
        try:
            yield settings.result(timeout=20)
        finally:
            stop.set_result(None)
        served.result(timeout=20)


@pytest.fixture
def sandbox(servers: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that names the sandbox, as a reader has it after `penstock sandbox`."""
    lines = []
    for name, table in servers.items():
        lines.append(f"[providers.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    settings = workplace / "sandbox.toml"
    settings.write_text("\n".join(lines), "utf-8")
    settings.chmod(0o600)
    monkeypatch.setenv("PENSTOCK_CONFIG", str(settings))


def each_page() -> list[object]:
    """All pages; those that start a program for almost every line take their time."""
    slow = {"command-line.md", "configuration.md", "replay.md", "recording.md"}
    return [
        pytest.param(
            path,
            id=str(path.relative_to(ROOT)),
            marks=[pytest.mark.slow] if path.name in slow else [],
        )
        for path in pages(ROOT)
    ]


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("path", each_page())
def test_blocks_of_the_page_run(path: Path, request: pytest.FixtureRequest) -> None:
    page = Page(path)
    for block in blocks_of(path.read_text("utf-8")):
        if "sandbox" in block.marks:
            request.getfixturevalue("sandbox")
        if "skip" in block.marks:
            assert block.marks["skip"], f"line {block.line}: a skipped block says why"
            continue
        if "client" in block.marks:
            assert path.name == GUIDE_OF_CLIENTS, f"line {block.line}: nothing runs this one"
            continue
        try:
            page.run(block)
        except Exception as error:
            error.add_note(f"{path.relative_to(ROOT)}, block at line {block.line}")
            raise
