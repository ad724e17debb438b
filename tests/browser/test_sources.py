"""The page's own tests, and what its sources must keep to."""

from __future__ import annotations

import json
import re
import subprocess
from typing import get_args

import pytest

from penstock.errors import Kind
from penstock.gateway.errors import CREDENTIAL_KINDS
from tools.build_page import PAGE, WEB, find_node, npm_of


def test_its_decisions_hold(built: None) -> None:
    node = find_node()
    command = [str(node), npm_of(node), "test", "--silent"]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_error_has_a_sentence(kind: Kind) -> None:
    source = (WEB / "src" / "gateway" / "failure.ts").read_text("utf-8")
    code = f"upstream_{kind}" if kind in CREDENTIAL_KINDS else kind
    assert f'case "{code}":' in source


def test_the_lock_names_no_host_and_every_package_by_hash() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 10
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert entry["integrity"].startswith("sha512-"), name


def test_the_built_page_keeps_to_its_policy(built: None) -> None:
    """Nothing inline and nothing from elsewhere, which the policy would block."""
    start = (PAGE / "index.html").read_text("utf-8")
    assert re.findall(r"<script[^>]*>(.+?)</script>", start) == []
    assert "<style" not in start
    assert " style=" not in start
    for address in re.findall(r"(?:src|href)=\"([^\"]*)\"", start):
        assert address.startswith("./"), address
    for sheet in PAGE.glob("assets/*.css"):
        text = sheet.read_text("utf-8")
        assert "@import" not in text
        assert re.findall(r"url\(", text) == []


def test_the_first_visit_is_small(built: None) -> None:
    """What is loaded before the first answer; the colours for code come later."""
    start = (PAGE / "index.html").read_text("utf-8")
    names = re.findall(r"\"\./(assets/[^\"]*)\"", start)
    assert names
    sizes = {name: (PAGE / f"{name}.gz").stat().st_size for name in names}
    assert sum(sizes.values()) < 80_000, sizes


def test_licences_of_what_is_inside_are_told(built: None) -> None:
    told = (PAGE / "licenses.md").read_text("utf-8").lower()
    for library in ("preact", "marked", "dompurify", "highlight.js", "uplot"):
        assert library in told
