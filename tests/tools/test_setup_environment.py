"""What `make setup` decides; that it works is proved by tools/fresh_clone.sh and the CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import setup_environment

ROOT = Path(__file__).resolve().parents[2]


def pip_says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, text, "")

    monkeypatch.setattr(setup_environment, "run", run)


def test_index_of_pip_is_passed_on_in_the_words_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(
        monkeypatch,
        "global.index-url='https://mirror.example/simple'\n"
        ":env:.extra-index-url='https://more.example/simple file:///srv/wheels'\n"
        "global.cert='/etc/ca.pem'\nglobal.timeout='60'\n",
    )
    assert setup_environment.index_of_pip({}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_what_the_user_told_uv_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(monkeypatch, "global.index-url='https://mirror.example/simple'\n")
    assert setup_environment.index_of_pip({"UV_DEFAULT_INDEX": "https://own.example"}) == {}
    assert setup_environment.index_of_pip({"UV_INDEX_URL": "https://own.example"}) == {}


def test_digest_depends_on_lock_project_place_and_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digests = [setup_environment.environment_digest()]
    assert setup_environment.environment_digest() == digests[0]
    lock = tmp_path / "dev.txt"
    lock.write_text("a==1\n")
    monkeypatch.setattr(setup_environment, "LOCK", lock)
    digests.append(setup_environment.environment_digest())
    monkeypatch.setattr(setup_environment, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    digests.append(setup_environment.environment_digest())
    monkeypatch.setattr(sys, "version", "another")
    digests.append(setup_environment.environment_digest())
    assert len(set(digests)) == 4


def test_caches_stay_in_the_project_where_there_is_no_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    environment = setup_environment.quiet_environment()
    assert environment["UV_CACHE_DIR"].startswith(str(ROOT))
    assert environment["PIP_CACHE_DIR"].startswith(str(ROOT))


def fake_python(folder: Path) -> Path:
    path = folder / "python3"
    path.write_text('#!/bin/sh\necho "Python 3.9.2"\nexit 1\n')
    path.chmod(0o755)
    return path


def test_too_old_python_is_named(tmp_path: Path) -> None:
    fake_python(tmp_path)
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/sh", ROOT / "tools" / "setup"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or later; found: Python 3.9.2" in done.stderr


@pytest.mark.parametrize("name", ["PYTHON", "nothing"])
def test_chosen_python_that_does_not_serve_is_named(tmp_path: Path, name: str) -> None:
    chosen = fake_python(tmp_path) if name == "PYTHON" else tmp_path / name
    done = subprocess.run(
        ["/bin/sh", ROOT / "tools" / "setup"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(chosen)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{chosen} is not a working Python 3.11 or later" in done.stderr
