"""What goes out over a connection, and when that is used again, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from penstock.errors import NetworkError
from penstock.provider import SessionConfig
from penstock.transport import Limits, Session
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest
from tests.sockets import Handler, Peer, ScriptedServer, scripted, unfinished

FORM = "Content-Type: application/octet-stream"
LARGE = b"x" * (16 << 20)


def limits() -> Limits:
    return Limits(Timeouts(first_content=5.0, idle=5.0))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def place(
    handler: Handler, secure: bool, authority: trustme.CA, folder: Path
) -> AsyncIterator[tuple[ScriptedServer, Session]]:
    """A server, with TLS or without, and a session that trusts it."""
    context, bundle = None, None
    if secure:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        bundle = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
    config = SessionConfig(ca_bundle=None if bundle is None else str(bundle))
    async with scripted(handler, tls=context) as server, Session(config) as session:
        yield server, session


async def sent(request: HttpRequest) -> list[str]:
    """The lines of the head that a server gets; ``url`` of the request is below its origin."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with scripted(handler) as server, Session() as session:
        origin = server.url.replace("://", "://" + request.url.partition(" ")[0])
        whole = HttpRequest(
            method=request.method,
            url=origin + request.url.partition(" ")[2],
            headers=request.headers,
            body=request.body,
        )
        await session.fetch(whole, limits())
    port = str(server.port)
    return server.heads[0].replace(port, "PORT").strip().split("\r\n")


async def test_a_question_has_what_its_server_needs_and_no_more() -> None:
    assert await sent(HttpRequest(method="GET", url=" /a?b=c#d")) == [
        "GET /a?b=c HTTP/1.1",
        "Host: 127.0.0.1:PORT",
        "User-Agent: penstock/0.1",
        "Accept: */*",
        "Accept-Encoding: identity",
    ]


