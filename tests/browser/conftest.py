"""Debian's Chromium against the built page, behind a gateway that plays its part."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.stand_in import StandIn, busy_hour, served
from tests.browser.visitor import Visitor
from tools.build_page import ROOT, build_where_stale

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = ROOT / ".cache" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser or a build: it is slow."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def built() -> None:
    """The page, built from the sources as they are; one worker at a time."""
    lock = ROOT / ".cache" / "page.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        build_where_stale()


@pytest.fixture(scope="session")
def browser(built: None) -> Iterator[Browser]:
    """One browser for all tests; each gets a profile of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; Debian: apt install chromium")
    # Chromium's own sandbox does not work for root, which is what containers often run as.
    alone = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=alone)
        yield made
        made.close()


@pytest.fixture
def gateway() -> StandIn:
    """What the page talks to."""
    return StandIn(status=busy_hour)


@pytest.fixture
def base(gateway: StandIn, built: None) -> Iterator[str]:
    """Where it listens."""
    with served(gateway) as url:
        yield url


@pytest.fixture
def visitor(browser: Browser, base: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody at the page on a desktop; leaves a screenshot of the last thing seen.

    At the end the page must have asked nobody but its gateway, opened no dialog, broken no rule
    of its own policy and raised no error.
    """
    SHOTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        permissions=["clipboard-read", "clipboard-write"],
        reduced_motion="reduce",
    )
    context.set_default_timeout(10_000)
    made = Visitor(context, base)
    made.visit()
    yield made
    name = re.sub(r"[^\w.-]+", "-", request.node.name)
    made.page.screenshot(path=str(SHOTS / f"{name}.png"))
    context.close()
    assert made.complaints == []
