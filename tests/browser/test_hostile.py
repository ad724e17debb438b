"""A hostile model: nothing runs, nothing is loaded, links say where they go."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.stand_in import StandIn
from tests.browser.visitor import Visitor, only_page

TAGS = re.compile(
    r"a|b|bdi|blockquote|br|button|code|del|div|em|figcaption|figure|hr|i|kbd|li|ol|p|pre|s|span"
    r"|strong|sub|sup|table|tbody|td|th|thead|tr|u|ul"
)


@pytest.fixture
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """An origin that notes whoever comes."""
    caught: list[bytes] = []
    ready = threading.Event()
    ended = threading.Event()
    address = ["", 0]

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(await reader.read(200))
        writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(note, "127.0.0.1", 0)
        address[:] = server.sockets[0].getsockname()[:2]
        ready.set()
        async with server:
            while not ended.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(listen(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    yield f"http://{address[0]}:{address[1]}", caught
    ended.set()
    thread.join(5)


def test_nothing_runs_and_nothing_is_loaded(
    visitor: Visitor, gateway: StandIn, trap: tuple[str, list[bytes]]
) -> None:
    origin, caught = trap
    gateway.trap = origin
    visitor.choose("hostile")
    visitor.ask("Be good")
    answer = visitor.answered("demo/hostile")
    expect(answer).to_contain_text("The end of the hostile answer.")
    shown = answer.locator(".markdown")
    # Only what Markdown itself makes is there, and no attribute that acts.
    names = set(shown.locator("*").evaluate_all("all => all.map(e => e.tagName.toLowerCase())"))
    assert [name for name in names if not TAGS.fullmatch(name)] == []
    attributes = shown.locator("*").evaluate_all("all => all.flatMap(e => e.getAttributeNames())")
    assert not {name for name in attributes if name.startswith("on")}
    assert not {"style", "src", "srcset", "id", "name", "action", "ping"} & set(attributes)
    # A click on everything that can be clicked, but for real links, which are looked at below.
    for button in shown.locator("button").all():
        button.click()
    visitor.page.wait_for_timeout(200)
    only_page(visitor)
    assert caught == []


def test_links_are_honest(visitor: Visitor) -> None:
    visitor.choose("hostile")
    visitor.ask("Links")
    links = visitor.answered("demo/hostile").locator(".markdown a")
    addresses = links.evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert addresses
    assert all(a.startswith(("https://", "http://", "mailto:")) for a in addresses), addresses
    rels = set(links.evaluate_all("all => all.map(a => a.rel + ' ' + a.target)"))
    assert rels == {"noopener noreferrer nofollow _blank"}
    words = links.all_inner_texts()
    assert "https://bank.example (thief.example)" in words
    assert "safe (thief.example)" in words
    assert not [a for a in addresses if visitor.base in a], "a link into the gateway itself"


def test_a_hostile_name_or_error_is_text(visitor: Visitor) -> None:
    """Not only answers: what an error says and what a model is called come from elsewhere, too."""
    payload = "<img src=x onerror=alert(1)>"
    page = visitor.page
    page.route(
        "**/v1/models",
        lambda route: route.fulfill(json={"data": [{"id": f"demo/{payload}"}]}),
    )
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            status=400, json={"error": {"message": payload, "code": payload, "param": payload}}
        ),
    )
    page.reload()
    page.locator(".models .chip").first.wait_for()
    visitor.ask(payload)
    expect(page.get_by_role("alert")).to_contain_text(f"It said: {payload}")
    expect(page.locator(".bubble")).to_have_text(payload)
    assert page.locator("img").count() == 0
