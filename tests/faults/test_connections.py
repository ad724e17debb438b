"""Connections that do not come about, are stale, or lead through a proxy or TLS that fails.

Rows 44 to 52 of faults.md.
"""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from penstock.config import Settings
from penstock.provider import SessionConfig
from penstock.sandbox.byte_server import (
    ByteServer,
    Close,
    Hang,
    Pause,
    Read,
    Request,
    Reset,
    Send,
    Step,
)
from penstock.transport.listening import Handler
from penstock.types import Timeouts
from tests.faults.ground import (
    CHUNKED,
    DONE,
    LAST_CHUNK,
    asking,
    chunk,
    frame,
    saying,
    sends,
    site,
    whole,
)

ANSWER = whole(frame("one", "stop") + DONE)
ORIGIN = "https://origin.invalid/v1"
CANARY = "pr0xy-s3cret"
SHORT = Timeouts(connect=0.2, first_content=5.0)


# -- kept connections --------------------------------------------------------------------------


async def test_row_44_a_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    async with saying(sends(ANSWER, Close())) as here:
        for count in (1, 2, 3):
            assert (await here.ask()).text == "one"
            await here.server.quiet()
            assert len(here.server.requests) == count


async def test_row_44_nor_one_whose_end_has_only_reached_the_system() -> None:
    """The event loop has not looked yet: the close is seen all the same, and nothing is lost."""
    async with saying(sends(ANSWER, Hang())) as here:
        assert (await here.ask()).text == "one"
        raw = here.server.connections[0]._transport.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(raw.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        assert (await here.ask()).text == "one"
        assert len(here.server.connections) == 2


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_row_44_one_that_is_well_is_used_again(
    secure: bool, authority: trustme.CA, tmp_path: Path
) -> None:
    """And what watches over it while it is read is taken away each time."""
    rest = chunk(frame("", "stop") + DONE) + LAST_CHUNK
    answer = [Request(), Send(CHUNKED + chunk(frame("one"))), Pause(0.002), Send(rest)]
    steps: list[Step] = list(answer * 30)
    tls = server_tls(authority, "127.0.0.1") if secure else None
    async with saying(steps, tls=tls, config=trusting(authority, tmp_path)) as here:
        for _ in range(30):
            assert (await here.ask()).text == "one"
        assert len(here.server.connections) == 1
        connector = here.client.session._pools[""].connector
        for kept in connector._conns.values():
            for protocol, _ in kept:
                assert isinstance(protocol, Handler)
                assert protocol.listener is None
                assert not getattr(protocol.closed, "_callbacks", None)


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["close", "reset"])
async def test_row_44_one_that_breaks_on_the_question_is_told_and_not_asked_twice(
    end: Step,
) -> None:
    """Whether the server has begun to work is not known: the caller decides, and may."""
    first = [*sends(ANSWER), Request(), end]
    async with saying([first, sends(ANSWER, Hang())]) as here:
        assert (await here.ask()).text == "one"
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("network", "")
        assert outcome.failure.retryable
        assert len(here.server.requests) == 2
        assert (await here.ask()).text == "one"


@pytest.mark.parametrize("name", ["h2o", "chatui", "openassistant", "allenai"])
@pytest.mark.parametrize("fault", ["close", "lost"])
async def test_row_45_a_deletion_whose_answer_is_lost_is_asked_again(name: str, fault: str) -> None:
    """It was done the first time, or is done the second: nothing is left there."""
    async with site(name) as here:
        await here.ask("one")
        await here.clean()
        here.server.faults.next(fault, method="DELETE")
        assert (await here.ask("two")).text == "two"


# -- names, addresses --------------------------------------------------------------------------


async def test_row_46_a_name_that_nobody_knows() -> None:
    async with asking("http://nobody.invalid/v1") as here:
        outcome = await here.ask()
        assert outcome.kind == "network"
        assert outcome.failure.retryable
        assert "nobody.invalid" in outcome.failure.message
        assert "name" in outcome.failure.message


async def test_row_47_a_port_that_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with asking(f"http://127.0.0.1:{port}/v1") as here:
        outcome = await here.ask()
        assert outcome.kind == "network"
        assert outcome.failure.retryable


async def test_row_47_an_address_that_leads_nowhere() -> None:
    async with asking("http://192.0.2.1/v1") as here:
        assert (await here.ask()).kind == "network"


