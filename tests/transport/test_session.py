"""Connections over real sockets: what is sent, what is followed, what a broken body becomes."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trustme

from penstock.errors import (
    BadRequestError,
    ConfigError,
    NetworkError,
    PenstockError,
    ProtocolError,
    RedirectError,
    StreamCancelledError,
    StreamTimeoutError,
    TruncatedError,
)
from penstock.provider import SessionConfig
from penstock.transport import Limits, Session
from penstock.transport.session import MAX_HUSHED
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest
from tests.sockets import Handler, Peer, scripted, unfinished


def get(url: str) -> HttpRequest:
    return HttpRequest(method="GET", url=url)


async def fetch(url: str, *, session: Session | None = None, **timeouts: float) -> bytes:
    own = session or Session()
    try:
        limits = Limits(Timeouts(**{"first_content": 2.0, "idle": 2.0, **timeouts}))
        _, body = await own.fetch(get(url), limits)
        return body
    finally:
        if session is None:
            await own.aclose()


async def test_an_answer_is_read_and_identity_is_asked_for() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"hello")

    async with scripted(handler) as server:
        assert await fetch(f"{server.url}/a%2Fb?c=%20d") == b"hello"
    head = server.heads[0]
    assert head.startswith("GET /a%2Fb?c=%20d HTTP/1.1")
    assert "accept-encoding: identity" in head.lower()
    assert "user-agent: penstock/" in head.lower()


async def test_a_connection_is_kept_and_free_after_the_answer() -> None:
    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"ok")

    async with scripted(handler) as server, Session() as session:
        for _ in range(3):
            await fetch(server.url, session=session)
            assert session.open_connections == 0
        assert len(server.peers) == 1


async def test_a_second_answer_on_a_connection_never_reaches_the_next_caller() -> None:
    """faults.md row 20: an extra response on a kept connection."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        whole = b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\n"
        await peer.send(whole + b"mine" + whole + b"evil")
        await peer.request()
        await peer.answer(b"next")

    async with scripted(handler) as server, Session() as session:
        assert await fetch(server.url, session=session) == b"mine"
        assert await fetch(server.url, session=session) in (b"mine", b"next")
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\nabc", TruncatedError),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", TruncatedError),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", TruncatedError),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", PenstockError),
        (b"HTTP/1.1 200 X\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", ProtocolError),
        (b"HTTP/1.1 200 X\r\nBroken\r\n\r\n", ProtocolError),
        (b"nonsense\r\n\r\n", ProtocolError),
        (b"", NetworkError),
    ],
)
async def test_broken_http_is_one_of_our_errors(reply: bytes, expected: type[Exception]) -> None:
    """faults.md rows 16 to 24, 41."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    async with scripted(handler) as server, Session() as session:
        with pytest.raises(expected):
            await fetch(server.url, session=session)
        assert session.open_connections == 0


async def test_a_reset_before_and_inside_the_answer() -> None:
    """faults.md rows 40 and 42."""

    async def before(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async def inside(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await peer.chunk(b"abc")
        await asyncio.sleep(0.02)
        peer.reset()

    async with scripted(before) as server:
        with pytest.raises(NetworkError) as caught:
            await fetch(server.url)
        assert caught.value.retryable
    async with scripted(inside) as server:
        with pytest.raises(TruncatedError):
            await fetch(server.url)


async def test_refused_and_unknown_hosts_are_network_errors() -> None:
    """faults.md rows 46 and 47."""
    with pytest.raises(NetworkError, match="could not connect"):
        await fetch("http://127.0.0.1:9/")
    with pytest.raises(NetworkError, match="resolved"):
        await fetch("http://nowhere.invalid/")


async def test_a_silent_server_breaks_the_first_content_limit() -> None:
    """faults.md row 36."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with scripted(handler) as server:
        with pytest.raises(StreamTimeoutError) as caught:
            await fetch(server.url, first_content=0.05)
        await server.quiet()
    assert caught.value.phase == "first_content"


