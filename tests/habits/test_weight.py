"""What an installation weighs and an import takes, proved where no slow machine can fail it.

``tools/check_package.py`` counts the packages of a real installation; this counts the lock. Time is
CPU time, the best of several, against what a bare Python takes on the same machine.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.startup import child_time

ROOT = Path(__file__).resolve().parents[2]

MOST_PACKAGES = 18
MOST_SECONDS = 0.080
USUAL_START = 0.025  # of a bare Python, in CPU seconds; where it takes longer, all of it may


def test_the_base_installation_is_small() -> None:
    locked = (ROOT / "requirements" / "base.txt").read_text("utf-8")
    packages = re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)
    assert packages
    assert len(packages) + 1 <= MOST_PACKAGES


def test_the_import_is_quick() -> None:
    bare = child_time("-c", "pass")
    imported = child_time("-c", "import penstock") - bare
    assert imported <= MOST_SECONDS * max(1.0, bare / USUAL_START)
