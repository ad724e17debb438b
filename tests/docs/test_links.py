"""Links of the pages outside docs/ lead somewhere; MkDocs checks those inside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_relative_links_lead_to_files(name: str) -> None:
    targets = LINK.findall((ROOT / name).read_text("utf-8"))
    assert not [t for t in targets if "://" not in t and not (ROOT / t).exists()]