async def test_what_the_request_names_goes_as_it_is_in_its_order() -> None:
    headers = (
        ("accept", "text/event-stream"),
        ("Cookie", "a=1"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("USER-AGENT", "mine"),
        ("Content-Type", "application/json"),
    )
    request = HttpRequest(method="POST", url=" ", headers=headers, body="{ä}".encode())
    assert await sent(request) == [
        "POST / HTTP/1.1",
        "Host: 127.0.0.1:PORT",
        "accept: text/event-stream",
        "Cookie: a=1",
        "X-Twice: one",
        "X-Twice: two",
        "USER-AGENT: mine",
        "Content-Type: application/json",
        "Accept-Encoding: identity",
        "Content-Length: 4",
    ]


@pytest.mark.parametrize(
    ("method", "described"), [("POST", True), ("PUT", True), ("PATCH", True), ("DELETE", False)]
)
async def test_an_empty_body_is_told(method: str, described: bool) -> None:
    """RFC 9110 section 8.6: a method that means a body says that there is none."""
    lines = await sent(HttpRequest(method=method, url=" /x"))
    assert lines[-1] == "Content-Length: 0"
    assert (FORM in lines) is described


async def test_a_host_that_is_named_replaces_that_of_the_address() -> None:
    lines = await sent(HttpRequest(method="GET", url=" /", headers=(("Host", "other.example"),)))
    assert [line for line in lines if line.lower().startswith("host:")] == ["Host: other.example"]


async def test_credentials_in_an_address_are_sent_unless_the_request_has_others() -> None:
    told = "Authorization: Basic " + base64.b64encode(b"ann:s@cret").decode()
    assert told in await sent(HttpRequest(method="GET", url="ann:s%40cret@ /"))
    own = (("Authorization", "Bearer b"),)
    lines = await sent(HttpRequest(method="GET", url="ann:s%40cret@ /", headers=own))
    assert [line for line in lines if "uthorization" in line] == ["Authorization: Bearer b"]


async def test_the_length_is_that_of_the_body() -> None:
    """What stands in another header of it would be the begin of the next question."""
    own = (("Content-Length", "1"), ("Transfer-Encoding", "chunked"))
    lines = await sent(HttpRequest(method="POST", url=" /", headers=own, body=b"{}"))
    assert lines[-2:] == [FORM, "Content-Length: 2"]
    assert not any(line.startswith("Transfer-Encoding") for line in lines)


async def test_a_proxy_gets_its_credentials_and_none_in_the_request_line() -> None:
    async def proxy(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.answer(b"ok")

    own = (("Proxy-Authorization", "Basic own"),)
    async with scripted(proxy) as server, Session() as session:
        way = server.url.replace("://", "://proxy:key@")
        url = "http://ann:s%40cret@origin.invalid/a?b=c#d"
        for headers in ((), (), own):  # over a new connection, and over a kept one
            request = HttpRequest(method="GET", url=url, headers=headers)
            await session.fetch(request, limits(), proxy=way)
    told = [
        [line for line in head.split("\r\n") if line.startswith("Proxy-Authorization")]
        for head in server.heads
    ]
    key = "Proxy-Authorization: Basic " + base64.b64encode(b"proxy:key").decode()
    assert told == [[key], [key], ["Proxy-Authorization: Basic own"]]
    for head in server.heads:
        assert head.startswith(
            "GET http://origin.invalid/a?b=c HTTP/1.1\r\nHost: origin.invalid\r\n"
        )


async def test_a_proxy_that_is_asked_for_a_tunnel_is_not_told_what_runs_here() -> None:
    async def proxy(peer: Peer) -> None:
        await peer.request()

    async with scripted(proxy) as server, Session() as session:
        request = HttpRequest(method="GET", url="https://origin.invalid/")
        with pytest.raises(NetworkError, match="proxy"):
            await session.fetch(request, limits(), proxy=server.url)
    agents = [line for line in server.heads[0].split("\r\n") if line.startswith("User-Agent")]
    assert agents == ["User-Agent: penstock/0.1"]


async def test_what_is_said_before_the_answer_is_not_the_answer() -> None:
    """RFC 9110 section 15.2: any number of them may come."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        await peer.answer(b"real")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="POST", url=server.url, body=b"question")
        response, body = await session.fetch(request, limits())
    assert (response.status, body) == (200, b"real")


async def test_a_large_question_arrives_whole() -> None:
    async def handler(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.answer(b"ok")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="POST", url=server.url, body=LARGE)
        for _ in range(2):
            assert (await session.fetch(request, limits()))[1] == b"ok"
        assert [body == LARGE for peer in server.peers for _, body in peer.requests] == [True, True]
        assert len(server.peers) == 1


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_an_answer_that_comes_before_the_whole_question_is_read(
    secure: bool, authority: trustme.CA, tmp_path: Path
) -> None:
    """And the rest of the question stands in nobody's way."""
    over = asyncio.Event()

    async def handler(peer: Peer) -> None:
        if len(server.peers) > 1:
            await peer.request()
            await peer.answer(b"next")
            return
        await peer.read(10)
        await peer.answer(b"too large", 413)
        await over.wait()

    async with place(handler, secure, authority, tmp_path) as (server, session):
        request = HttpRequest(method="POST", url=server.url, body=LARGE)
        response, body = await session.fetch(request, limits())
        assert (response.status, body) == (413, b"too large")
        assert session.open_connections == 0
        small = HttpRequest(method="POST", url=server.url, body=b"small")
        assert (await session.fetch(small, limits()))[1] == b"next"
        over.set()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_who_leaves_while_the_question_goes_out_sends_no_more_of_it(
    secure: bool, authority: trustme.CA, tmp_path: Path
) -> None:
    """A server that reads slowly would else be kept busy with what nobody wants."""
    seen = 0

    async def handler(peer: Peer) -> None:
        nonlocal seen
        await peer.read(10)
        await asyncio.sleep(0.2)
        while True:
            await peer.read(1 << 10)
            seen += 1 << 10

    async with place(handler, secure, authority, tmp_path) as (server, session):
        request = HttpRequest(method="POST", url=server.url, body=LARGE)
        task = asyncio.ensure_future(session.fetch(request, limits()))
        while not server.peers:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.open_connections == 0
        await server.quiet()
    assert seen < len(LARGE)


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
async def test_what_may_be_asked_again_is_asked_once_more(method: str, times: int) -> None:
    """Where the connection breaks before the answer, and each time on a new one."""

    async def handler(peer: Peer) -> None:
        await peer.request()

    async with scripted(handler) as server, Session() as session:
        with pytest.raises(NetworkError):
            await session.fetch(HttpRequest(method=method, url=server.url), limits())
        assert len(server.heads) == times
        assert session.open_connections == 0


async def test_a_connection_that_nobody_holds_any_more_is_closed() -> None:
    async with scripted(unfinished) as server, Session() as session:
        opened = session.open(HttpRequest(method="GET", url=server.url), limits())
        await opened.__aenter__()
        assert session.open_connections == 1
        del opened
        gc.collect()
        assert session.open_connections == 0
        await server.quiet()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_is_reached_by_its_address_and_by_its_name(host: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="GET", url=server.url.replace("127.0.0.1", host))
        assert (await session.fetch(request, limits()))[1] == b"ok"


@pytest.mark.parametrize("host", ["127.1", "2130706433"])
async def test_an_address_in_short_is_refused(host: str) -> None:
    async with scripted(lambda peer: peer.answer(b"ok")) as server, Session() as session:
        request = HttpRequest(method="GET", url=server.url.replace("127.0.0.1", host))
        with pytest.raises(NetworkError, match="not four numbers") as failed:
            await session.fetch(request, limits())
        assert not failed.value.retryable
        assert not server.peers