async def test_a_header_that_trickles_breaks_the_limit() -> None:
    """faults.md row 34: one byte now and then defeats a read timeout, not ours."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        for byte in b"HTTP/1.1 200 X\r\n" + b"X-A: " + b"a" * 200:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.01)

    async with scripted(handler) as server:
        with pytest.raises(StreamTimeoutError):
            await fetch(server.url, first_content=0.1)


async def test_redirects_within_the_host_keep_the_body_on_307_and_308() -> None:
    """wire/allenai.md section 4.1: the slash at the end."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", 308, f"Location: http://127.0.0.1:{server.port}/threads/?a=1")
        await peer.request()
        await peer.answer(b"done")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="POST", url=f"{server.url}/threads", body=b"payload")
        _, body = await session.fetch(request, Limits(Timeouts()))
        assert body == b"done"
        assert server.heads[1].startswith("POST /threads/?a=1 ")
        assert server.peers[0].requests[1][1] == b"payload"


@pytest.mark.parametrize("status", [302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_handed_out_not_followed(status: int) -> None:
    """threats.md row 18."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", status, "Location: http://localhost:1/x")

    async with scripted(handler) as server, Session() as session:
        response, _ = await session.fetch(get(server.url), Limits(Timeouts()))
        assert response.status == status


async def test_a_redirect_loop_ends_in_an_error() -> None:
    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"", 307, "Location: /again")

    async with scripted(handler) as server:
        with pytest.raises(RedirectError):
            await fetch(server.url)


async def test_a_post_is_never_resent_as_a_get() -> None:
    """faults.md row 29."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", 302, "Location: /elsewhere")

    async with scripted(handler) as server, Session() as session:
        request = HttpRequest(method="POST", url=server.url, body=b"x")
        response, _ = await session.fetch(request, Limits(Timeouts()))
        assert response.status == 302
        assert len(server.heads) == 1


async def test_an_encoding_that_was_not_asked_for_is_undone() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(gzip.compress(b"text " * 100), 200, "Content-Encoding: gzip")

    async with scripted(handler) as server:
        assert await fetch(server.url) == b"text " * 100


async def test_a_compressed_body_cut_short_is_not_taken_for_whole() -> None:
    """faults.md row 12."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(gzip.compress(b"text " * 100)[:-12], 200, "Content-Encoding: gzip")

    async with scripted(handler) as server:
        with pytest.raises(TruncatedError):
            await fetch(server.url)


async def test_an_unknown_encoding_is_a_protocol_error() -> None:
    """faults.md row 11."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"x", 200, "Content-Encoding: foo")

    async with scripted(handler) as server, Session() as session:
        with pytest.raises(ProtocolError):
            await fetch(server.url, session=session)
        assert session.open_connections == 0


async def test_cookies_are_read_but_never_sent_by_themselves() -> None:
    """threats.md row 16, by a host name: jars ignore addresses."""

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"", 200, "Set-Cookie: hf-chat=abc; Secure", "Set-Cookie: b=2")

    async with scripted(handler) as server, Session() as session:
        url = f"http://localhost:{server.port}/"
        for _ in range(2):
            response, _ = await session.fetch(get(url), Limits(Timeouts()))
            assert response.cookies == {"hf-chat": "abc", "b": "2"}
        assert not any("cookie:" in head.lower() for head in server.heads)


async def test_leaving_early_closes_the_connection() -> None:
    async with scripted(unfinished) as server, Session() as session:
        async with session.open(get(server.url), Limits(Timeouts())) as response:
            assert await response.read_some() == b"piece"
        await server.quiet()
        assert session.open_connections == 0


async def test_cancelling_closes_the_connection_in_each_phase() -> None:
    async def before_headers(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    for handler in (before_headers, unfinished):
        async with scripted(handler) as server, Session() as session:
            task = asyncio.ensure_future(fetch(server.url, session=session))
            while not server.heads:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.quiet()
            assert session.open_connections == 0


async def test_an_http_proxy_gets_the_credentials_and_the_whole_url() -> None:
    async def proxy(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"through the proxy")

    async with scripted(proxy) as server:
        config = SessionConfig(proxy=f"http://ann:s%40cret@127.0.0.1:{server.port}")
        async with Session(config) as session:
            assert await fetch("http://origin.invalid/x", session=session) == b"through the proxy"
    head = server.heads[0]
    assert head.startswith("GET http://origin.invalid/x ")
    assert base64.b64encode(b"ann:s@cret").decode() in head


@pytest.mark.parametrize("own", [None, ""])
async def test_no_proxy_hosts_are_reached_directly(own: str | None) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"direct")

    async with scripted(handler) as server:
        config = SessionConfig(proxy="http://127.0.0.1:9", no_proxy=("127.0.0.1",))
        async with Session(config) as session:
            request = HttpRequest(method="GET", url=server.url)
            _, body = await session.fetch(request, Limits(Timeouts()), proxy=own)
    assert body == b"direct"


