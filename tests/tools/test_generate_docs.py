from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from tools import generate_docs


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A page without generated parts\n", "utf-8")
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    return tmp_path / "docs" / "page.md"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["generate_docs", *arguments])
    return generate_docs.main()


@pytest.mark.parametrize(
    "name", ["errors", "providers", "providers dialects", "sandbox-options", "vendors"]
)
def test_stale_part_fails_the_check_is_renewed_and_passes(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    page.write_text(
        f"before\n\n<!-- generated: {name} -->\nstale text\n<!-- /generated -->\n\nafter\n"
    )
    assert run(monkeypatch, "--check") == 1
    assert "docs/page.md is stale" in capsys.readouterr().out
    assert "stale text" in page.read_text()
    assert run(monkeypatch) == 0
    text = page.read_text("utf-8")
    assert text.startswith("before\n\n<!--")
    assert text.endswith("<!-- /generated -->\n\nafter\n")
    assert "stale text" not in text
    assert run(monkeypatch, "--check") == 0


def test_unknown_part_is_refused(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write_text("<!-- generated: nothing -->\n<!-- /generated -->\n")
    with pytest.raises(SystemExit, match="no generated part is called 'nothing'"):
        run(monkeypatch, "--check")


class Inner(msgspec.Struct, frozen=True):
    """Another one."""


class Sample(msgspec.Struct):
    """A struct.

    Attributes:
        name: what it is
            called.
        size: how ``big`` | small.
    """

    name: str
    size: int | None = None
    many: tuple[str, ...] = ("a",)
    release: Literal["0.8.2", "2.0"] = "2.0"
    inner: Inner = Inner()


def test_fields_of_a_struct_become_a_table() -> None:
    table = generate_docs.fields(f"{__name__}.Sample", Path())
    assert table.splitlines()[2:] == [
        "| `name` | `str` |  | what it is called. |",
        "| `size` | `int` |  | how `big` \\| small. |",
        "| `many` | `tuple[str, ...]` | `('a',)` |  |",
        "| `release` | `Literal['0.8.2', '2.0']` | `'2.0'` |  |",
        "| `inner` | `Inner` | its defaults |  |",
    ]


def test_options_of_the_sandbox_are_each_servers_own() -> None:
    text = generate_docs.sandbox_options("", Path())
    shared, *servers = text.split("### ")[1:]
    assert "| `cut` |" in shared
    assert {one.split("\n")[0] for one in servers} >= {"`h2o`", "`replicate`", "`cog`"}
    assert not any("| `cut` |" in one for one in servers)


def test_vendors_are_rows() -> None:
    rows = generate_docs.vendor_table("", Path()).splitlines()
    openai = "| `openai` | `https://api.openai.com/v1` | `OPENAI_API_KEY` |"
    assert rows[2].startswith(f"{openai} `max_completion_tokens` |")
    assert "| none |" in rows[-1]


def test_settings_are_told_in_the_words_of_their_file(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Settings(msgspec.Struct):
        """Settings.

        Attributes:
            order: which comes first.
            quiet: say nothing.
            hosts: where.
            name: who.
            limits: bounds.
        """

        order: Literal["first", "last"] = "first"
        quiet: bool = False
        hosts: tuple[str, ...] = ()
        name: str | None = None
        limits: dict[str, int] = {}

    monkeypatch.setattr(generate_docs, "import_from", lambda path: Settings)
    assert generate_docs.fields("any", page.with_name("configuration.md")).splitlines()[2:] == [
        '| `order` | `first` or `last` | `"first"` | which comes first. |',
        "| `quiet` | true or false | `false` | say nothing. |",
        "| `hosts` | list of strings |  | where. |",
        "| `name` | string |  | who. |",
        "| `limits` | table |  | bounds. |",
    ]
