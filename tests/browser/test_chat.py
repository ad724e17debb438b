"""A conversation with one model: text, figures, waiting, stop, retry, edit, keeping."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest
from playwright.sync_api import expect

from tests.browser.stand_in import StandIn
from tests.browser.visitor import Visitor


def until(condition: Callable[[], object], visitor: Visitor) -> None:
    """Wait for something outside of the browser."""
    deadline = monotonic() + 5
    while not condition():
        assert monotonic() < deadline, "did not come true in 5 s"
        visitor.page.wait_for_timeout(10)


def test_an_answer_is_markdown_with_its_figures(visitor: Visitor) -> None:
    visitor.choose("steady")
    visitor.ask("How does a river find the sea?")
    answer = visitor.answered("demo/steady")
    assert visitor.text("demo/steady").startswith("A river finds the sea by a rule that is local")
    assert answer.locator("strong").all_inner_texts() == ["local", "overflows"]
    assert answer.locator("ol li").count() == 3
    assert answer.locator("td").nth(4).inner_text() == "1,233"
    assert answer.locator("td").nth(4).get_attribute("align") == "right"
    figures = visitor.figures("demo/steady")
    assert "first token" in figures
    assert "tokens/s" in figures
    assert "214 tokens" in figures
    assert figures.endswith("finished")


def test_code_has_colours_by_class_and_a_button_that_copies_it(visitor: Visitor) -> None:
    visitor.choose("code")
    visitor.ask("A binary search, please")
    answer = visitor.answered("demo/code")
    expect(answer.locator("code.language-python .hljs-keyword").first).to_have_text("def")
    visitor.press("Copy python code")
    expect(visitor.page.locator(".toast")).to_have_text("Code copied.")
    copied = visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("def find(values: list[int], wanted: int)")
    assert copied.endswith("else None")
    assert "pieces/s" in visitor.figures("demo/code"), "uncounted pieces were called tokens"


def test_what_it_waits_for_is_shown(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("queue")
    visitor.ask("Your turn?")
    waiting = visitor.answer("demo/queue").locator(".waiting")
    for place in (3, 2, 1):
        expect(waiting).to_contain_text(f"In the queue: place {place} of 10")
        gateway.release.set()
    assert visitor.figures("demo/queue").endswith("finished")
    expect(waiting).to_have_count(0)


def test_a_model_that_starts_and_loads_says_so(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("cold")
    visitor.ask("Awake?")
    waiting = visitor.answer("demo/cold").locator(".waiting")
    expect(waiting).to_contain_text("The model is starting")
    gateway.release.set()
    expect(waiting).to_contain_text("Loading: weights, 12 of 40 GB")
    gateway.release.set()
    visitor.answered("demo/cold")


def test_text_appears_while_it_comes(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("held")
    visitor.ask("Slowly")
    answer = visitor.answer("demo/held")
    expect(answer.locator(".markdown")).to_contain_text("A river finds the sea by a rule that is")
    expect(answer).to_have_attribute("aria-busy", "true")
    gateway.release.set()
    assert visitor.figures("demo/held").endswith("finished")


def test_thoughts_are_there_but_folded(visitor: Visitor) -> None:
    visitor.choose("thinker")
    visitor.ask("Think")
    answer = visitor.answered("demo/thinker")
    thought = answer.get_by_text("Rivers run downhill.")
    expect(thought).to_be_hidden()
    answer.get_by_text("What the model thought").click()
    expect(thought).to_be_visible()


@pytest.mark.parametrize("how", ["button", "escape", "send button"])
def test_stop_reaches_the_gateway_and_keeps_the_text(
    visitor: Visitor, gateway: StandIn, how: str
) -> None:
    visitor.choose("endless")
    visitor.ask("Count")
    expect(visitor.answer("demo/endless").locator(".markdown")).to_contain_text("0 1 2 3")
    match how:
        case "button":
            visitor.press("Stop demo/endless")
        case "escape":
            visitor.page.keyboard.press("Escape")
        case _:
            visitor.press("Stop all answers")
    assert visitor.figures("demo/endless").endswith("stopped")
    assert visitor.text("demo/endless").startswith("0 1 2 3")
    until(lambda: gateway.left, visitor)
    assert (gateway.left, len(gateway.asked)) == (["demo/endless"], 1)


def test_an_answer_that_breaks_off_is_kept_and_named(visitor: Visitor) -> None:
    visitor.choose("broken")
    visitor.ask("Try")
    answer = visitor.answered("demo/broken")
    assert visitor.text("demo/broken").startswith("A river finds the sea")
    alert = answer.get_by_role("alert")
    expect(alert).to_contain_text("demo/broken failed while it answered. Try again.")
    expect(alert).to_contain_text("It said: CUDA out of memory")
    assert visitor.figures("demo/broken").endswith("broken off")


def test_a_stream_that_just_ends_is_no_clean_end(visitor: Visitor) -> None:
    visitor.choose("cut")
    visitor.ask("Try")
    expect(visitor.answered("demo/cut").get_by_role("alert")).to_contain_text(
        "The answer broke off before its end. What came is kept."
    )


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("busy", "demo/busy takes no more requests right now. Try again in 12 s."),
        ("credential", "refused the gateway's own credential. Its owner has to look at it."),
    ],
)
def test_a_refusal_is_a_sentence(visitor: Visitor, model: str, sentence: str) -> None:
    visitor.choose(model)
    visitor.ask("Please")
    answer = visitor.answered(f"demo/{model}")
    expect(answer.get_by_role("alert")).to_contain_text(sentence)
    assert visitor.figures(f"demo/{model}").endswith("failed")


def test_retry_asks_again_and_keeps_both_answers(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("moody")
    visitor.ask("Now?")
    expect(visitor.answered("demo/moody").get_by_role("alert")).to_contain_text("overloaded")
    visitor.press("Try again")
    expect(visitor.answer("demo/moody").locator(".versions")).to_contain_text("2/2")
    assert visitor.figures("demo/moody").endswith("finished")
    visitor.press("Earlier answer")
    expect(visitor.answer("demo/moody").get_by_role("alert")).to_contain_text("overloaded")
    expect(visitor.page.get_by_role("button", name="Try again")).to_have_count(0)
    visitor.press("Later answer")
    expect(visitor.answer("demo/moody").get_by_role("alert")).to_have_count(0)
    assert gateway.asked[0]["messages"] == gateway.asked[1]["messages"]


def test_the_history_travels_with_the_next_question(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("short")
    visitor.ask("First")
    assert visitor.figures("demo/short").endswith("cut at the length limit")
    visitor.ask("Second")
    until(lambda: len(gateway.asked) == 2, visitor)
    first, answer, second = gateway.asked[1]["messages"]
    assert first == {"role": "user", "content": "First"}
    assert answer["role"] == "assistant"
    assert answer["content"].startswith("A river finds the sea")
    assert answer["content"].endswith("<https://example.com/rivers>.\n"), "not as it came"
    assert second == {"role": "user", "content": "Second"}


def test_what_to_know_about_an_answer_is_said(visitor: Visitor) -> None:
    visitor.choose("short")
    visitor.ask("Short")
    notes = visitor.answered("demo/short").locator(".notes li")
    expect(notes).to_have_text(
        ["Not obeyed: seed", "The server has lost the earlier turns of this conversation."]
    )
    assert "about 214 tokens" in visitor.figures("demo/short")


def test_an_edited_question_replaces_its_turn_and_can_be_had_back(
    visitor: Visitor, gateway: StandIn
) -> None:
    visitor.choose("steady")
    for question in ("One", "Two", "Three"):
        visitor.ask(question)
        visitor.answered("demo/steady")
    visitor.page.get_by_role("button", name="Edit the question").nth(1).click()
    field = visitor.page.locator(".edit-question textarea")
    expect(field).to_be_focused()
    field.fill("Two, better")
    field.press("Enter")
    visitor.answered("demo/steady")
    bubbles = visitor.page.locator(".bubble")
    expect(bubbles).to_have_text(["One", "Two, better"])
    assert [m["content"] for m in gateway.asked[-1]["messages"]][::2] == ["One", "Two, better"]
    visitor.press("Undo")
    expect(bubbles).to_have_text(["One", "Two", "Three"])


def test_arrow_up_in_an_empty_field_edits_the_last_question(visitor: Visitor) -> None:
    visitor.choose("steady")
    visitor.ask("Tpyo")
    visitor.answered("demo/steady")
    visitor.page.keyboard.press("ArrowUp")
    field = visitor.page.locator(".edit-question textarea")
    expect(field).to_have_value("Tpyo")
    field.press("Escape")
    expect(visitor.page.locator(".bubble")).to_have_text(["Tpyo"])


def test_shift_enter_breaks_the_line_and_an_input_method_does_not_send(
    visitor: Visitor, gateway: StandIn
) -> None:
    field = visitor.page.locator("#composer")
    field.focus()
    visitor.page.keyboard.type("one")
    visitor.page.keyboard.press("Shift+Enter")
    visitor.page.keyboard.type("two")
    expect(field).to_have_value("one\ntwo")
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    assert gateway.asked == []
    field.press("Enter")
    until(lambda: gateway.asked, visitor)
    assert gateway.asked[0]["messages"][0]["content"] == "one\ntwo"


def test_instructions_and_settings_are_sent(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("echo")
    visitor.press("Instructions and settings")
    visitor.page.get_by_label("Instructions for the model").fill("Be brief.")
    visitor.page.get_by_label("Temperature").fill("0.2")
    visitor.page.get_by_label("Longest answer, in tokens").fill("50")
    visitor.ask("Well?")
    visitor.answered("demo/echo")
    asked = gateway.asked[0]
    assert (asked["temperature"], asked["max_tokens"]) == (0.2, 50)
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}


def test_conversations_are_kept_in_this_browser(visitor: Visitor) -> None:
    visitor.choose("steady")
    visitor.ask("Keep me")
    visitor.answered("demo/steady")
    visitor.press("New conversation")
    expect(visitor.page.get_by_role("heading", name="What would you like to ask?")).to_be_visible()
    visitor.page.reload()
    visitor.page.get_by_role("link", name="Keep me").click()
    assert visitor.text("demo/steady").startswith("A river finds the sea")
    visitor.page.reload()
    expect(visitor.page.locator(".bubble")).to_have_text(["Keep me"])


def test_a_conversation_is_renamed_deleted_and_had_back(visitor: Visitor) -> None:
    visitor.choose("steady")
    visitor.ask("A name")
    visitor.answered("demo/steady")
    visitor.page.get_by_role("link", name="A name").hover()
    visitor.press("Rename: A name")
    name = visitor.page.get_by_label("Name of the conversation")
    name.fill("Rivers")
    name.press("Enter")
    entry = visitor.page.get_by_role("link", name="Rivers", exact=True)
    expect(entry).to_be_visible()
    entry.hover()
    visitor.press("Delete: Rivers")
    expect(entry).to_have_count(0)
    visitor.press("Undo")
    entry.click()
    expect(visitor.page.locator(".bubble")).to_have_text(["A name"])


def test_tabs_share_the_list(visitor: Visitor) -> None:
    other = visitor.context.new_page()
    other.goto(visitor.base)
    visitor.choose("steady")
    visitor.ask("Seen in both")
    entry = other.get_by_role("link", name="Seen in both")
    expect(entry).to_be_visible()
    visitor.answered("demo/steady")
    visitor.press("Delete: Seen in both")
    expect(entry).to_have_count(0)
    other.close()


def test_without_storage_it_works_as_long_as_the_tab(visitor: Visitor) -> None:
    visitor.page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
    visitor.page.reload()
    visitor.choose("steady")
    visitor.ask("Only here")
    visitor.answered("demo/steady")
    visitor.press("New conversation")
    visitor.page.get_by_role("link", name="Only here").click()
    assert visitor.text("demo/steady").startswith("A river")


def test_closing_the_tab_in_the_middle_keeps_what_came(visitor: Visitor) -> None:
    visitor.choose("endless")
    visitor.ask("Count")
    expect(visitor.answer("demo/endless").locator(".markdown")).to_contain_text("120 121")
    visitor.page.reload()
    answer = visitor.answered("demo/endless")
    expect(answer.locator(".figures")).to_contain_text("stopped")
    expect(answer.locator(".markdown")).to_contain_text("0 1 2 3")


def test_another_conversation_does_not_stop_the_answer(visitor: Visitor, gateway: StandIn) -> None:
    visitor.choose("held")
    visitor.ask("In the background")
    expect(visitor.answer("demo/held").locator(".markdown")).to_contain_text("A river")
    visitor.press("New conversation")
    gateway.release.set()
    visitor.page.get_by_role("link", name="In the background").click()
    assert visitor.figures("demo/held").endswith("finished")
    assert gateway.left == []


def test_a_gateway_with_keys_asks_for_one_and_the_tab_alone_keeps_it(
    visitor: Visitor, gateway: StandIn
) -> None:
    gateway.key = "pk-sesame"
    visitor.page.reload()
    dialog = visitor.page.get_by_role("dialog", name="Key of this gateway")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("does not know the key in use")
    dialog.get_by_label("Key").fill("pk-sesame")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_have_count(0)
    visitor.choose("steady")
    visitor.ask("Open?")
    visitor.answered("demo/steady")
    page = visitor.page
    assert page.evaluate("Object.values(sessionStorage)") == ["pk-sesame"]
    assert "sesame" not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    other = visitor.context.new_page()
    other.goto(visitor.base)
    expect(other.get_by_role("dialog", name="Key of this gateway")).to_be_visible()
    other.close()


def test_a_gateway_that_is_gone_is_a_sentence(visitor: Visitor) -> None:
    visitor.choose("steady")
    visitor.page.route("**/v1/chat/completions", lambda route: route.abort("connectionrefused"))
    visitor.ask("Hello?")
    alert = visitor.answered("demo/steady").get_by_role("alert")
    expect(alert).to_contain_text("The gateway cannot be reached. Is it still running?")
    visitor.complaints = [c for c in visitor.complaints if "ERR_CONNECTION_REFUSED" not in c]
