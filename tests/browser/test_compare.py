"""Up to four models on the same question, side by side."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.stand_in import StandIn
from tests.browser.visitor import Visitor


def test_four_answers_stand_side_by_side(visitor: Visitor, gateway: StandIn) -> None:
    visitor.page.set_viewport_size({"width": 1500, "height": 900})
    visitor.choose("steady", "code", "busy", "cut")
    visitor.ask("All of you")
    for model in ("steady", "code", "busy", "cut"):
        visitor.answered(f"demo/{model}")
    boxes = [visitor.answer(f"demo/{m}").bounding_box() for m in ("steady", "code", "busy", "cut")]
    places = [(box["x"], box["y"]) for box in boxes if box]
    assert len({y for _, y in places}) == 1, "not in one row"
    assert places == sorted(places), "not in the order of choice"
    assert {body["model"] for body in gateway.asked} == {
        "demo/steady",
        "demo/code",
        "demo/busy",
        "demo/cut",
    }


def test_a_fifth_model_cannot_be_chosen(visitor: Visitor) -> None:
    visitor.choose("steady", "code", "busy", "cut")
    visitor.press("Models")
    dialog = visitor.page.get_by_role("dialog", name="Models")
    expect(dialog).to_contain_text("4 of 4 chosen")
    expect(dialog.get_by_role("checkbox", name="echo")).to_be_disabled()


def test_one_is_stopped_and_the_others_go_on(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("endless", "held")
    visitor.ask("Both")
    expect(visitor.answer("demo/held").locator(".markdown")).to_contain_text("A river")
    visitor.press("Stop demo/endless")
    assert visitor.figures("demo/endless").endswith("stopped")
    expect(visitor.answer("demo/held")).to_have_attribute("aria-busy", "true")
    gateway.release.set()
    assert visitor.figures("demo/held").endswith("finished")


def test_each_sees_its_own_answers(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("steady", "code")
    visitor.ask("One")
    visitor.answered("demo/steady")
    visitor.answered("demo/code")
    visitor.ask("Two")
    visitor.answered("demo/steady")
    visitor.answered("demo/code")
    seen = {body["model"]: body["messages"][1]["content"] for body in gateway.asked[2:]}
    assert seen["demo/steady"].startswith("A river")
    assert seen["demo/code"].startswith("### A binary search")


def test_models_are_searched_dropped_and_named_freely(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("steady")
    visitor.press("Compare")
    dialog = visitor.page.get_by_role("dialog", name="Models")
    search = dialog.get_by_role("searchbox", name="Search models")
    expect(search).to_be_focused()
    search.fill("ECH")
    expect(dialog.get_by_role("checkbox")).to_have_count(1)
    search.press("Enter")
    search.fill("other/unlisted-7b")
    dialog.get_by_text("Use other/unlisted-7b").click()
    dialog.get_by_role("button", name="Done").click()
    visitor.press("Remove demo/steady")
    visitor.ask("Who?")
    visitor.answered("demo/echo")
    alert = visitor.answered("other/unlisted-7b").get_by_role("alert")
    expect(alert).to_contain_text("The gateway knows no model named other/unlisted-7b.")
    assert {body["model"] for body in gateway.asked} == {"demo/echo", "other/unlisted-7b"}
