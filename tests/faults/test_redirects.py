"""Where a server sends elsewhere; rows 29 to 31 of faults.md."""

from __future__ import annotations

import pytest

from penstock.sandbox.byte_server import Hang, Request, Send, Steps
from tests.faults.ground import DONE, frame, saying, sends, whole

ANSWER = whole(frame("one", "stop") + DONE)


def to(status: int, place: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_row_29_a_question_is_never_sent_again_as_a_get(status: int) -> None:
    async with saying(sends(to(status, "/elsewhere"), Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.failure.status) == ("redirect", status)
        assert not outcome.failure.retryable
        assert [head.split()[0] for head in here.server.requests] == ["POST"]


@pytest.mark.parametrize("status", [307, 308])
async def test_row_29_it_is_sent_again_whole_within_the_host(status: int) -> None:
    steps: Steps = [Request(), Send(to(status, "/v1/chat/completions/")), *sends(ANSWER)]
    async with saying(steps) as here:
        assert (await here.ask()).text == "one"
        assert [head.split()[:2] for head in here.server.requests] == [
            ["POST", "/v1/chat/completions"],
            ["POST", "/v1/chat/completions/"],
        ]
        assert bytes(here.server.connections[0].received).count(b'"content":"hi"') == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_row_30_another_origin_is_not_asked(status: int) -> None:
    async with saying(sends(ANSWER)) as elsewhere:
        for place in (elsewhere.server.url, f"http://localhost:{elsewhere.server.port}/v1"):
            async with saying(sends(to(status, place), Hang())) as here:
                outcome = await here.ask()
                assert (outcome.kind, outcome.failure.status) == ("redirect", status)
                assert "c4nary" not in f"{outcome.failure} {outcome.failure!r}"
        assert elsewhere.server.connections == []


@pytest.mark.parametrize("place", ["/v1/chat/completions", "", "?a=b"])
async def test_row_31_a_circle_has_an_end(place: str) -> None:
    async with saying([Request(), Send(to(307, place))] * 20) as here:
        outcome = await here.ask()
        assert outcome.kind == "redirect"
        assert len(here.server.requests) <= 5


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(
    "place",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//",
        "http://[::1",
        "http://a b/",
        "/a b",
        "\x7f",
    ],
)
async def test_row_31_what_is_no_place_on_the_web(place: str, status: int) -> None:
    async with saying([Request(), Send(to(status, place))] * 20) as here:
        assert (await here.ask()).kind == "redirect"
        assert len(here.server.requests) <= 4
