"""The environment of clients that run on Node: ``tests/foreign/npm``, installed once for its lock.

Node is the machine's, or the one that builds the page.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.foreign.environments import FOLDER, NotInstallableError
from tools.build_page import BuildError, find_node, npm_of
from tools.setup_environment import last_line, quiet_environment

SOURCE = Path(__file__).parent / "npm"
_DESCRIBED = ("package.json", "package-lock.json")
_UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH")
"""What npm says where it reaches no index, and not of a wrong hash or a withdrawn release."""


def node_for(program: str) -> list[str]:
    """The beginning of the command line of a program in ``npm/``.

    Raises:
        NotInstallableError: The package index cannot be reached.
    """
    try:
        node = find_node()
        npm = npm_of(node)
    except BuildError as problem:
        raise NotInstallableError(last_line(str(problem))) from None
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "npm.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests may run on several cores
        place = _made(node, npm)
    shutil.copy(SOURCE / program, place / program)  # modules are looked for beside the program
    return [str(node), str(place / program)]


def _made(node: Path, npm: str) -> Path:
    place = FOLDER / "npm"
    stamp = place / "locked"
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in _DESCRIBED))
    if not (stamp.is_file() and stamp.read_text() == digest.hexdigest()):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name in _DESCRIBED:
            shutil.copy(SOURCE / name, place / name)
        _install(node, npm, place)
        stamp.write_text(digest.hexdigest())
    return place


def _install(node: Path, npm: str, place: Path) -> None:
    environment = quiet_environment()
    environment["PATH"] = f"{node.parent}:{environment.get('PATH', '')}"
    done = subprocess.run(
        [node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stdout + done.stderr
        if any(sign in said for sign in _UNREACHABLE):
            raise NotInstallableError(last_line(said))
        raise RuntimeError(f"npm/package-lock.json cannot be installed:\n{said}")
