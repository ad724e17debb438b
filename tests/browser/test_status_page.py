"""The Status tab: every target with its breaker, errors and plots, live."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.browser.stand_in import StandIn, busy_hour
from tests.browser.visitor import Visitor


def test_every_target_is_shown_with_its_breaker_and_errors(visitor: Visitor) -> None:
    visitor.visit("#/status")
    target = visitor.page.get_by_role("article", name="replicate/meta/llama-3-70b")
    expect(target).to_contain_text("resting after failures")
    expect(target).to_contain_text("144 overloaded")
    expect(target).to_contain_text("2 timeout")
    expect(visitor.page.get_by_role("article", name="openassistant/pythia")).to_contain_text(
        "being tried again"
    )
    healthy = visitor.page.get_by_role("article", name="h2o/falcon-40b")
    expect(healthy).to_contain_text("working")
    expect(healthy).to_contain_text("1 running")
    expect(visitor.page.get_by_role("article", name="h2o/vicuna")).to_contain_text(
        "Nothing in the last hour."
    )


def test_plots_are_drawn_and_say_their_values(visitor: Visitor) -> None:
    visitor.visit("#/status")
    target = visitor.page.get_by_role("article", name="h2o/falcon-40b")
    plots = target.get_by_role("img")
    expect(plots).to_have_count(3)
    expect(plots.nth(1)).to_have_accessible_name(
        "h2o/falcon-40b: time to the first token in the last hour, median 609 ms"
    )
    coloured = (
        "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    for canvas in target.locator("canvas").all():
        assert canvas.evaluate(coloured) > 3, "an empty plot"
    target.locator(".u-over").nth(2).hover()
    expect(target.locator(".readout").nth(2)).to_contain_text(":")
    # The cursor is one for all plots.
    expect(target.locator(".readout").nth(0)).to_contain_text(":")


def test_it_is_live_and_says_when_it_is_not(visitor: Visitor, gateway: StandIn) -> None:
    visitor.visit("#/status")
    streams = visitor.page.locator(".summary > div", has_text="Open streams").locator("dd")
    expect(streams).to_have_text("3")

    def busier() -> dict[str, Any]:
        return busy_hour() | {"open_streams": 41}

    gateway.status = busier
    expect(streams).to_have_text("41")
    gateway.status = None
    expect(visitor.page.get_by_role("alert")).to_contain_text("What you see is no longer live.")
    gateway.status = busier
    expect(visitor.page.get_by_role("alert")).to_have_count(0)


def test_idle_models_of_a_long_list_are_folded(visitor: Visitor, gateway: StandIn) -> None:
    hour = busy_hour()
    idle = hour["providers"][0]["targets"][1]
    more = [idle | {"model": f"h2o/idle-{number}"} for number in range(20)]
    hour["providers"][0]["targets"] += more
    gateway.status = lambda: hour
    visitor.visit("#/status")
    articles = visitor.page.get_by_role("article")
    expect(articles).to_have_count(3)
    visitor.press("Show 21 models that nobody asked")
    expect(articles).to_have_count(24)


def test_nobody_asks_while_another_tab_is_shown(visitor: Visitor) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.visit("#/status")
    visitor.page.locator(".summary").wait_for()
    visitor.page.get_by_role("link", name="Chat").click()
    visitor.page.get_by_label("Your question", exact=True).first.wait_for()
    count = len(asked)
    visitor.page.wait_for_timeout(2300)
    assert len(asked) == count
