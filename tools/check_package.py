"""Build the wheel, install it as a user would, and weigh the result.

A fresh virtual environment outside the repository gets the wheel and the locked base requirements.
Then: the command starts, the import is light, the type marker is there, and the installation stays
within the limits of ``docs/dependencies.md`` (18 packages, 40 MB).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
MAX_PACKAGES = 18
MAX_MEGABYTES = 40
NEVER_IN_WHEEL = ("tests/", "tools/", ".github/")

LIGHT_IMPORT = """
import sys, penstock
heavy = {"aiohttp", "starlette", "uvicorn", "click", "rich", "asyncio"} & set(sys.modules)
sys.exit(f"import penstock loads {sorted(heavy)}" if heavy - {"asyncio"} else 0)
"""


def main() -> int:
    """Run the checks in order; the first failure ends the run with its reason."""
    with tempfile.TemporaryDirectory(prefix="penstock package ") as folder:
        try:
            check_in(Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"package: {' '.join(map(str, error.cmd))}\n{error.stdout}{error.stderr}")
            return 1
        except AssertionError as error:
            print(f"package: {error}")
            return 1
    return 0


def check_in(folder: Path) -> None:
    """Build, install, start, import, weigh."""
    wheel = build(folder)
    check_content(wheel)
    python = install(wheel, folder / "user")
    version = run(python.with_name("penstock"), "--version", cwd=folder).strip()
    expected = wheel.name.split("-")[1]
    assert expected in version, f"`penstock --version` says {version!r}, not {expected}"
    run(python, "-I", "-c", LIGHT_IMPORT, cwd=folder)
    run(python, "-I", "-m", "pip", "check", cwd=folder)
    packages, megabytes = weigh(python)
    print(f"package: {wheel.name} installs {packages} packages, {megabytes:.1f} MB")
    assert packages <= MAX_PACKAGES, f"{packages} packages; {MAX_PACKAGES} are allowed"
    assert megabytes <= MAX_MEGABYTES, f"{megabytes:.1f} MB; {MAX_MEGABYTES} are allowed"


def build(folder: Path) -> Path:
    """The wheel, built from the source distribution so that this one is proved complete too."""
    backend = "import sys; from hatchling import build as b; print(b.build_{}(sys.argv[1]))"
    name = run(sys.executable, "-c", backend.format("sdist"), folder).split()[-1]
    run("tar", "-xzf", folder / name, "-C", folder)
    source = folder / name.removesuffix(".tar.gz")
    wheel = run(sys.executable, "-c", backend.format("wheel"), folder, cwd=source).split()[-1]
    return folder / wheel


def check_content(wheel: Path) -> None:
    """The wheel holds the package, its type marker and its licence, and nothing else."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        headers = Parser().parsestr(archive.read(metadata).decode())
    assert "penstock/py.typed" in names, "py.typed is missing"
    assert "penstock/gateway/page/index.html" in names, "the page is missing"
    assert any(name.endswith("licenses/LICENSE") for name in names), "the licence is missing"
    assert not [n for n in names if n.startswith(NEVER_IN_WHEEL)], "tests or tools are inside"
    assert headers["License-Expression"] == "MIT", "the licence is not stated"


def install(wheel: Path, folder: Path) -> Path:
    """A user's environment with the locked base requirements and the wheel; its Python."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    pip = (python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "base.txt")
    run(*pip, "--no-deps", "--no-index", wheel)
    return python


def weigh(python: Path) -> tuple[int, float]:
    """Packages and megabytes of the environment, without what every environment has."""
    own = ("pip", "setuptools", "wheel", "_distutils_hack", "distutils-precedence", "pkg_resources")
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    packages = [p for p in site.glob("*.dist-info") if not p.name.startswith(own)]
    files = [
        path
        for entry in site.iterdir()
        if not entry.name.startswith(own)
        for path in (entry.rglob("*") if entry.is_dir() else [entry])
        if path.is_file() and path.suffix != ".pyc"
    ]
    return len(packages), sum(path.stat().st_size for path in files) / 1e6


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The output of a program that has to succeed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
