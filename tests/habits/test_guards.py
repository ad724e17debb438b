"""The guards of tests/conftest.py see what they claim to see."""

from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

BREACHES = """
import asyncio
import contextlib
import socket
import time

import pytest


async def test_loopback_and_a_closed_server_are_fine():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port)
        assert await reader.read() == b""
        writer.close()


def test_dead_names_and_dead_hosts_are_fine():
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("server.invalid", 80)
    with pytest.raises(OSError, match="unreachable"), socket.socket() as it:
        it.connect(("192.0.2.1", 80))


def test_connection_outside():
    with contextlib.suppress(OSError), socket.socket() as it:
        it.connect(("93.184.215.14", 80))


async def test_name_outside():
    with contextlib.suppress(OSError):
        await asyncio.open_connection("example.org", 80)


async def test_task_left():
    test_task_left.task = asyncio.get_running_loop().create_task(asyncio.Event().wait())


async def test_blocked():
    time.sleep(0.4)
"""


@pytest.fixture
def report(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> str:
    """What pytest says about BREACHES under our conftest, made impatient."""
    ours = (request.config.rootpath / "tests" / "conftest.py").read_text("utf-8")
    hasty = re.sub(r"STUCK_AFTER = [\d.]+", "STUCK_AFTER = 0.3", ours)
    pytester.makeconftest(re.sub(r"TASK_GRACE = [\d.]+", "TASK_GRACE = 0.05", hasty))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(BREACHES)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=6, errors=4)
    return result.stdout.str()


def test_each_breach_fails_its_own_test_even_when_the_test_hides_it(report: str) -> None:
    found = dict(re.findall(r"_ ERROR at teardown of (\w+) _+\n(.*)", report))
    assert found == {
        "test_connection_outside": "reached outside loopback: address 93.184.215.14",
        "test_name_outside": "reached outside loopback: name example.org",
        "test_task_left": found["test_task_left"],
        "test_blocked": found["test_blocked"],
    }
    assert found["test_task_left"].startswith("left 1 tasks running: ")
    assert found["test_blocked"].startswith("blocked the event loop: 0.")