async def test_row_47_a_server_that_does_not_accept() -> None:
    """Its queue is full, so that the handshake of TCP is never answered."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            async with asking(f"http://127.0.0.1:{address[1]}/v1", timeout=SHORT) as here:
                outcome = await here.ask()
                assert outcome.kind == "timeout"
                assert getattr(outcome.failure, "phase", None) == "connect"
                assert outcome.failure.retryable
        finally:
            for one in waiting:
                one.close()


# -- proxies -----------------------------------------------------------------------------------

SOCKS_HELLO = Read(b"\x05")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_rows_48_50_a_proxy_that_refuses_the_connection(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with asking(ORIGIN, proxy=f"{scheme}://ann:{CANARY}@127.0.0.1:{port}") as here:
        assert_proxy_is_to_blame(await failure(here))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(sends(b"HTTP/1.1 407 X\r\n\r\n"), id="48-407"),
        pytest.param(sends(b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"), id="48-502"),
        pytest.param(sends(), id="48-close"),
        pytest.param(sends(Reset()), id="48-reset"),
        pytest.param(sends(b"nonsense\r\n\r\n"), id="48-nonsense"),
        pytest.param(sends(Hang()), id="48-hang"),
    ],
)
async def test_row_48_an_http_proxy_that_fails_on_connect(steps: list[Step]) -> None:
    async with ByteServer(steps) as proxy:
        async with asking(
            ORIGIN, proxy=f"http://ann:{CANARY}@127.0.0.1:{proxy.port}", timeout=SHORT
        ) as here:
            assert_proxy_is_to_blame(await failure(here))
            assert proxy.requests[0].startswith("CONNECT origin.invalid:443 ")
        await proxy.quiet()


@pytest.mark.parametrize("status", [407, 502])
async def test_row_49_a_proxy_that_answers_to_plain_http_itself(status: int) -> None:
    """407 can come from a proxy only; any other status may be the origin's own."""
    reply = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
    async with ByteServer(sends(reply)) as proxy:
        async with asking(
            "http://origin.invalid/v1", proxy=f"http://ann:{CANARY}@127.0.0.1:{proxy.port}"
        ) as here:
            error = await failure(here)
            assert (error.kind, error.status) == ("network" if status == 407 else "server", status)
            assert CANARY not in f"{error} {error!r} {error.__dict__}"
            assert proxy.requests[0].startswith("POST http://origin.invalid/v1/chat/completions ")
        await proxy.quiet()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([SOCKS_HELLO, Send(b"\x05\xff")], id="50-no-method"),
        pytest.param(
            [SOCKS_HELLO, Send(b"\x05\x02"), Read(b"\x01"), Send(b"\x01\x01")], id="50-password"
        ),
        pytest.param(
            [
                SOCKS_HELLO,
                Send(b"\x05\x00"),
                Read(b"\x05\x01\x00"),
                Send(b"\x05\x04\x00\x01" + bytes(6)),
            ],
            id="50-unreachable",
        ),
        pytest.param([SOCKS_HELLO, Send(b"garbage, and more of it")], id="50-garbage"),
        pytest.param([SOCKS_HELLO, Close()], id="50-close"),
        pytest.param([SOCKS_HELLO, Reset()], id="50-reset"),
        pytest.param([SOCKS_HELLO, Hang()], id="50-hang"),
    ],
)
async def test_row_50_a_socks_proxy_that_fails(steps: list[Step]) -> None:
    async with ByteServer(steps) as proxy:
        async with asking(
            ORIGIN, proxy=f"socks5://ann:{CANARY}@127.0.0.1:{proxy.port}", timeout=SHORT
        ) as here:
            assert_proxy_is_to_blame(await failure(here))
        await proxy.quiet()


async def failure(here: Any) -> Any:
    return (await here.ask()).failure


def assert_proxy_is_to_blame(error: Any) -> None:
    """It is no failure of the server, nobody's status, and holds no password."""
    assert error.kind in ("network", "timeout")
    assert "proxy" in error.message or getattr(error, "phase", None) == "connect"
    assert error.status is None
    assert CANARY not in f"{error} {error!r} {error.__dict__} {error.__cause__!r}"


# -- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, host: str, **cert: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **cert).configure_cert(context)
    return context


def trusting(authority: trustme.CA, folder: Path) -> Settings:
    bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return Settings(session=SessionConfig(ca_bundle=str(bundle)))


@pytest.mark.parametrize("fault", ["none", "wrong-host", "expired", "untrusted"])
async def test_row_51_a_certificate_that_does_not_hold(
    fault: str, authority: trustme.CA, tmp_path: Path
) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    host = "other.example" if fault == "wrong-host" else "127.0.0.1"
    tls = server_tls(authority, host, **({"not_after": past} if fault == "expired" else {}))
    config = Settings() if fault == "untrusted" else trusting(authority, tmp_path)
    async with saying(sends(ANSWER), tls=tls, config=config) as here:
        outcome = await here.ask()
        if fault == "none":
            assert outcome.text == "one"
            return
        assert outcome.kind == "network"
        assert "TLS" in outcome.failure.message
        assert not outcome.failure.retryable
        assert here.server.requests == []


async def test_row_52_a_server_that_never_shakes_hands() -> None:
    async with ByteServer([Hang()]) as server:
        async with asking(f"https://127.0.0.1:{server.port}/v1", timeout=SHORT) as here:
            outcome = await here.ask()
            assert outcome.kind == "timeout"
            assert getattr(outcome.failure, "phase", None) == "connect"
        await server.quiet()


@pytest.mark.parametrize("hello", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 20, b""])
async def test_row_52_a_plain_server_where_tls_is_expected(hello: bytes) -> None:
    async with ByteServer([Read(b"\x16"), Send(hello)]) as server:
        async with asking(f"https://127.0.0.1:{server.port}/v1") as here:
            assert (await here.ask()).kind == "network"
        await server.quiet()


async def test_a_tls_answer_that_is_cut_without_goodbye_is_no_end(
    authority: trustme.CA, tmp_path: Path
) -> None:
    """Rows 16 and 21 over TLS: an attacker can close the connection, not the answer."""
    cut = sends(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n" + frame("one"))
    async with saying(
        [*cut, Close(notify=False)],
        tls=server_tls(authority, "127.0.0.1"),
        config=trusting(authority, tmp_path),
    ) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("truncated", "one")
