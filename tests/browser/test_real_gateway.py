"""The page before the real gateway over the sandbox: every layer there is, in one test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from hashlib import sha256
from time import monotonic

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.sandbox import Sandbox
from penstock.sandbox.server import State
from tests.browser.visitor import Visitor
from tests.gateway.running import running_gateway

WORDS = " ".join(f"word{number}" for number in range(400))
BACK_ENDS = {
    "allenai": "allenai/tulu3-405b",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "h2o": "h2o/falcon-40b",
}


class Real:
    """A gateway over a sandbox, on a thread of their own."""

    def __init__(self, settings: GatewaySettings | None = None) -> None:
        self._settings = settings
        self.sandbox: Sandbox | None = None
        self._ready: Future[str] = Future()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        try:
            async with (
                Sandbox(pace=0.005) as self.sandbox,
                running_gateway(self.sandbox.providers, self._settings) as gateway,
            ):
                self._ready.set_result(gateway.url + "/")
                while not self._ended.is_set():
                    await asyncio.sleep(0.01)
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def start(self) -> str:
        self._thread.start()
        return self._ready.result(20)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(20)

    def streams(self, server: str) -> int:
        """Streams that a back end still has open."""
        assert self.sandbox is not None
        return msgspec.convert(self.sandbox.state(server), State).open_streams


@pytest.fixture(scope="module")
def real(built: None) -> Iterator[tuple[Real, str]]:
    made = Real()
    url = made.start()
    yield made, url
    made.stop()


@pytest.fixture
def guest(browser: Browser, real: tuple[Real, str]) -> Iterator[Visitor]:
    """Somebody at the page of the real gateway."""
    context = browser.new_context(viewport={"width": 1500, "height": 900})
    context.set_default_timeout(10_000)
    made = Visitor(context, real[1])
    made.visit()
    yield made
    context.close()
    assert made.complaints == []


def test_four_back_ends_answer_side_by_side(guest: Visitor) -> None:
    named(guest, *BACK_ENDS.values())
    guest.ask("One **two** three\n\n    four")
    for model in BACK_ENDS.values():
        figures = guest.figures(model)
        assert "first token" in figures
        assert figures.endswith("finished")
        answer = guest.answered(model).locator(".markdown")
        expect(answer.locator("strong")).to_have_text("two")
        expect(answer.locator("pre")).to_have_text("four")


def test_stop_reaches_every_back_end(guest: Visitor, real: tuple[Real, str]) -> None:
    gateway, _ = real
    named(guest, *BACK_ENDS.values())
    guest.ask(WORDS)
    for model in BACK_ENDS.values():
        expect(guest.answer(model).locator(".markdown")).to_contain_text("word2")
    guest.page.keyboard.press("Escape")
    for model in BACK_ENDS.values():
        assert guest.figures(model).endswith("stopped")
    deadline = monotonic() + 5
    while left := [name for name in BACK_ENDS if gateway.streams(name)]:
        assert monotonic() < deadline, f"still streaming: {left}"
        guest.page.wait_for_timeout(10)


def test_a_conversation_goes_on(guest: Visitor) -> None:
    """This dialect has no messages: the echo of the prompt shows the history."""
    named(guest, BACK_ENDS["h2o"])
    guest.ask("First")
    assert guest.text(BACK_ENDS["h2o"]) == "First"
    guest.ask("Second")
    lines = guest.text(BACK_ENDS["h2o"]).splitlines()
    assert lines == ["User: First", "Assistant: First", "User: Second", "Assistant:"]


def test_an_unknown_model_is_a_sentence(guest: Visitor) -> None:
    named(guest, "nobody/nothing")
    guest.ask("Hello?")
    alert = guest.answered("nobody/nothing").get_by_role("alert")
    expect(alert).to_contain_text("The gateway knows no model named nobody/nothing.")


def test_the_status_tells_of_what_was_asked(guest: Visitor) -> None:
    ill = "openai_compatible/sandbox-model+fault:status=503"
    named(guest, BACK_ENDS["replicate"], ill)
    guest.ask("Count me")
    assert guest.figures(BACK_ENDS["replicate"]).endswith("finished")
    expect(guest.answered(ill).get_by_role("alert")).to_contain_text("is overloaded. Try again")
    guest.page.get_by_role("link", name="Status").click()
    target = guest.page.get_by_role("article", name=BACK_ENDS["replicate"])
    expect(target).to_contain_text("working")
    expect(target.get_by_role("img")).to_have_count(3)
    expect(guest.page.get_by_role("article", name=ill)).to_contain_text("1 overloaded")


def test_its_keys_are_asked_for_and_kept_in_the_tab(browser: Browser, built: None) -> None:
    secret = "pk-a-key-of-this-test"
    key = GatewayKey(hash=f"sha256:{sha256(secret.encode()).hexdigest()}")
    locked = Real(GatewaySettings(keys={"me": key}))
    context = browser.new_context()
    context.set_default_timeout(10_000)
    try:
        guest = Visitor(context, locked.start())
        guest.visit()
        dialog = guest.page.get_by_role("dialog", name="Key of this gateway")
        dialog.get_by_label("Key").fill(secret)
        dialog.get_by_role("button", name="Use this key").click()
        named(guest, BACK_ENDS["allenai"])
        guest.ask("Open?")
        assert guest.text(BACK_ENDS["allenai"]) == "Open?"
        guest.page.get_by_role("link", name="Status").click()
        guest.page.get_by_role("article", name=BACK_ENDS["allenai"]).wait_for()
        assert guest.complaints == []
    finally:
        context.close()
        locked.stop()


def named(guest: Visitor, *models: str) -> None:
    """Choose models by their full names, listed or not."""
    guest.page.locator(".models .chip").first.wait_for()
    guest.page.get_by_role("group", name="Models").locator("button.add").click()
    dialog = guest.page.get_by_role("dialog", name="Models")
    dialog.get_by_role("checkbox").first.wait_for(state="attached")
    for box in dialog.get_by_role("checkbox", checked=True).all():
        box.uncheck(force=True)
    search = dialog.get_by_role("searchbox", name="Search models")
    for model in models:
        search.fill(model)
        search.press("Enter")
        search.fill("")
    expect(dialog).to_contain_text(f"{len(models)} of 4 chosen")
    dialog.get_by_role("button", name="Done").click()
