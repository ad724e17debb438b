"""The import contracts of pyproject.toml find what they forbid.

Each case plants one breach in a copy of the package and names the contracts it must break. The
clean copy must keep them all, so that a broken contract is the work of the plant.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = "A layer imports only layers below it"
PROVIDERS = "Providers do not import each other"
PURE = "Values and decisions touch no I/O, clock, randomness or logging"
HTTP = "Only the transport names the HTTP client"
TERMINAL = "Only the command line names the terminal libraries"
APART = "The sandbox imports nothing of the product"
STARTED = "Only the command line starts the sandbox"

# file that gets one more line, the line, the contracts that must break
BREACHES = [
    ("errors.py", "from penstock.types import Message", {LAYERS}),
    ("transport/planted.py", "from penstock.registry import *", {LAYERS}),
    ("sync.py", "from penstock.testing import *", {LAYERS}),
    ("planted.py", "", {LAYERS}),
    ("providers/h2o/planted.py", "import penstock.providers.replicate", {PROVIDERS}),
    ("providers/common.py", "from penstock.providers import chatui", {PROVIDERS}),
    ("wire/planted.py", "from time import monotonic", {PURE}),
    ("types.py", "def _planted() -> None:\n    import socket", {PURE}),
    ("providers/replicate/dialect/planted.py", "import asyncio", {PURE}),
    ("client.py", "import aiohttp", {HTTP}),
    ("providers/allenai/planted.py", "import aiohttp_socks", {HTTP}),
    ("observe.py", "from rich import print", {TERMINAL}),
    ("sandbox/planted.py", "from penstock.types import Message", {APART}),
    ("client.py", "from penstock.sandbox import server", {STARTED}),
]


def broken_contracts(folder: Path) -> set[str]:
    """The contracts that do not hold in this copy."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = re.findall(r"^(\S.*?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    assert len(verdicts) == len({name for _, _, names in BREACHES for name in names}), done.stdout
    assert done.returncode == int("BROKEN" in dict(verdicts).values())
    return {name for name, verdict in verdicts if verdict == "BROKEN"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package beside a copy of the rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.json")
    )
    return tmp_path


@pytest.mark.slow
def test_rules_hold_in_a_clean_copy(copy: Path) -> None:
    assert broken_contracts(copy) == set()


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line", "broken"), BREACHES, ids=[b[0] for b in BREACHES])
def test_planted_breach_is_found(copy: Path, file: str, line: str, broken: set[str]) -> None:
    path = copy / "src" / "penstock" / file
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as module:
        module.write(f"\n\n{line}\n")
    assert broken_contracts(copy) == broken
