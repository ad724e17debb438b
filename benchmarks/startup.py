"""What a user waits for before anything happens, in CPU time of a fresh Python."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figure

ROUNDS = 7


def figures() -> list[Figure]:
    """Import and the two fastest commands."""
    bare = child_time("-c", "pass")
    imported = child_time("-c", "import penstock") - bare
    command = str(Path(sys.executable).with_name("penstock"))
    return [
        Figure("import penstock, over bare Python", imported * 1e3, "ms", 80),
        Figure("import penstock.client, over bare Python", _client(bare) * 1e3, "ms"),
        Figure("penstock --version", child_time(command, "--version") * 1e3, "ms", 150),
        Figure("penstock --help", child_time(command, "--help") * 1e3, "ms", 150),
    ]


def _client(bare: float) -> float:
    return child_time("-c", "import penstock.client") - bare


def child_time(*arguments: str, python: Path = Path(sys.executable)) -> float:
    """The least CPU seconds that a Python with these arguments took."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(python), *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, spent)
    return best
