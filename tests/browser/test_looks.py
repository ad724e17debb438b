"""Any width, both colours, every key and screen readers; screenshots to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.stand_in import StandIn
from tests.browser.visitor import Visitor
from tools.build_page import WEB


def shoot(page: Page, name: str) -> None:
    """A picture for people."""
    page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def overflow(page: Page, width: int) -> int:
    """How far the page can be pushed sideways, or its main parts stand out."""
    parts = "[...document.querySelectorAll('#app, .top, .turns, .composer, .box, .status-inner')]"
    right = f"Math.max(...{parts}.map(part => part.getBoundingClientRect().right))"
    wide = "document.documentElement.scrollWidth"
    furthest: float = max(page.evaluate(right), page.evaluate(wide))
    return round(furthest - width)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_every_view(visitor: Visitor, size: str, colours: str) -> None:
    page = visitor.page
    width, height = (390, 844) if size == "phone" else (1500, 900)
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if colours == "dark" else "light")
    expect(page.locator("html")).to_have_attribute("data-theme", colours)
    name = f"{size}-{colours}"
    shoot(page, f"welcome-{name}")
    visitor.choose("code")
    visitor.ask("A binary search, please")
    visitor.answered("demo/code")
    shoot(page, f"code-{name}")
    assert overflow(page, width) == 0
    visitor.choose("steady", "thinker", "busy", "broken")
    visitor.ask("How does a river find the sea?")
    for model in ("steady", "thinker", "busy", "broken"):
        visitor.answered(f"demo/{model}")
    page.locator(".scroller").evaluate("s => s.scrollTo(0, s.scrollHeight - 1500)")
    shoot(page, f"compare-{name}")
    assert overflow(page, width) == 0
    page.get_by_role("link", name="Status").click()
    page.locator(".plots").first.wait_for()
    shoot(page, f"status-{name}")
    assert overflow(page, width) == 0


def test_on_a_phone_the_list_is_a_drawer_and_answers_are_swiped(visitor: Visitor) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.choose("steady", "short")
    visitor.ask("On a phone")
    visitor.answered("demo/steady")
    visitor.answered("demo/short")
    row = page.locator(".answers")
    assert row.evaluate("row => row.scrollWidth > row.clientWidth")
    entry = page.get_by_role("link", name="On a phone")
    expect(entry).to_be_hidden()
    visitor.press("Conversations")
    expect(entry).to_be_visible()
    shoot(page, "drawer-phone")
    page.locator(".veil").click(position={"x": 350, "y": 400})
    expect(entry).to_be_hidden()
    visitor.press("Conversations")
    expect(entry).to_be_visible()
    page.keyboard.press("Escape")
    expect(entry).to_be_hidden()


def test_on_a_desktop_the_list_can_be_put_away(visitor: Visitor) -> None:
    """Then four answers have room beside each other on a smaller screen, too."""
    sidebar = visitor.page.get_by_role("complementary", name="Conversations")
    expect(sidebar).to_be_visible()
    visitor.press("Conversations")
    expect(sidebar).to_be_hidden()
    visitor.press("Conversations")
    expect(sidebar).to_be_visible()


def test_the_choice_of_colours_is_kept(visitor: Visitor) -> None:
    visitor.press("Use dark colours")
    visitor.page.reload()
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "dark")
    visitor.press("Use light colours")
    expect(visitor.page.locator("html")).to_have_attribute("data-theme", "light")


def test_everything_is_done_without_a_mouse(visitor: Visitor, gateway: StandIn) -> None:
    page = visitor.page
    page.locator(".models .chip").first.wait_for()
    page.locator("body").press("/")
    expect(page.locator("#composer")).to_be_focused()
    page.keyboard.type("By keys alone")
    page.keyboard.press("Enter")
    visitor.answered("fast")
    expect(page.locator("#composer")).to_be_focused()
    page.get_by_role("button", name="Ask fast again").focus()
    page.keyboard.press("Enter")
    expect(visitor.answer("fast").locator(".versions")).to_contain_text("2/2")
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("link", name="Chat").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Help")).to_have_count(0)
    expect(page.get_by_role("link", name="Chat")).to_be_focused()
    assert len(gateway.asked) == 2


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing(visitor: Visitor, colours: str) -> None:
    """The rules of WCAG 2.1 AA that a program can check, contrast among them."""
    page = visitor.page
    page.emulate_media(color_scheme="dark" if colours == "dark" else "light")
    source = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")

    def breaches() -> list[str]:
        page.evaluate(source)
        found = page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',"
            # Which headings an answer has is the model's choice.
            " 'best-practice'], rules: {'heading-order': {enabled: false}}})"
        )
        return [
            f"{breach['id']}: {node['html'][:120]}"
            for breach in found["violations"]
            for node in breach["nodes"]
        ]

    assert "\n".join(breaches()) == ""
    visitor.choose("steady", "code", "busy", "thinker")
    visitor.ask("All of you")
    for model in ("steady", "code", "busy", "thinker"):
        visitor.answered(f"demo/{model}")
    assert "\n".join(breaches()) == ""
    visitor.press("Models")
    page.get_by_role("dialog").wait_for()
    assert "\n".join(breaches()) == ""
    visitor.visit("#/status")
    page.reload()
    page.locator(".plots").first.wait_for()
    assert "\n".join(breaches()) == ""
