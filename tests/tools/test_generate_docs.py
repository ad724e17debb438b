from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize("name", ["errors", "providers", "providers dialects"])
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


def test_fields_of_a_struct_become_a_table() -> None:
    table = generate_docs.fields(f"{__name__}.Sample", Path())
    assert table.splitlines()[2:] == [
        "| `name` | `str` |  | what it is called. |",
        "| `size` | `int` |  | how `big` \\| small. |",
        "| `many` | `tuple[str, ...]` | `('a',)` |  |",
    ]
