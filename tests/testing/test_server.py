"""The replay server, from outside: a plain HTTP client on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest

from penstock.testing.replay.case import Case
from penstock.testing.replay.protocols import protocol_of
from penstock.testing.replay.server import SINGLE_BYTES, Delivery, ReplayServer
from tests.testing.recorded import (
    asked,
    case_of,
    cassette,
    deleted,
    exchange,
    frame,
    opened,
    settings,
)

PATH = "/conversation/6b00e63deb3580645cb56caf"


@asynccontextmanager
async def served(
    case: Case, delivery: Delivery = Delivery.RECORDED
) -> AsyncIterator[tuple[ReplayServer, aiohttp.ClientSession, str]]:
    protocol = protocol_of(case)
    assert protocol is not None
    server = ReplayServer(case, protocol, delivery)
    async with server.running(), aiohttp.ClientSession() as session:
        yield server, session, server.origins[case.exchanges[0].request.header("host")]


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_the_recorded_bytes_arrive_however_they_are_cut(delivery: Delivery) -> None:
    parts = [frame(" Привет"), frame(" мир")[:7], frame(" мир")[7:], frame("", whole="x")]
    case = case_of("h2o", [asked("Hi", chunks=parts, headers=[("host", "example.org")])])
    async with (
        served(case, delivery) as (_, session, origin),
        session.post(origin + PATH, json={}) as response,
    ):
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert "content-length" not in response.headers
        assert await response.read() == b"".join(parts)


async def test_bytes_are_read_one_by_one() -> None:
    body = b"data: 0123456789\n\n"
    case = case_of("h2o", [asked("Hi", chunks=[body])])
    async with (
        served(case, Delivery.BYTES) as (_, session, origin),
        session.post(origin + PATH, json={}) as response,
    ):
        reads = [data async for data in response.content.iter_any()]
    assert reads == [body[at : at + 1] for at in range(len(body))]


async def test_a_very_long_body_is_cut_finely_at_both_ends() -> None:
    body = bytes(range(256)) * (SINGLE_BYTES // 100)
    case = case_of("h2o", [asked("Hi", chunks=[body])])
    async with (
        served(case, Delivery.BYTES) as (_, session, origin),
        session.post(origin + PATH, json={}) as response,
    ):
        assert await response.read() == body


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_a_broken_body_ends_without_its_last_chunk(delivery: Delivery) -> None:
    case = case_of("h2o", [asked("Hi", chunks=[b"data: a\n\n"], closed="reset")])
    async with (
        served(case, delivery) as (_, session, origin),
        session.post(origin + PATH, json={}) as response,
    ):
        assert await response.content.readexactly(9) == b"data: a\n\n"
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


@pytest.mark.parametrize("how", [{"left_open": True}, {"closed": "client"}])
async def test_a_body_left_open_stays_open(how: dict[str, object]) -> None:
    case = case_of("h2o", [asked("Hi", chunks=[b"data: a\n\n"], **how)])
    async with (
        served(case) as (_, session, origin),
        session.post(origin + PATH, json={}) as response,
    ):
        assert await response.content.readexactly(9) == b"data: a\n\n"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await response.content.read()


async def test_closing_the_server_ends_what_is_open() -> None:
    case = case_of("h2o", [asked("Hi", chunks=[b"data: a\n\n"], left_open=True)])
    async with served(case) as (_, _, origin):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(origin).port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        await reader.readuntil(b"data: a\n\n")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_a_client_that_leaves_in_the_middle_is_no_error() -> None:
    case = case_of("h2o", [asked("Hi", chunks=[b"x" * 2000] * 20), deleted()])
    for delivery in (Delivery.BYTES, Delivery.RECORDED):
        async with served(case, delivery) as (server, session, origin):
            response = await session.post(origin + PATH, json={})
            await response.content.readexactly(10)
            response.close()
            async with session.delete(origin + PATH) as answer:
                assert answer.status == 200
            assert [request.method for request in server.arrived] == ["POST", "DELETE"]


async def test_a_connection_that_says_nothing_is_no_error() -> None:
    async with served(case_of("h2o", [asked("Hi")])) as (server, _, origin):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(origin).port)
        writer.close()
        await writer.wait_closed()
        assert server.arrived == []


async def test_what_was_not_recorded_gets_a_harmless_answer() -> None:
    async with served(case_of("h2o", [opened()])) as (server, session, origin):
        for method, path, status in (
            ("POST", "/settings", 200),
            ("POST", f"{PATH}/stop-generating", 200),
            ("DELETE", PATH, 200),
            ("GET", "/api/models", 404),
            ("POST", "/elsewhere", 404),
        ):
            async with session.request(method, origin + path) as response:
                assert response.status == status
        assert {request.exchange for request in server.arrived} == {None}


async def test_requests_are_answered_in_order_and_polls_again() -> None:
    polls = [exchange("GET", "/x", answer={"n": number}) for number in range(2)]
    async with served(case_of("h2o", polls)) as (server, session, origin):
        seen = [await (await session.get(f"{origin}/x")).json() for _ in range(3)]
    assert seen == [{"n": 0}, {"n": 1}, {"n": 1}]
    assert [request.again for request in server.arrived] == [False, False, True]


async def test_a_window_bounds_what_answers() -> None:
    case = case_of("h2o", [settings(), opened(), opened(answer={"conversationId": "two"})])
    async with served(case) as (server, session, origin):
        server.window(2, 3)
        async with session.post(f"{origin}/conversation", json={}) as response:
            assert await response.json() == {"conversationId": "two"}
        server.window(0, 1)
        async with session.post(f"{origin}/conversation", json={}) as response:
            assert response.status == 404


async def test_a_list_recorded_earlier_may_be_asked_for_later() -> None:
    case = case_of("h2o", [exchange("GET", "/list", answer=[1]), opened()])
    async with served(case) as (server, session, origin):
        server.window(1, 2)
        async with session.get(f"{origin}/list") as response:
            assert await response.json() == [1]


async def test_a_question_posted_again_gets_its_own_answer() -> None:
    case = cassette("oa-parent-not-complete-400")
    async with served(case) as (server, session, origin):
        url = f"{origin}/api/chat/prompter_message"
        for index in (1, 4):
            async with session.post(url, data=case.exchanges[index].request.content):
                pass
        server.window(5, 7)
        async with session.post(url, data=case.exchanges[1].request.content) as response:
            assert (await response.json())["content"] == "Will fail"


async def test_recorded_hosts_become_local_origins() -> None:
    case = cassette("replicate-stream-basic")
    async with served(case) as (server, session, _):
        api, stream = (server.origins[f"{name}.replicate.com"] for name in ("api", "stream"))
        assert api != stream
        path = case.exchanges[0].request.path
        async with session.post(api + path, json={}) as response:
            urls = (await response.json())["urls"]
            assert urls["get"].startswith(f"{api}/v1/predictions/")
            assert urls["stream"].startswith(f"{stream}/v1/streams/")
        async with session.get(api + urlsplit(urls["stream"]).path) as response:
            assert response.status == 404  # that origin has no such path


async def test_a_redirect_leads_to_the_local_origin() -> None:
    moved = exchange("POST", "/a", status=308, content_type="")
    moved["response"]["headers"] = [("Location", "https://example.org/b")]
    case = case_of("h2o", [moved, exchange("POST", "/b", answer={"ok": 1})])
    async with (
        served(case) as (_, session, origin),
        session.post(f"{origin}/a", data=b"x") as response,
    ):
        assert await response.json() == {"ok": 1}


async def test_statuses_without_a_body_and_without_a_name() -> None:
    case = case_of("h2o", [exchange("GET", "/a", status=204), exchange("GET", "/b", status=299)])
    async with served(case) as (_, session, origin):
        for path, status in (("/a", 204), ("/b", 299)):
            async with session.get(origin + path) as response:
                assert (response.status, await response.read()) == (status, b"")


async def test_encoded_answers_are_left_as_they_are() -> None:
    case = cassette("oa-accept-gzip")
    async with (
        served(case) as (_, session, origin),
        session.get(f"{origin}/api/chat/models") as response,
    ):
        assert response.headers["content-encoding"] == "gzip"
        assert isinstance(await response.json(), list)


async def test_bodies_sent_in_chunks_are_read() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with (
        served(case_of("h2o", [exchange("POST", "/a")])) as (server, session, origin),
        session.post(f"{origin}/a", data=parts()),
    ):
        pass
    assert server.arrived[0].content == b"one two"
