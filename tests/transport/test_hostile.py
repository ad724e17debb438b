"""Servers that do what they should not, and requests that cannot be sent: limits, repeats, secrets.

Rows of faults.md and threats.md are named where they apply.
"""

from __future__ import annotations

import asyncio
import traceback

import pytest

from penstock.errors import BadRequestError, NetworkError, PenstockError, ProtocolError
from penstock.provider import SessionConfig
from penstock.transport import Limits, Session
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest
from tests.sockets import Handler, Peer, scripted

OK = b"HTTP/1.1 200 X\r\n"
HI = b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CANARY = "c4nary-s3cret"


def limits(seconds: float = 2.0) -> Limits:
    return Limits(Timeouts(first_content=seconds, idle=seconds))


def saying(reply: bytes) -> Handler:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    return handler


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK + HI, id="100"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 500 + OK + HI, id="103 often"),
        pytest.param(CHUNKED + b"2\r\nhi\r\n0\r\nX-T: y\r\n\r\n", id="trailer"),
        pytest.param(CHUNKED + b"2;ext=1\r\nhi\r\n0\r\n\r\n", id="chunk extension"),
    ],
)
async def test_what_is_allowed_is_read(reply: bytes) -> None:
    """faults.md rows 26 to 28."""
    async with scripted(saying(reply)) as server, Session() as session:
        _, body = await session.fetch(HttpRequest(method="GET", url=server.url), limits())
    assert body == b"hi"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(CHUNKED + b"2\r\nhi\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", id="trailers"),
        pytest.param(OK + b"X: " + b"a" * (1 << 20) + b"\r\n" + HI, id="long header"),
        pytest.param(OK + b"X: y\r\n" * 20_000 + HI, id="many headers"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n" + HI, id="two lengths"),
        pytest.param(CHUNKED + b"f" * 18 + b"\r\nhello", id="chunk size"),
        pytest.param(OK + b"X: a\0b\r\n" + HI, id="nul"),
    ],
)
async def test_what_is_not_is_a_protocol_error_and_bounded(reply: bytes) -> None:
    """faults.md rows 22, 23, 25, 27, 35."""
    async with scripted(saying(reply)) as server, Session() as session:
        with pytest.raises(ProtocolError):
            await session.fetch(HttpRequest(method="GET", url=server.url), limits())
        assert session.open_connections == 0


async def test_interim_answers_without_end_are_inside_the_limit() -> None:
    """faults.md row 28."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.send(b"HTTP/1.1 103 Hints\r\n\r\n")
            await asyncio.sleep(0.005)

    async with scripted(handler) as server, Session() as session:
        with pytest.raises(PenstockError) as caught:
            await session.fetch(HttpRequest(method="GET", url=server.url), limits(0.1))
        assert caught.value.kind == "timeout"


async def test_an_answer_that_is_longer_than_it_says_costs_its_connection_only() -> None:
    """faults.md row 19."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + HI)
        await asyncio.sleep(0.02)
        await peer.send(b" and what nobody asked for")
        await peer.gone()

    async with scripted(handler) as server, Session() as session:
        for count in (1, 2):
            _, body = await session.fetch(HttpRequest(method="GET", url=server.url), limits())
            assert body == b"hi"
            await server.quiet()
            assert len(server.peers) == count


async def closes_the_second(peer: Peer) -> None:
    """Answers once; a second request on the kept connection meets its end."""
    await peer.request()
    await peer.answer(b"first")
    await peer.request()


async def test_a_stream_is_never_opened_twice_behind_our_back() -> None:
    """faults.md row 45: libraries send idempotent requests again when a kept connection breaks."""
    async with scripted(closes_the_second) as server, Session() as session:
        request = HttpRequest(method="GET", url=server.url)
        await session.fetch(request, limits())
        with pytest.raises(NetworkError) as caught:
            async with session.open(request, limits()):
                pass
        assert caught.value.retryable
        assert len(server.heads) == 2
        assert session.open_connections == 0


async def test_a_plain_question_may_be_asked_again() -> None:
    async with scripted(closes_the_second) as server, Session() as session:
        for _ in range(2):
            request = HttpRequest(method="DELETE", url=server.url)
            _, body = await session.fetch(request, limits())
            assert body == b"first"
        assert len(server.peers) == 2


