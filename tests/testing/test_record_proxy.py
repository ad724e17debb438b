"""The recording proxy on real sockets: what passes, what ends how, and what it refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme

from penstock.errors import BadRequestError, ConfigError
from penstock.testing.record import Recorder
from penstock.testing.record.proxy import Proxy
from penstock.testing.replay.case import Exchange
from tests.sockets import Peer, scripted


class Taken:
    """What a proxy recorded."""

    def __init__(self) -> None:
        self.exchanges: dict[int, Exchange] = {}
        self.lost: list[str] = []
        self.changed = asyncio.Event()

    def done(self, number: int, exchange: Exchange) -> None:
        self.exchanges[number] = exchange
        self.changed.set()

    def failed(self, sentence: str) -> None:
        self.lost.append(sentence)
        self.changed.set()

    async def first(self) -> Exchange:
        async with asyncio.timeout(5):
            await self.changed.wait()
        return self.exchanges[1]


@asynccontextmanager
async def proxied(url: str, **options: Any) -> AsyncIterator[tuple[Proxy, Taken]]:
    taken = Taken()
    async with Proxy(url, done=taken.done, failed=taken.failed, **options) as proxy:
        yield proxy, taken


@asynccontextmanager
async def connected(
    proxy: Proxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(proxy.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def get(url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer as it comes, whatever its encoding."""
    session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
    async with session, session.get(url, **options) as answer:
        yield answer


def asked(proxy: Proxy, path: str = "/", *headers: str, host: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or urlsplit(proxy.url).netloc}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_each_read_is_passed_on_before_the_next_comes() -> None:
    heard = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(b"data: one\n\n")
        await heard.wait()
        await peer.chunk(b"data: two\n\n")
        await peer.end()

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with get(proxy.url) as answer, asyncio.timeout(5):
            assert await answer.content.readany() == b"data: one\n\n"
            heard.set()
            assert await answer.content.read() == b"data: two\n\n"
        response = (await taken.first()).response
    assert [chunk.b64 for chunk in response.chunks] == [b"data: one\n\n", b"data: two\n\n"]
    assert 0 < response.chunks[0].t <= response.chunks[1].t
    assert response.closed == "clean"


async def test_headers_go_both_ways_with_addresses_exchanged() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        origin = server.url
        body = json.dumps({"next": f"{origin}/more", "text": f"see {origin}/more"}).encode()
        await peer.answer(
            body,
            201,
            "Content-Type: application/json",
            f"Location: {origin}/there?x=1",
            "Set-Cookie: a=1; Domain=example.org; Path=/",
            "Set-Cookie: b=2; HttpOnly",
        )

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        headers = {"Origin": proxy.url, "Referer": f"{proxy.url}/page", "Accept-Encoding": "gzip"}
        async with get(f"{proxy.url}/a%2Fb?q=%20", headers=headers) as answer:
            assert answer.status == 201
            assert answer.headers["Location"] == f"{proxy.url}/there?x=1"
            cookies = answer.headers.getall("Set-Cookie")
            assert cookies == ["a=1; Path=/", "b=2; HttpOnly"]
            assert await answer.json() == {
                "next": f"{proxy.url}/more",
                "text": f"see {server.url}/more",
            }
        exchange = await taken.first()
        head = server.heads[0]
    assert head.startswith("GET /a%2Fb?q=%20 HTTP/1.1\r\n")
    request = exchange.request
    assert (request.path, request.query) == ("/a%2Fb", "q=%20")
    assert request.header("host") == urlsplit(server.url).netloc
    assert request.header("origin") == server.url
    assert request.header("referer") == f"{server.url}/page"
    assert request.header("accept-encoding") == "identity"
    assert exchange.response.header("location") == f"{server.url}/there?x=1"
    assert f"{server.url}/more".encode() in exchange.response.content


async def test_an_address_cut_in_two_reads_is_exchanged_all_the_same() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: application/json")
        body = json.dumps({"next": f"{server.url}/more", "open": "http"}).encode()
        for at in range(len(body)):
            await peer.chunk(body[at : at + 1])
        await peer.end()

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with get(proxy.url) as answer:
            assert await answer.json() == {"next": f"{proxy.url}/more", "open": "http"}
        assert server.url.encode() in (await taken.first()).response.content


async def test_another_port_of_the_server_gets_a_listener_and_strangers_do_not() -> None:
    async def second(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"from the second")

    async def first(peer: Peer) -> None:
        await peer.request()
        body = json.dumps({"stream": f"{other.url}/s/1", "docs": "https://docs.example.org/x"})
        await peer.answer(body.encode(), 200, "Content-Type: application/json")

    async with (
        scripted(second) as other,
        scripted(first) as server,
        proxied(server.url) as (proxy, taken),
    ):
        async with get(proxy.url) as answer:
            urls = await answer.json()
        async with get(urls["stream"]) as answer:
            assert await answer.text() == "from the second"
        assert urls["docs"] == "https://docs.example.org/x"
        assert urls["stream"] == f"{proxy.origins[other.url]}/s/1"
    hosts = [taken.exchanges[number].request.header("host") for number in (1, 2)]
    assert hosts == [urlsplit(server.url).netloc, urlsplit(other.url).netloc]


async def test_an_upstream_that_breaks_off_breaks_off_here() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/plain")
        await peer.chunk(b"half")

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with get(proxy.url) as answer:
            assert await answer.content.readany() == b"half"
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
        response = (await taken.first()).response
    assert (response.content, response.closed) == (b"half", "reset")


