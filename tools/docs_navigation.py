"""Hook of MkDocs: the navigation follows the folders of docs/.

Sections come in reading order; inside a section, its index first and the rest by name. A page
outside the known sections is listed after them, so that none is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

FIRST = ("index.md", "start.md")
SECTIONS = ("guides", "providers", "concepts", "reference")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give MkDocs the navigation of the pages that exist."""
    config.nav = [*navigation(Path(config.docs_dir))]
    return config


def navigation(docs: Path) -> Iterator[str | dict[str, list[str]]]:
    """The entries in reading order."""
    listed = {docs / name for name in FIRST}
    yield from FIRST
    for section in SECTIONS:
        pages = sorted((docs / section).glob("**/*.md"), key=lambda p: (p.name != "index.md", p))
        listed.update(pages)
        if pages:
            yield {section.capitalize(): [page.relative_to(docs).as_posix() for page in pages]}
    yield from (
        p.relative_to(docs).as_posix() for p in sorted(docs.rglob("*.md")) if p not in listed
    )
