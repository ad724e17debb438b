"""Somebody who uses the page, and notices everything that it should not do."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request

# A refused request is reported by the browser itself; that one is no fault of the page.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of \d+")


class Visitor:
    """A person at the page.

    Attributes:
        page: what Playwright drives.
        complaints: what the page did that it must not: requests elsewhere, dialogs, errors.
    """

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.context = context
        self.complaints: list[str] = []
        self.page = context.new_page()
        context.on("request", self._saw_request)
        context.on("console", self._saw_console)
        context.on("page", lambda page: page.on("dialog", self._saw_dialog))
        self.page.on("dialog", self._saw_dialog)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def visit(self, address: str = "") -> None:
        """Open the page and wait until it can be used."""
        self.page.goto(self.base + address)
        self.page.get_by_role("navigation", name="Pages").wait_for()

    def choose(self, *models: str) -> None:
        """Have exactly these models chosen, by their full names' last part."""
        # The page chooses the first one itself as soon as it knows the models.
        self.page.locator(".models .chip").first.wait_for()
        self.page.get_by_role("group", name="Models").locator("button.add").click()
        dialog = self.page.get_by_role("dialog", name="Models")
        dialog.get_by_role("checkbox").first.wait_for(state="attached")
        for box in dialog.get_by_role("checkbox", checked=True).all():
            box.uncheck(force=True)
        for model in models:
            dialog.get_by_role("checkbox", name=model, exact=True).check(force=True)
        dialog.get_by_role("button", name="Done").click()

    def ask(self, question: str) -> None:
        """Type a question and send it by the keyboard."""
        field = self.page.locator("#composer")
        field.fill(question)
        field.press("Enter")

    def answer(self, model: str, turn: int = -1) -> Locator:
        """The answer of a model, of the last turn or of another one."""
        found = self.page.get_by_role("region", name=f"Answer of {model}", exact=True)
        return found.nth(turn)

    def answered(self, model: str, turn: int = -1) -> Locator:
        """The same, when it has ended."""
        answer = self.answer(model, turn)
        answer.and_(self.page.locator("[aria-busy=false]")).wait_for()
        return answer

    def text(self, model: str, turn: int = -1) -> str:
        """The words of an answer that has ended."""
        return self.answered(model, turn).locator(".markdown").inner_text()

    def figures(self, model: str) -> str:
        """The line below an answer that has ended."""
        return self.answered(model).locator(".figures").inner_text()

    def press(self, name: str) -> None:
        """Press a button by its words."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def _saw_request(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:image/")):
            self.complaints.append(f"request: {request.url}")

    def _saw_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not EXPECTED.match(message.text):
            self.complaints.append(f"console: {message.text}")

    def _saw_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def only_page(visitor: Visitor) -> Page:
    """The one tab there is: no link or script opened another."""
    (page,) = visitor.context.pages
    return page
