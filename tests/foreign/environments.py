"""Environments of their own for foreign clients, from locks of their own, in ``.cache/foreign``.

One is made once for each content of its lock and each Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tools.setup_environment import index_of_pip, last_line, quiet_environment

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "foreign"


_UNREACHABLE = ("(from versions: none)", "connection broken")
"""What pip says where it reaches no index, and not of a wrong hash or a withdrawn release."""


class NotInstallableError(Exception):
    """The environment cannot be made here, as no package index is reached; the text says why."""


def lock_of(name: str) -> Path:
    """The lock of that environment."""
    return ROOT / "requirements" / f"foreign-{name}.txt"


def python_of(name: str) -> Path:
    """The interpreter of an environment that has what its lock says.

    Raises:
        NotInstallableError: The package index cannot be reached.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests may run on several cores
        return _made(FOLDER / name, lock_of(name))


def _made(place: Path, lock: Path) -> Path:
    python, stamp = place / "bin" / "python", place / "locked"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if not (python.exists() and stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, symlinks=True)
        _install(python, lock)
        stamp.write_text(digest)
    return python


def _install(python: Path, lock: Path) -> None:
    environment = quiet_environment()
    environment |= index_of_pip(environment)
    options = ["--quiet", "--require-hashes", "--no-deps", "-r", str(lock)]
    done = subprocess.run(
        [sys.executable, "-I", "-m", "pip", "--python", python, "install", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr + done.stdout
        if any(sign in said for sign in _UNREACHABLE):
            raise NotInstallableError(last_line(said))
        raise RuntimeError(f"{lock.name} cannot be installed:\n{said}")
