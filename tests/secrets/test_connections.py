"""Connections that fail before, at or after the credential went out; faults.md and threats.md 9."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import Awaitable, Callable

import pytest
import trustme

from penstock import Client
from penstock.errors import PenstockError
from penstock.types import Timeouts
from tests.secrets.canaries import (
    API_KEY,
    HEADER,
    PASSWORD,
    assert_unseen,
    texts_of,
    texts_of_records,
)
from tests.sockets import Handler, Peer, scripted

MODEL = "openai_compatible/m"
TIMEOUTS = Timeouts(connect=1, first_content=0.2, idle=0.2)


def client_of(url: str, proxy: str | None = None) -> Client:
    config = {"base_url": url, "api_key": API_KEY, "headers": {"X-Gate": HEADER}}
    return Client(providers={"openai_compatible": config}, proxy=proxy, timeout=TIMEOUTS)


async def failure_of(url: str, proxy: str | None = None) -> PenstockError:
    """The error of a call; everything it shows was looked at."""
    async with client_of(url, proxy) as client:
        with pytest.raises(PenstockError) as caught:
            await client.stream(MODEL, "hi").reply()
    assert_unseen(texts_of(caught.value))
    return caught.value


@pytest.fixture(autouse=True)
def _no_log_shows_it(caplog: pytest.LogCaptureFixture) -> object:
    caplog.set_level(logging.DEBUG)
    yield
    assert_unseen(texts_of_records(caplog.get_records("call")))


def telling(make: Callable[[str], bytes]) -> Handler:
    """Answers made of the credentials that came."""

    async def handle(peer: Peer) -> None:
        head = await peer.request()
        values = [line.partition(": ")[2] for line in head.split("\r\n")[1:]]
        await peer.send(make(" ".join(values)))

    return handle


BROKEN: dict[str, Callable[[str], bytes]] = {
    "no http": lambda said: f"{said}\r\n\r\n".encode(),
    "status line": lambda said: f"HTTP/1.1 2x0 {said}\r\n\r\n".encode(),
    "header without colon": lambda said: f"HTTP/1.1 200 OK\r\n{said}\r\n\r\n".encode(),
    "header with nul": lambda said: f"HTTP/1.1 200 OK\r\nX: {said}\0\r\n\r\n".encode(),
    "long header": lambda said: f"HTTP/1.1 200 OK\r\nX: {said * 500}\r\n\r\n".encode(),
    "length": lambda said: f"HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\n".encode(),
    "chunk size": lambda said: (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{said}\r\n".encode()
    ),
    "encoding": lambda said: (
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {said}\r\nContent-Length: 2\r\n\r\nhi".encode()
    ),
    "content type": lambda said: (
        f"HTTP/1.1 200 OK\r\nContent-Type: {said}\r\nContent-Length: 2\r\n\r\nhi".encode()
    ),
    "frame": lambda said: (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        + f"data: {{{said}}}\n\n".encode()
    ),
    "error frame": lambda said: (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        + f'data: {{"error": {{"message": "{said}", "code": "{said}"}}}}\n\n'.encode()
    ),
    "cut": lambda said: (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
        + f": {said}\n\n".encode()
    ),
    "status and reset body": lambda said: (
        f"HTTP/1.1 401 {said}\r\nContent-Length: 9999\r\n\r\n{said}".encode()
    ),
    "retry after": lambda said: (
        f"HTTP/1.1 429 X\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "nothing": lambda said: b"",
}


@pytest.mark.parametrize("how", BROKEN)
async def test_an_answer_that_is_broken(how: str) -> None:
    async with scripted(telling(BROKEN[how])) as server:
        await failure_of(server.url)
        assert API_KEY in server.heads[0]


async def test_a_reset_and_a_silence() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async def silence(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    for handler in (reset, silence):
        async with scripted(handler) as server:
            await failure_of(server.url)


async def test_tls_that_fails() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("somebody.else").configure_cert(context)

    async def never(peer: Peer) -> None:
        await peer.request()

    async with scripted(never, tls=context) as server:
        await failure_of(server.url)
    async with scripted(telling(BROKEN["no http"])) as server:
        await failure_of(server.url.replace("http:", "https:"))


REFUSALS = {
    "407": lambda said: (
        f"HTTP/1.1 407 {said}\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
    ),
    "502": lambda said: (
        f"HTTP/1.1 502 {said}\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
    ),
    "garbage": lambda said: f"{said}\r\n\r\n".encode(),
    "nothing": lambda said: b"",
}


@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_tells_its_password(how: str, scheme: str) -> None:
    async with scripted(telling(REFUSALS[how])) as server:
        proxy = f"http://ann:{PASSWORD}@127.0.0.1:{server.port}"
        await failure_of(f"{scheme}://api.invalid/v1", proxy)
        assert server.heads, "the proxy was asked"


@pytest.mark.parametrize("scheme", ["http", "https", "socks4", "socks5", "socks5h"])
async def test_a_proxy_that_is_not_there(scheme: str) -> None:
    await failure_of("http://127.0.0.1:1/v1", f"{scheme}://ann:{PASSWORD}@127.0.0.1:9")


@pytest.mark.parametrize(
    "reply", [b"\x05\xff", b"\x05\x02\x01\x01", PASSWORD.encode(), b""], ids=repr
)
async def test_a_socks_proxy_that_refuses(reply: bytes) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.read(4)
        await peer.send(reply)
        if len(reply) == 4:
            await peer.gone()

    async with scripted(refuse) as server:
        proxy = f"socks5://ann:{PASSWORD}@127.0.0.1:{server.port}"
        await failure_of("http://127.0.0.1:1/v1", proxy)


@pytest.mark.parametrize(
    "proxy",
    [
        f"ftp://ann:{PASSWORD}@h:1",
        f"http://ann:{PASSWORD}@h:port",
        f"http://ann:{PASSWORD}",
        f"ann:{PASSWORD}@h",
        f"http://ann:{PASSWORD}@[h",
    ],
)
def test_a_proxy_that_is_none(proxy: str) -> None:
    with pytest.raises(PenstockError) as caught:
        Client(proxy=proxy)
    assert_unseen(texts_of(caught.value))


async def leave_by_timeout(asked: Awaitable[object]) -> None:
    async with asyncio.timeout(0.05):
        await asked


async def leave_with_sibling(asked: Awaitable[object]) -> None:
    async def fail() -> None:
        raise ValueError("the sibling")

    async def ask() -> None:
        await asked

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        group.create_task(fail())


@pytest.mark.parametrize("leave", [leave_by_timeout, leave_with_sibling])
async def test_a_call_that_is_cancelled(
    leave: Callable[[Awaitable[object]], Awaitable[None]],
) -> None:
    async def silence(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with scripted(silence) as server, client_of(server.url) as client:
        with pytest.raises((TimeoutError, ExceptionGroup)) as caught:
            await leave(client.complete(MODEL, "hi"))
        assert_unseen(texts_of(caught.value))
        assert_unseen(["".join(traceback.format_exception(caught.value))])
