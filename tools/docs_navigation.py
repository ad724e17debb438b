"""Hook of MkDocs: the navigation follows the folders of docs/.

Sections come in reading order. Inside a section its index is first, then the pages that have a
place in it, then the rest by name. A page outside the known sections is listed after them, so that
none is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

FIRST = ("index.md", "start.md")
SECTIONS = ("guides", "providers", "concepts", "reference")
ORDER = (
    "guides/library.md",
    "guides/sync.md",
    "guides/command-line.md",
    "guides/configuration.md",
    "guides/from-gpt4free.md",
    "guides/gateway.md",
    "guides/gateway",
    "guides/page.md",
    "guides/plugins.md",
    "guides/sandbox.md",
    "guides/test-double.md",
    "guides/testing.md",
    "guides/recording.md",
    "guides/replay.md",
    "concepts/answers.md",
    "concepts/conversations.md",
    "concepts/routing.md",
)
"""Beginnings of pages in reading order: what one does first, then how one serves and extends it,
then how one tests it."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give MkDocs the navigation of the pages that exist."""
    config.nav = [*navigation(Path(config.docs_dir))]
    return config


def navigation(docs: Path) -> Iterator[str | dict[str, list[str]]]:
    """The entries in reading order."""
    listed = {docs / name for name in FIRST}
    yield from FIRST
    for section in SECTIONS:
        pages = sorted(
            (p.relative_to(docs).as_posix() for p in (docs / section).glob("**/*.md")), key=place
        )
        listed.update(docs / page for page in pages)
        if pages:
            yield {section.capitalize(): pages}
    yield from (
        p.relative_to(docs).as_posix() for p in sorted(docs.rglob("*.md")) if p not in listed
    )


def place(page: str) -> tuple[bool, int, str]:
    """What the pages of a section are sorted by."""
    known = (number for number, start in enumerate(ORDER) if page.startswith(start))
    return not page.endswith("/index.md"), next(known, len(ORDER)), page