async def test_a_proxy_that_refuses_is_named_without_its_password() -> None:
    """threats.md row 9."""

    async def proxy(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", 407)

    async with scripted(proxy) as server:
        config = SessionConfig(proxy=f"http://ann:canary@127.0.0.1:{server.port}")
        async with Session(config) as session:
            with pytest.raises(NetworkError, match="proxy") as caught:
                await fetch("https://origin.invalid/", session=session)
    assert "canary" not in f"{caught.value} {caught.value!r} {config!r} {caught.value.__cause__}"


async def test_more_small_chunks_than_are_read_ahead_lose_nothing() -> None:
    """The library pauses for their number alone, and its parser then keeps a rest to itself."""
    count, unpaused = 4097, asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await peer.send(b"1\r\na\r\n" * count)
        await unpaused.wait()
        await peer.send(b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")

    async with scripted(handler) as server, Session() as session:
        limits = Limits(Timeouts(first_content=2.0, idle=2.0))
        async with session.open(get(server.url), limits) as response, asyncio.timeout(5):
            content = response._content
            while content.total_bytes < count:
                await asyncio.sleep(0)
            got = b""
            while len(got) < count:
                got += await response.read_some()
            unpaused.set()
            while data := await response.read_some():
                got += data
    assert got == b"a" * count + b"helloworld"


async def socks5(peer: Peer, said: Handler | None = None) -> None:
    """A SOCKS5 server (RFC 1928, RFC 1929) that answers the request itself."""
    _, count = await peer.read(2)
    await peer.read(count)
    await peer.send(b"\x05\x02")
    _, length = await peer.read(2)
    user = await peer.read(length)
    password = await peer.read((await peer.read(1))[0])
    await peer.send(b"\x01\x00" if (user, password) == (b"ann", b"secret") else b"\x01\x01")
    _, _, _, kind = await peer.read(4)
    assert kind == 3, "the name is resolved by the proxy"
    await peer.read((await peer.read(1))[0] + 2)
    await peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    await peer.request()
    await (said or through_socks)(peer)


async def through_socks(peer: Peer) -> None:
    await peer.answer(b"through socks")


async def test_who_waits_for_a_connection_is_told_when_the_session_is_closed() -> None:
    """The HTTP library cancels such a wait, as if somebody had asked for that."""

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.head()
        await peer.gone()

    async with scripted(silent) as server:
        session = Session(SessionConfig(connections=1))
        request = HttpRequest(method="GET", url=server.url)
        async with session.open(request, Limits(Timeouts())):
            waiting = asyncio.create_task(session.fetch(request, Limits(Timeouts())))
            await asyncio.sleep(0.05)
            await session.aclose()
            with pytest.raises(StreamCancelledError, match="session was closed"):
                await waiting


async def test_a_socks5_proxy_with_credentials() -> None:
    async with scripted(socks5) as server:
        config = SessionConfig(proxy=f"socks5://ann:secret@127.0.0.1:{server.port}")
        async with Session(config) as session:
            assert await fetch("http://origin.invalid/x", session=session) == b"through socks"


async def test_row_20_what_comes_unasked_through_a_socks_proxy_reaches_nobody() -> None:
    peers = []

    async def proxy(peer: Peer) -> None:
        peers.append(peer)
        await socks5(peer)
        await peer.request()
        await peer.answer(b"too late")

    async with scripted(proxy) as server:
        config = SessionConfig(proxy=f"socks5://ann:secret@127.0.0.1:{server.port}")
        async with Session(config) as session:
            assert await fetch("http://origin.invalid/x", session=session) == b"through socks"
            peers[0]._writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            assert await fetch("http://origin.invalid/x", session=session) == b"through socks"
    assert len(peers) == 2


async def test_row_16_what_came_through_a_socks_proxy_before_a_break_is_read() -> None:
    async def broken(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(0.02)
        await peer.chunk(b"unread")

    async with scripted(partial(socks5, said=broken)) as server:
        config = SessionConfig(proxy=f"socks5://ann:secret@127.0.0.1:{server.port}")
        request = HttpRequest(method="GET", url="http://origin.invalid/x")
        async with (
            Session(config) as session,
            session.open(request, Limits(Timeouts())) as response,
        ):
            await server.quiet()
            await asyncio.sleep(0.05)
            assert await response.read_some() == b"unread"
            with pytest.raises(TruncatedError):
                await response.read_some()


@pytest.mark.parametrize("reply", [b"\x05\xff", b"garbage!", b""])
async def test_a_socks_proxy_that_fails_is_a_network_error(reply: bytes) -> None:
    """faults.md row 50."""

    async def proxy(peer: Peer) -> None:
        await peer.read(3)
        await peer.send(reply)

    async with (
        scripted(proxy) as server,
        Session(SessionConfig(proxy=f"socks5://127.0.0.1:{server.port}")) as session,
    ):
        with pytest.raises(NetworkError, match="proxy"):
            await fetch("http://origin.invalid/", session=session)


@pytest.mark.parametrize("proxy", ["ftp://x:1", "nothing", "http://:80", "http://a:canary@b:c"])
def test_a_proxy_that_is_none_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        Session(SessionConfig(proxy=proxy))
    assert proxy not in str(caught.value)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def secure(peer: Peer) -> None:
    await peer.request()
    await peer.answer(b"secure")


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_is_verified_and_an_own_authority_is_taken(
    authority: trustme.CA, tmp_path: Path
) -> None:
    """faults.md row 51."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with scripted(secure, tls=server_context(authority, "127.0.0.1")) as server:
        async with Session(SessionConfig(ca_bundle=str(bundle))) as session:
            assert await fetch(server.url, session=session) == b"secure"
        with pytest.raises(NetworkError, match="TLS") as caught:
            await fetch(server.url)
        assert not caught.value.retryable
    async with (
        scripted(secure, tls=server_context(authority, "other.example")) as server,
        Session(SessionConfig(ca_bundle=str(bundle))) as session,
    ):
        with pytest.raises(NetworkError, match="TLS"):
            await fetch(server.url, session=session)


async def test_a_ca_bundle_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    async with Session(SessionConfig(ca_bundle=str(tmp_path / "none.pem"))) as session:
        with pytest.raises(ConfigError, match=r"none\.pem"):
            await fetch("https://127.0.0.1:9/", session=session)


async def test_a_body_over_the_limit_is_refused() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"x" * 5000)

    async with scripted(handler) as server, Session() as session:
        with pytest.raises(ProtocolError, match="1000 bytes"):
            await session.fetch(get(server.url), Limits(Timeouts()), limit=1000)


async def test_a_closed_session_says_so() -> None:
    session = Session()
    await session.aclose()
    with pytest.raises(BadRequestError, match="closed"):
        await fetch("http://127.0.0.1:9/", session=session)


async def test_a_dropped_body_iterator_is_freed_by_its_context() -> None:
    """Row 60 of faults.md: nothing is owned by an iterator."""

    async def pieces(session: Session, url: str) -> AsyncIterator[bytes]:
        async with session.open(get(url), Limits(Timeouts())) as response:
            while piece := await response.read_some():
                yield piece

    async with scripted(unfinished) as server, Session() as session:
        iterator = pieces(session, server.url)
        assert await anext(iterator) == b"piece"
        del iterator
        gc.collect()
        await server.quiet()
        assert session.open_connections == 0


def test_credentials_are_remembered_within_a_bound_and_kept_out_of_all_that_led_to_an_error() -> (
    None
):
    session = Session()
    session.hush(f"{number:06}-secret" for number in range(MAX_HUSHED + 5))
    cause = NetworkError("first 000100-secret")
    error = ProtocolError("then 000101-secret, long gone 000001-secret")
    error.__cause__ = cause
    session.clean(error)
    assert str(error) == "then ***, long gone 000001-secret"
    assert str(cause) == "first ***"
