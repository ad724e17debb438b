"""Environments of their own for what others have made, and one for ours, as a user installs it.

``python -m benchmarks --peers`` makes them in ``.cache/peers``; what is there is measured.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import venv
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.startup import child_time
from tools import check_package

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "peers"

PACKAGES = {
    "openai": ("openai",),
    "httpx-sse": ("httpx", "httpx-sse"),
    "litellm": ("litellm",),
    "g4f": ("g4f",),
}

_IMPORTS = {
    "penstock": "import penstock, penstock.client",
    "openai": "import openai",
    "httpx-sse": "import httpx, httpx_sse",
    "litellm": "import litellm",
    "g4f": "import g4f.client",
}


def python_of(name: str) -> Path:
    """The interpreter of that environment; it need not be there."""
    return FOLDER / name / "bin" / "python"


def make() -> None:
    """Make all environments anew; what cannot be installed is left out, and said."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        wheel = check_package.build(Path(folder))
        check_package.install(wheel, FOLDER / "penstock")
    for name, packages in PACKAGES.items():
        venv.create(FOLDER / name, with_pip=True, symlinks=True)
        pip = [str(python_of(name)), "-I", "-m", "pip", "install", "--quiet", *packages]
        if subprocess.run(pip, check=False).returncode:
            print(f"bench: {name} cannot be installed here")
            shutil.rmtree(FOLDER / name)


def figures() -> list[Figure]:
    """Packages, size and import of each environment that is there."""
    found = []
    for name, statement in _IMPORTS.items():
        python = python_of(name)
        if not python.exists():
            continue
        ours = name == "penstock"
        packages, megabytes = check_package.weigh(python)
        bare = child_time("-I", "-c", "pass", python=python)
        spent = child_time("-I", "-c", statement, python=python) - bare
        limits = (check_package.MAX_PACKAGES, check_package.MAX_MEGABYTES) if ours else (None, None)
        found += [
            Figure(f"{name}, installed packages", packages, "", limits[0]),
            Figure(f"{name}, installed size", megabytes, "MB", limits[1]),
            Figure(f"{name}, import with its client", spent * 1e3, "ms CPU"),
        ]
    return found
