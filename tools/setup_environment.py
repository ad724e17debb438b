"""Build .venv from the locked, hash-checked requirements; do nothing when it is up to date.

Theory of operation. A digest of everything that decides the content of the environment (lock,
pyproject, interpreter, this directory) is kept in the environment itself. Equal digest: nothing
runs and nothing touches the network. Otherwise pip installs the locked uv, uv installs the rest in
seconds, and where uv cannot run or cannot reach the index, pip does the same from the same lock,
only slower. The project itself is installed last, with the build back end that the lock brought,
so this step needs no network either.

Only the standard library may be imported here: there is nothing else yet.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "penstock-setup"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
UV = BIN / ("uv.exe" if os.name == "nt" else "uv")
REQUIREMENTS = ROOT / "requirements"
LOCK = REQUIREMENTS / "dev.txt"
UV_LOCK = REQUIREMENTS / "uv.txt"

PIP_INSTALL = ["-m", "pip", "install", "--require-hashes", "--no-deps", "--quiet"]

# name of the lock -> what uv resolves for it, pyproject.toml being the source
LOCKS = {
    "dev.txt": ["--group", "dev", "--extra", "socks"],
    "base.txt": [],
    "gateway.txt": ["--extra", "gateway", "--extra", "otel"],
    "uv.txt": ["--no-deps", "-"],
}


class SetupError(Exception):
    """A sentence for the person who typed the command."""


def main() -> int:
    """Run the command and turn a failure into one clear sentence."""
    parser = argparse.ArgumentParser(description="Set up the development environment.")
    parser.add_argument("--lock", action="store_true", help="renew requirements/*.txt")
    options = parser.parse_args()
    try:
        set_up()
        if options.lock:
            renew_locks()
            set_up()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def set_up() -> None:
    """Bring .venv to the state the lock describes."""
    digest = environment_digest()
    if STAMP.is_file() and STAMP.read_text() == digest and PYTHON.exists():
        return
    started = time.monotonic()
    print("setup: preparing .venv from requirements/dev.txt", flush=True)
    environment = quiet_environment()
    if not usable_venv():
        create_venv(environment)
    STAMP.unlink(missing_ok=True)
    install_locked(environment)
    install_project(environment)
    STAMP.write_text(digest)
    print(f"setup: ready in {time.monotonic() - started:.1f} s", flush=True)


def environment_digest() -> str:
    """What the environment depends on, as one line."""
    digest = hashlib.sha256()
    for part in (str(ROOT), sys.version, *(path.read_text("utf-8") for path in inputs())):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def inputs() -> list[Path]:
    """The files that decide what is installed."""
    return [LOCK, UV_LOCK, ROOT / "pyproject.toml"]


def quiet_environment() -> dict[str, str]:
    """The caller's environment with noise off and caches where they can be written."""
    environment = dict(os.environ)
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    environment |= {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environment |= {"VIRTUAL_ENV": str(VENV), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("PYTHONHOME", "PYTHONPATH", "PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_TARGET"):
        environment.pop(name, None)
    if not writable_home():
        caches = ROOT / ".cache"
        environment.setdefault("PIP_CACHE_DIR", str(caches / "pip"))
        environment.setdefault("UV_CACHE_DIR", str(caches / "uv"))
    return environment


def writable_home() -> bool:
    """Whether caches can live in the user's home."""
    try:
        home = Path.home()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return True
    except (OSError, RuntimeError):
        return False


def usable_venv() -> bool:
    """Whether .venv has a running Python of this very version and a pip of its own."""
    if not PYTHON.exists():
        return False
    probe = "import sys, pip; print(sys.version)"
    done = subprocess.run([PYTHON, "-I", "-c", probe], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == sys.version.strip()


def create_venv(environment: dict[str, str]) -> None:
    """Make .venv anew, with pip inside."""
    if VENV.exists():
        shutil.rmtree(VENV)
    command = [sys.executable, "-I", "-m", "venv", str(VENV)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise SetupError(
        f"this Python ({sys.executable}) cannot make virtual environments.\n"
        f"setup: Debian and Ubuntu keep that in a package: apt install python{version}-venv\n"
        f"setup: another Python works too: make setup PYTHON=/path/to/python3\n"
        f"setup: it said: {last_line(done.stdout + done.stderr)}"
    )


def install_locked(environment: dict[str, str]) -> None:
    """Install exactly what the lock names: by uv, else by pip."""
    if sync_with_uv(environment):
        return
    done = run(environment, PYTHON, *PIP_INSTALL, "-r", LOCK)
    if done.returncode:
        raise SetupError(
            "could not install the locked requirements; the first time needs a package index.\n"
            + indented(done.stderr or done.stdout)
        )


def sync_with_uv(environment: dict[str, str]) -> bool:
    """Install by uv; False where there is no uv for this machine or it does not get through."""
    if run(environment, PYTHON, *PIP_INSTALL, "-r", UV_LOCK).returncode or not UV.exists():
        return False
    options = ["--quiet", "--require-hashes", "--python"]
    environment = environment | index_of_pip(environment)
    return run(environment, UV, "pip", "sync", *options, PYTHON, LOCK).returncode == 0


def index_of_pip(environment: dict[str, str]) -> dict[str, str]:
    """Pip's configured package index, in the words of uv, which does not read pip's files."""
    done = run(environment, PYTHON, "-m", "pip", "config", "list")
    values: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        values[key.rpartition(".")[2].strip(":")] = value.strip().strip("'\"").replace("\\n", " ")
    found: dict[str, str] = {}
    if "index-url" in values and "UV_INDEX_URL" not in environment:
        found["UV_DEFAULT_INDEX"] = values["index-url"]
    if remote := [u for u in values.get("extra-index-url", "").split() if u.startswith("http")]:
        found["UV_INDEX"] = " ".join(remote)
    if "cert" in values:
        found["SSL_CERT_FILE"] = values["cert"]
    return {name: value for name, value in found.items() if name not in environment}


def install_project(environment: dict[str, str]) -> None:
    """Install this project, editable, with the build back end of the lock: no network."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = run(environment, PYTHON, "-m", "pip", "install", *options, "-e", ROOT)
    if done.returncode:
        raise SetupError("could not install Penstock itself.\n" + indented(done.stderr))


def renew_locks() -> None:
    """Resolve pyproject.toml, and what is foreign, anew for every platform, with hashes."""
    environment = quiet_environment()
    environment |= index_of_pip(environment)
    for name, selection in LOCKS.items():
        sources = selection if "-" in selection else ["pyproject.toml", *selection]
        constraint = [] if name == "dev.txt" else ["--constraint", str(LOCK)]
        renew_lock(environment, name, [*sources, *constraint])
    for source in sorted(REQUIREMENTS.glob("*.in")):
        renew_lock(environment, f"{source.stem}.txt", [str(source)])


def renew_lock(environment: dict[str, str], name: str, sources: list[str]) -> None:
    """Write one lock."""
    target = REQUIREMENTS / name
    command: list[str | Path] = [UV, "pip", "compile", "--quiet", "--universal"]
    command += ["--generate-hashes", "--upgrade", "--python-version", "3.11", "--no-header"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command += [*sources, "--output-file", target]
    done = run(environment, *command, stdin="uv\n" if "-" in sources else None)
    if done.returncode:
        raise SetupError(f"could not resolve {name}.\n" + indented(done.stderr))
    text = target.read_text("utf-8")
    target.write_text(f"# Renewed by `make lock`; do not edit.\n{text}", "utf-8")
    print(f"setup: requirements/{name}: {text.count('==')} packages")


def run(
    environment: dict[str, str], *command: str | Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in the project's directory and keep what it says."""
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def indented(text: str) -> str:
    """What a program complained of, or its last lines, set off from our own words."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if line.lower().startswith("error")]
    return "\n".join(f"    {line}" for line in errors or lines[-8:])


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")


if __name__ == "__main__":
    sys.exit(main())
