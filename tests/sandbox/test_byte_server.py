from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from penstock.sandbox.byte_server import (
    ByteServer,
    Close,
    Connection,
    HalfClose,
    Hang,
    Pause,
    Read,
    Request,
    Reset,
    Send,
    StepsError,
    load_steps,
)

PENSTOCK = str(Path(sys.executable).with_name("penstock"))


@asynccontextmanager
async def connected(
    server: ByteServer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection(
        server.host, server.port, ssl=tls, server_hostname=name
    )
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def silent(reader: asyncio.StreamReader) -> None:
    """Nothing comes for a moment."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_exact_bytes_are_sent_and_what_came_is_kept() -> None:
    steps = [Read(), Send(b"HTTP/1.1 2"), Pause(0.01), Send(b"00 \x00\xff")]
    async with ByteServer(steps) as server, connected(server) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\nmore")
        assert await reader.read() == b"HTTP/1.1 200 \x00\xff"
        [connection] = server.connections
        assert bytes(connection.received) == b"GET / HTTP/1.1\r\n\r\nmore"
        assert connection.closed_by == "server"
        assert server.url == f"http://127.0.0.1:{server.port}"


async def test_nothing_is_sent_before_what_is_waited_for_has_come() -> None:
    steps = [Read(b"two"), Send(b"2"), Read(b"two"), Send(b"22")]
    async with ByteServer(steps) as server, connected(server) as (reader, writer):
        writer.write(b"one tw")
        await silent(reader)
        writer.write(b"o")
        assert await reader.read(1) == b"2"
        writer.write(b"two")
        assert await reader.read() == b"22"


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_a_request_ends_with_its_body(body: bytes) -> None:
    request = b"POST /a HTTP/1.1\r\n" + body
    async with ByteServer([Request(), Send(b"1"), Request(), Send(b"2")]) as server:
        async with connected(server) as (reader, writer):
            writer.write(request)
            assert await reader.read(1) == b"1"
            writer.write(request[:-1])
            await silent(reader)
            writer.write(request[-1:])
            assert await reader.read() == b"2"
        assert [head.split("\r\n")[0] for head in server.requests] == ["POST /a HTTP/1.1"] * 2


async def test_each_send_is_a_write_of_its_own() -> None:
    steps = [Send(b"a"), Read(b"1"), Send(b"b"), Read(b"2"), Send(b"c")]
    async with ByteServer(steps) as server, connected(server) as (reader, writer):
        got = []
        for answer in (b"1", b"2", b""):
            got.append(await reader.read(100))
            writer.write(answer)
        assert got == [b"a", b"b", b"c"]


async def test_a_reset_comes_after_what_was_sent() -> None:
    async with ByteServer([Send(b"half"), Read(b"!"), Reset()]) as server:
        async with connected(server) as (reader, writer):
            assert await reader.read(4) == b"half"
            writer.write(b"!")
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert server.connections[0].closed_by == "server"


async def test_after_half_a_close_the_client_is_still_heard() -> None:
    async with ByteServer([Send(b"end"), HalfClose(), Read(b"late"), Hang()]) as server:
        async with connected(server) as (reader, writer):
            assert await reader.read() == b"end"
            writer.write(b"late")
            await writer.drain()
            assert server.connections[0].closed_by is None
        await server.quiet()
        assert bytes(server.connections[0].received) == b"late"
        assert server.connections[0].closed_by == "client"


async def test_a_hanging_connection_is_left_by_the_client_or_by_the_server() -> None:
    async with ByteServer([Hang()]) as server, connected(server):
        await server.accepted()
        async with connected(server) as (_, left):
            await server.accepted(2)
            left.close()
            await server.connections[1].gone()
        assert [one.closed_by for one in server.connections] == [None, "client"]
        with pytest.raises(TimeoutError):
            await server.quiet(0.02)
        assert server.open == 1
    assert server.open == 0
    assert server.connections[0].closed_by in {"client", "server"}


async def test_one_that_does_not_read_is_not_written_to_for_ever() -> None:
    async with ByteServer([Hang(reading=False)]) as server, connected(server) as (_, writer):
        writer.transport.set_write_buffer_limits(0)
        writer.write(bytes(64_000_000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await writer.drain()
        assert len(server.connections[0].received) < 64_000_000
        writer.transport.abort()


async def test_sending_for_ever_ends_when_the_client_leaves() -> None:
    async with ByteServer([Send(b"x" * 1000, times=0)]) as server:
        async with connected(server) as (reader, _):
            assert await reader.readexactly(200_000) == b"x" * 200_000
        await server.quiet()
        assert server.connections[0].closed_by == "client"


async def test_times_says_how_often() -> None:
    async with ByteServer([Send(b"ab", times=3)]) as server, connected(server) as (reader, _):
        assert await reader.read() == b"ababab"


async def test_each_connection_has_its_script_and_the_last_is_for_all_that_follow() -> None:
    async with ByteServer([[Send(b"one")], [Send(b"two")]]) as server:
        got = []
        for _ in range(3):
            async with connected(server) as (reader, _):
                got.append(await reader.read())
        assert got == [b"one", b"two", b"two"]
        assert [one.number for one in server.connections] == [0, 1, 2]


async def test_a_handler_plays_what_it_likes() -> None:
    async def handler(connection: Connection) -> None:
        await connection.play(Request())
        name = connection.requests[-1].split()[1]
        await connection.play(Send(name.encode()), Close())

    async with ByteServer(handler) as server, connected(server) as (reader, writer):
        writer.write(b"GET /path HTTP/1.1\r\n\r\n")
        assert await reader.read() == b"/path"


async def test_what_a_handler_raises_is_heard() -> None:
    async def handler(connection: Connection) -> None:
        await connection.play(Read(b"x"))
        raise ValueError("this handler is wrong")

    async def block() -> None:
        async with ByteServer(handler) as server, connected(server) as (_, writer):
            writer.write(b"x")
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert caught.group_contains(ValueError, match="this handler is wrong")


async def test_a_handler_that_waits_for_something_else_does_not_hold_the_server() -> None:
    async def handler(_: Connection) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(5), ByteServer(handler) as server, connected(server):
        pass


async def test_over_tls_an_end_says_goodbye(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    there, here = contexts
    async with ByteServer([Read(b"?"), Send(b"hello")], tls=there) as server:
        assert server.url.startswith("https://")
        assert await over_tls(server, here) == b"hello"


@pytest.mark.parametrize("end", [Close(notify=False), Reset()])
async def test_over_tls_an_end_can_be_cut(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], end: Close | Reset
) -> None:
    there, here = contexts
    async with ByteServer([Read(b"?"), Send(b"hello"), end], tls=there) as server:
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await over_tls(server, here)


async def over_tls(server: ByteServer, context: ssl.SSLContext) -> bytes:
    """All that a blocking client gets; asyncio's own would hide a missing goodbye."""

    def ask() -> bytes:
        with (
            socket.create_connection((server.host, server.port), timeout=5) as raw,
            context.wrap_socket(
                raw, server_hostname="localhost", suppress_ragged_eofs=False
            ) as secure,
        ):
            secure.sendall(b"?")
            got = b""
            while data := secure.recv(100):
                got += data
            return got

    return await asyncio.to_thread(ask)


TOML = """
[[connections]]
steps = [
    { request = true },
    { read = "more" },
    { send = "HTTP/1.1 200 OK\\r\\n", times = 2 },
    { hex = "00ff" },
    { pause = 0.5 },
    { end = "half-close" },
    { end = "hang" },
]

[[connections]]
steps = [{ end = "reset" }]
"""
JSON = '{"connections": [{"steps": [{"end": "cut"}, {"end": "close"}, {"end": "deaf"}]}]}'


def test_steps_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "steps.toml").write_text(TOML)
    assert load_steps(tmp_path / "steps.toml") == [
        [
            Request(),
            Read(b"more"),
            Send(b"HTTP/1.1 200 OK\r\n", 2),
            Send(b"\x00\xff"),
            Pause(0.5),
            HalfClose(),
            Hang(),
        ],
        [Reset()],
    ]
    (tmp_path / "steps.json").write_text(JSON)
    assert load_steps(tmp_path / "steps.json") == [
        [Close(notify=False), Close(), Hang(reading=False)]
    ]


@pytest.mark.parametrize(
    "steps",
    [
        "x",
        "steps = 1",
        '[[connections]]\nsteps = [{ send = "a", pause = 1.0 }]',
        "[[connections]]\nsteps = [{}]",
        '[[connections]]\nsteps = [{ hex = "0" }]',
        '[[connections]]\nsteps = [{ end = "softly" }]',
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, steps: str) -> None:
    (tmp_path / "bad.toml").write_text(steps)
    with pytest.raises(StepsError, match=r"bad\.toml"):
        load_steps(tmp_path / "bad.toml")


def test_the_command_says_the_bytes_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text('{"connections": [{"steps": [{"send": "exactly"}]}]}')
    command = [PENSTOCK, "sandbox", "--bytes", str(tmp_path / "steps.json"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = json.loads(running.stdout.readline())["bytes"]
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            assert connection.recv(100) == b"exactly"
            assert connection.recv(100) == b""
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
