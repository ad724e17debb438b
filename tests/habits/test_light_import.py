"""`import penstock` is light, and its names are few and all there."""

from __future__ import annotations

import subprocess
import sys

import penstock

HEAVY = ("aiohttp", "click", "rich", "starlette", "uvicorn", "yarl", "ssl", "asyncio")


def test_import_loads_nothing_heavy_and_opens_nothing() -> None:
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, _: opened.append(event)"
        " if event.startswith(('socket.', 'subprocess.')) else None)\n"
        "import penstock, penstock.errors, penstock.types, penstock.provider\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), opened)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"


def test_public_names_are_at_most_thirty_and_all_resolve() -> None:
    assert len(penstock.__all__) <= 30
    assert sorted(penstock.__all__) == sorted(set(penstock.__all__))
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
