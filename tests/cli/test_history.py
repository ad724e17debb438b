"""The lines of earlier chats: one file, its owner's alone, of bounded length."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import history
from penstock.cli.history import History, decoded, encoded
from penstock.config.surroundings import history_file, plain_terminal


def test_entries_of_any_text_come_back() -> None:
    entries = ["one\ntwo", "Žluťoučký 水", '"\\', " \u2028 \x85 "]
    assert decoded(encoded(entries)) == entries


def test_a_line_that_is_no_entry_is_left_out() -> None:
    assert decoded(b'"a"\n{"b": 1}\nc\n\xff\n"d') == ["a"]


def test_an_entry_is_remembered_once(tmp_path: Path) -> None:
    kept = History(tmp_path / "new/history")
    for entry in ("a", "a", "b", "a"):
        kept.add(entry)
    again = History(tmp_path / "new/history")
    again.load()
    assert again.entries == ["a", "b", "a"]


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("")
    file.chmod(0o644)
    History(file).add("a")
    assert file.stat().st_mode & 0o777 == 0o600


def test_two_chats_side_by_side_lose_nothing(tmp_path: Path) -> None:
    one, two = History(tmp_path / "h"), History(tmp_path / "h")
    one.add("a")
    two.add("b")
    one.add("c")
    assert decoded((tmp_path / "h").read_bytes()) == ["a", "b", "c"]


def test_a_long_file_is_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 3)
    file = tmp_path / "h"
    file.write_bytes(encoded([str(number) for number in range(7)]))
    kept = History(file)
    kept.load()
    assert kept.entries == ["4", "5", "6"]
    assert decoded(file.read_bytes()) == ["4", "5", "6"]
    assert [found.name for found in tmp_path.iterdir()] == ["h"]


def test_an_entry_that_is_too_long_is_not_remembered(tmp_path: Path) -> None:
    kept = History(tmp_path / "h")
    kept.add("x" * history.LONGEST)
    assert kept.entries == []
    assert not (tmp_path / "h").exists()


def test_the_place_of_the_history() -> None:
    assert history_file({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/penstock/history")
    assert history_file({"XDG_STATE_HOME": "s", "HOME": "/h"}) == Path(
        "/h/.local/state/penstock/history"
    )
    assert history_file({}) is None


def test_a_terminal_without_control_sequences() -> None:
    assert plain_terminal({"TERM": "dumb"})
    assert plain_terminal({})
    assert not plain_terminal({"TERM": "xterm"})
