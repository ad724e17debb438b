"""Every page is in the navigation, once, and in an order to read."""

from __future__ import annotations

from pathlib import Path

from tools.docs_navigation import navigation

DOCS = Path(__file__).resolve().parents[2] / "docs"


def listed(docs: Path) -> list[str]:
    return [
        page
        for entry in navigation(docs)
        for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))
    ]


def test_every_page_is_listed_once() -> None:
    found = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed(DOCS)) == sorted(found)


def test_pages_come_in_reading_order_and_unknown_ones_after_them(tmp_path: Path) -> None:
    pages = [
        "start.md",
        "guides/library.md",
        "guides/gateway.md",
        "guides/gateway-clients.md",
        "guides/a-new-one.md",
        "providers/index.md",
        "providers/allenai.md",
        "elsewhere.md",
    ]
    for page in reversed(pages):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).touch()
    assert listed(tmp_path) == ["index.md", *pages]
