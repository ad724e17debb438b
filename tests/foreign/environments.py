"""Environments of their own for foreign clients, from locks of their own, in ``.cache/foreign``.

One is made once for each content of its lock and each Python.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tools.setup_environment import index_of_pip, last_line, quiet_environment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "foreign"


class NotInstallableError(Exception):
    """The environment cannot be made here; the text says why."""


def lock_of(name: str) -> Path:
    """The lock of that environment."""
    return ROOT / "requirements" / f"foreign-{name}.txt"


def python_of(name: str) -> Path:
    """The interpreter of an environment that has what its lock says.

    Raises:
        NotInstallableError: The package index cannot be reached, or does not have it.
    """
    place = FOLDER / name
    python, stamp = place / "bin" / "python", place / "locked"
    digest = hashlib.sha256(lock_of(name).read_bytes() + sys.version.encode()).hexdigest()
    if not (python.exists() and stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True, symlinks=True)
        _install(python, lock_of(name))
        stamp.write_text(digest)
    return python


def _install(python: Path, lock: Path) -> None:
    environment = quiet_environment()
    environment |= index_of_pip(environment)
    options = ["--quiet", "--require-hashes", "--no-deps", "-r", str(lock)]
    done = subprocess.run(
        [python, "-I", "-m", "pip", "install", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotInstallableError(last_line(done.stderr + done.stdout))
