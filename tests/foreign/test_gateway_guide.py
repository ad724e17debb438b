"""Every example of the guide to the gateway's clients, run by the client it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of, commands_of, shows
from tests.foreign.asking import Place
from tests.foreign.environments import ROOT, NotInstallableError, python_of
from tests.foreign.gateways import gateways
from tests.foreign.node_environment import node_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = ROOT / "docs" / "guides" / "gateway-clients.md"
SHOWN = "http://127.0.0.1:8787"
BLOCKS = [block for block in blocks_of(PAGE.read_text("utf-8")) if "client" in block.marks]
RUN = {"python", "console", "javascript"}
SAID = ("Hello", "Why is the sky blue?")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with gateways() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Path:
    """Where the commands run: it holds the files that the page shows."""
    made = tmp_path_factory.mktemp("guide")
    for block in BLOCKS:
        if name := block.marks.get("file"):
            (made / name).write_text(block.text.replace(SHOWN, place.url), "utf-8")
    return made


def environment_of(client: str, folder: Path) -> dict[str, str]:
    """The client's commands first, and nothing of the one who runs the tests."""
    commands = os.defpath if client == "curl" else f"{python_of(client).parent}:{os.defpath}"
    own = {"HOME": str(folder), "LLM_USER_PATH": str(folder), "PYTHONUTF8": "1"}
    return {"PATH": commands, "PYTHONDONTWRITEBYTECODE": "1", **own}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_block(block: Block, text: str, client: str, folder: Path) -> str:
    """What the block says, as one text; a console block is compared with what the page shows."""
    if client == "node":
        program = Path(node_for("gateway.mjs")[1]).with_name(f"guide-{block.line}.mjs")
        program.write_text(text, "utf-8")  # modules are looked for beside the program
        return run([node_for("gateway.mjs")[0], str(program)], folder, {"PATH": os.defpath})
    environment = environment_of(client, folder)
    if block.language == "python":
        return run([str(python_of(client)), "-c", text], folder, environment)
    said = ""
    for command, shown in commands_of(Block("console", text, block.line, {})):
        told = run(["sh", "-c", command], folder, environment)
        assert shows(shown, told.strip()), f"$ {command}\nit says:\n{told}"
        said += told
    return said


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language in RUN],
    ids=lambda block: f"{block.marks['client']}-{block.line}",
)
def test_the_example_says_what_it_asks(block: Block, place: Place, folder: Path) -> None:
    client = block.marks["client"]
    if client == "curl" and shutil.which("curl", path=os.defpath) is None:
        pytest.skip("there is no curl on this machine")
    try:
        said = run_block(block, block.text.replace(SHOWN, place.url), client, folder)
    except NotInstallableError as problem:
        pytest.skip(f"{client} cannot be installed here: {problem}")
    assert any(text in said for text in (*SAID, "h2o/falcon-40b"))


def test_every_client_of_the_tests_is_on_the_page() -> None:
    clients = {block.marks["client"] for block in BLOCKS}
    assert clients == {"openai", "node", "langchain", "anthropic", "llm", "curl"}