async def test_a_client_that_leaves_closes_the_upstream() -> None:
    gone = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(b"data: one\n\n")
        await peer.gone()
        gone.set()

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with connected(proxy) as (reader, writer):
            writer.write(asked(proxy))
            await reader.readuntil(b"data: one")
        async with asyncio.timeout(1):
            await gone.wait()
        response = (await taken.first()).response
        await server.quiet()
    assert (response.content, response.closed) == (b"data: one\n\n", "client")


async def test_a_client_that_leaves_before_the_answer_closes_the_upstream() -> None:
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        waiting.set()
        await peer.gone()
        gone.set()

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with connected(proxy) as (_, writer):
            writer.write(asked(proxy, "/slow"))
            async with asyncio.timeout(5):
                await waiting.wait()
        async with asyncio.timeout(1):
            await gone.wait()
            await taken.changed.wait()
    assert taken.exchanges == {}
    assert taken.lost == ["GET /slow: the client left before the answer"]


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    sent = 0
    stalled = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.head(200, "Content-Type: text/plain")
        try:
            for _ in range(4000):
                async with asyncio.timeout(0.5):
                    await peer.chunk(b"x" * 16384)
                sent += 16384
        except TimeoutError:
            stalled.set()

    async with scripted(handler) as server, proxied(server.url) as (proxy, _):
        parts = urlsplit(proxy.url)
        with socket.create_connection((parts.hostname, parts.port or 0)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.sendall(asked(proxy))
            async with asyncio.timeout(20):
                await stalled.wait()
    assert 0 < sent < 32 << 20


async def test_stopping_in_the_middle_keeps_what_has_come() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(b"data: one\n\n")
        await peer.gone()

    async with scripted(handler) as server:
        async with aiohttp.ClientSession() as session:
            async with proxied(server.url) as (proxy, taken):
                answer = await session.get(proxy.url)
                assert await answer.content.readany() == b"data: one\n\n"
            answer.close()
        response = taken.exchanges[1].response
        await server.quiet()
    assert (response.content, response.closed, response.left_open) == (
        b"data: one\n\n",
        "clean",
        True,
    )


async def test_a_compressed_answer_passes_as_it_is_and_is_kept_readable() -> None:

    packed = gzip.compress(b'{"token":"s3cret-0123456789"}')

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(packed, 200, "Content-Type: application/json", "Content-Encoding: gzip")

    async with scripted(handler) as server, proxied(server.url) as (proxy, taken):
        async with get(proxy.url) as answer:
            assert await answer.read() == packed
        response = (await taken.first()).response
    assert response.content == b'{"token":"s3cret-0123456789"}'
    assert response.header("content-encoding") == ""


async def test_an_upstream_that_is_not_there_is_a_502_and_no_exchange() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    upstream = f"http://127.0.0.1:{port}"
    async with proxied(upstream) as (proxy, taken), get(f"{proxy.url}/x") as answer:
        assert answer.status == 502
        told = await answer.json()
    assert f"127.0.0.1:{port} could not be reached" in told["error"]["message"]
    assert taken.exchanges == {}
    assert len(taken.lost) == 1


async def test_an_upstream_that_closes_without_an_answer_is_no_answer_here() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()

    async with (
        scripted(handler) as server,
        proxied(server.url) as (proxy, taken),
        connected(proxy) as (reader, writer),
    ):
        writer.write(asked(proxy))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    assert "closed the connection without an answer" in taken.lost[0]


async def test_a_request_for_another_host_name_is_refused() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"never")

    async with scripted(handler) as server, proxied(server.url) as (proxy, _):
        async with connected(proxy) as (reader, writer):
            writer.write(asked(proxy, host="evil.example.org"))
            assert b" 421 " in await reader.readline()
        async with connected(proxy) as (reader, writer):
            writer.write(asked(proxy, "/", "Upgrade: websocket"))
            assert b" 501 " in await reader.readline()
        assert server.heads == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_only_loopback_is_listened_on(host: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="loopback only"):
        Recorder("http://127.0.0.1:1", tmp_path, host=host)


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.2"])
async def test_every_loopback_address_will_do(host: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"here")

    async with scripted(handler) as server, proxied(server.url, host=host) as (proxy, _):
        answered = get(proxy.url)
        async with answered as answer:
            assert await answer.read() == b"here"


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_port:
        port = taken_port.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
            async with proxied("http://127.0.0.1:1", port=port):
                pass


@pytest.mark.parametrize("url", ["ftp://x", "nothing", "http://user:pass@host"])
def test_what_is_no_base_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="base_url"):
        Recorder(url, tmp_path)


async def test_tls_is_verified_and_an_own_authority_is_taken(tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"secure")

    async with scripted(handler, tls=context) as server:
        trusting = proxied(server.url, ca_bundle=str(bundle))
        async with trusting as (proxy, _), get(proxy.url) as answer:
            assert await answer.read() == b"secure"
        async with proxied(server.url) as (proxy, taken), get(proxy.url) as answer:
            assert answer.status == 502
        assert "certificate or TLS was refused" in taken.lost[0]
    with pytest.raises(ConfigError, match="cannot be read"):
        Recorder("https://127.0.0.1", tmp_path, ca_bundle=str(tmp_path / "none.pem"))