async def test_a_refusal_whose_body_stalls_is_still_that_refusal() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(503, "Retry-After: 7")
        await peer.chunk(b"no sl")
        await peer.gone()

    async with scripted(handler) as server, Session() as session:
        async with session.open(HttpRequest(method="GET", url=server.url), limits()) as response:
            assert response.status == 503
            assert await response.read_error(0.05) == b"no sl"
        await server.quiet()


async def test_a_large_body_is_uploaded_whole() -> None:
    """Warnings are errors here, and the library has one for large bodies."""
    body = bytes(range(256)) * 12_000

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"taken")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="POST", url=server.url, body=body)
        assert (await session.fetch(request, limits()))[1] == b"taken"
        assert server.peers[0].requests[0][1] == body
        assert f"content-length: {len(body)}" in server.heads[0].lower()


async def test_odd_cookies_do_not_hide_the_others() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        odd = ("=x", "na me=1", '{"j":1}=2; Secure', "a=b=c; path=/", 'q="x y"', "last=1")
        await peer.answer(b"", 200, *(f"Set-Cookie: {cookie}" for cookie in odd))

    async with scripted(handler) as server, Session() as session:
        response, _ = await session.fetch(HttpRequest(method="GET", url=server.url), limits())
    assert response.cookies["a"] == "b=c"
    assert response.cookies["last"] == "1"
    assert response.cookies["q"] == "x y"


async def test_an_ipv6_server_is_reached() -> None:
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + HI)
        writer.close()
        served.set()

    try:
        raw = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with (
        raw,
        Session(SessionConfig(proxy="http://127.0.0.1:9", no_proxy=("::1",))) as session,
    ):
        url = f"http://[::1]:{raw.sockets[0].getsockname()[1]}/"
        assert (await session.fetch(HttpRequest(method="GET", url=url), limits()))[1] == b"hi"
        assert served.is_set()


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest(method="GET", url="http://127.0.0.1:9/a\r\nX: y"),
        HttpRequest(method="GET", url="http://127.0.0.1:9/a b"),
        HttpRequest(method="GET", url="http://127.0.0.1:99999/"),
        HttpRequest(method="GET", url="ftp://127.0.0.1/"),
        HttpRequest(method="GET", url="http:///x"),
        HttpRequest(method="GET", url="http://127.0.0.1:9/", headers=(("A", f"{CANARY}\r\nX: y"),)),
        HttpRequest(method="GET", url="http://127.0.0.1:9/", headers=(("A", f"{CANARY}\0"),)),
        HttpRequest(method="GET", url="http://127.0.0.1:9/", headers=(("A:B", CANARY),)),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_our_edge(request_: HttpRequest) -> None:
    """threats.md row 8."""
    async with Session() as session:
        with pytest.raises(BadRequestError) as caught:
            await session.fetch(request_, limits())
    assert CANARY not in str(caught.value)


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def breaks_off(peer: Peer) -> None:
    await peer.request()
    await peer.head()
    await peer.chunk(b"piece")
    peer.reset()


@pytest.mark.parametrize("way", ["direct", "http proxy", "socks proxy"])
@pytest.mark.parametrize(
    "handler",
    [resets, silent, breaks_off, saying(b"nonsense\r\n\r\n")],
    ids=["reset", "silent", "broken off", "nonsense"],
)
async def test_no_error_of_the_transport_shows_a_secret(handler: Handler, way: str) -> None:
    """threats.md row 9, by a canary in every place a credential can stand in."""
    secret = (("Authorization", f"Bearer {CANARY}"), ("Cookie", f"session={CANARY}"))
    async with scripted(handler) as server:
        scheme = "socks5" if way == "socks proxy" else "http"
        proxy = None if way == "direct" else f"{scheme}://ann:{CANARY}@127.0.0.1:{server.port}"
        url = server.url if way == "direct" else "https://origin.invalid/"
        async with Session(SessionConfig(proxy=proxy)) as session:
            request = HttpRequest(method="POST", url=url, headers=secret, body=CANARY.encode())
            with pytest.raises(PenstockError) as caught:
                await session.fetch(request, limits(0.1))
            shown = [repr(session), repr(session.memory), repr(caught.value)]
    error = caught.value
    shown += ["".join(traceback.format_exception(error)), str(error), str(error.__dict__)]
    assert CANARY not in "".join(shown)
    assert error.__cause__ is None
