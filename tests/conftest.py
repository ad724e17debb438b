"""What holds for every test: loopback only, no task left behind, no blocked event loop.

The guards work from below, so that a test cannot forget them:

* an audit hook sees each connection, datagram and name look-up of this process, whichever library
  makes it, and refuses what is not loopback;
* an asynchronous test that ends while a task it started is still running fails;
* a callback that keeps an event loop from running for more than a second fails the test it ran in.

Two destinations stay usable because no machine has them: names under ``.invalid`` (RFC 6761) do
not resolve, and the documentation networks (RFC 5737) are unreachable. They stand for a dead name
and a dead host.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import ipaddress
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

BLOCKED_AFTER = 1.0  # seconds of CPU; asyncio's own debug mode complains at 0.1
STUCK_AFTER = 10.0  # seconds by the clock: a callback that waits; a busy machine takes some, too
TASK_GRACE = 2.0  # seconds that a connection may take to say goodbye

DOCUMENTATION_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
)
PERSONAL = ("_PROXY", "_API_KEY", "_API_TOKEN")
LOCAL_NAMES = frozenset({"localhost", "", "0.0.0.0", socket.gethostname().lower()})


class Watch:
    """What the guards have seen since the last test was judged."""

    def __init__(self) -> None:
        self.egress: list[str] = []
        self.blocked: list[str] = []

    def verdict(self) -> str | None:
        """One sentence about the breaches, or None; afterwards nothing is remembered."""
        said = [f"reached outside loopback: {place}" for place in self.egress]
        said += [f"blocked the event loop: {place}" for place in self.blocked]
        self.egress.clear()
        self.blocked.clear()
        return "; ".join(said) or None


WATCH = Watch()


def is_loopback(host: str) -> bool:
    """Whether the host, a name or an address, is this machine."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = host.rstrip(".").lower()
        return name in LOCAL_NAMES or name.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def refuse_lookup(host: str) -> None:
    """Let a name outside loopback fail as it does on a machine without network."""
    if not host.rstrip(".").lower().endswith(".invalid"):
        WATCH.egress.append(f"name {host}")
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def refuse_connection(host: str) -> None:
    """Let a connection outside loopback fail as it does on a machine without network."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if not any(address in network for network in DOCUMENTATION_NETWORKS):
        WATCH.egress.append(f"address {host}")
    raise OSError(errno.ENETUNREACH, "Network is unreachable")


def is_address(host: str) -> bool:
    """Whether the host is written as an address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse what leaves the machine; see the events table of the Python documentation."""
    if event in {"socket.connect", "socket.sendto"}:
        target = arguments[1]
        if isinstance(target, tuple) and not is_loopback(str(target[0])):
            (refuse_connection if is_address(str(target[0])) else refuse_lookup)(str(target[0]))
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and not is_loopback(name) and not is_address(name):
            refuse_lookup(name)


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> None:
    """Audit hooks cannot be taken back, which is the point."""
    sys.addaudithook(audit)


@pytest.fixture(scope="session", autouse=True)
def _timed_callbacks() -> Iterator[None]:
    """Time each callback of each event loop, on whichever thread it runs."""
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started, worked = time.monotonic(), time.thread_time()
        try:
            run(handle)
        finally:
            took = time.monotonic() - started
            if took > STUCK_AFTER or time.thread_time() - worked > BLOCKED_AFTER:
                WATCH.blocked.append(f"{took:.1f} s in {handle!r}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        yield


@pytest.fixture(autouse=True)
def _judged() -> Iterator[None]:
    """Fail the test in which a guard saw a breach."""
    yield
    if verdict := WATCH.verdict():
        pytest.fail(verdict, pytrace=False)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, proxy, setting or file of the person who runs the tests is seen by one."""
    for name in list(os.environ):
        if name.startswith("PENSTOCK_") or name.upper().endswith(PERSONAL):
            monkeypatch.delenv(name)
    for place in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(place, str(Path(os.devnull, "none")))


@pytest_asyncio.fixture
async def _no_task_left() -> AsyncIterator[None]:
    """Fail an asynchronous test whose tasks outlive it and its fixtures."""
    before = asyncio.all_tasks()
    yield
    current = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() - before if task is not current}
    if left:
        _, left = await asyncio.wait(left, timeout=TASK_GRACE)
    if left:
        names = ", ".join(sorted(repr(task.get_coro()) for task in left))
        pytest.fail(f"left {len(left)} tasks running: {names}", pytrace=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the task guard around every other fixture of the asynchronous tests."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "_no_task_left")


def pytest_collection_finish() -> None:
    """Let the collector skip what lives as long as the tests do.

    With all of them collected one full round takes most of a second, in which no loop runs:
    enough for the guard to blame a test for it on a busy machine.
    """
    gc.collect()
    gc.freeze()
