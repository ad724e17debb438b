"""A running sandbox for the tests of others: the fixture ``penstock_sandbox``.

    # conftest.py
    pytest_plugins = ["penstock.testing.pytest_plugin"]

The servers run in a thread with a loop of their own, so that plain tests and those of any
asynchronous framework can use them. Nothing of a test's sandbox lives on in the next one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from penstock.sandbox import Sandbox

T = TypeVar("T")
_LONGEST = 10.0  # seconds that the start, a question or the end may take


class RunningSandbox:
    """A sandbox in another thread.

    Attributes:
        urls: Base URLs by name, as in `Sandbox.urls`.
        providers: What ``penstock.Client(providers=...)`` takes.
    """

    def __init__(self, sandbox: Sandbox, loop: asyncio.AbstractEventLoop) -> None:
        self.urls = dict(sandbox.urls)
        self.providers = sandbox.providers
        self._sandbox = sandbox
        self._loop = loop

    def state(self, name: str) -> dict[str, object]:
        """Give what that server has seen: see ``docs/guides/sandbox.md``."""
        return self._there(lambda: self._sandbox.state(name))

    def fault(
        self, name: str, fault: str, *, method: str | None = None, path: str = "", times: int = 1
    ) -> None:
        """Let the next requests to a server that match get a fault.

        Raises:
            ValueError: The fault cannot be read.
        """
        faults = self._sandbox.servers[name].faults
        self._there(lambda: faults.next(fault, method=method, path=path, times=times))

    def _there(self, ask: Callable[[], T]) -> T:
        """Ask in the servers' thread, where nothing changes meanwhile."""

        async def asked() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(_LONGEST)


@contextmanager
def running(sandbox: Sandbox) -> Iterator[RunningSandbox]:
    """Run a sandbox in a thread until the block is left."""
    started: Future[tuple[RunningSandbox, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            async with sandbox:
                started.set_result((RunningSandbox(sandbox, asyncio.get_running_loop()), stop))
                await stop.wait()
        except BaseException as problem:
            if not started.done():
                started.set_exception(problem)
                return
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="penstock-sandbox")
    thread.start()
    try:
        shown, stop = started.result(_LONGEST)
        try:
            yield shown
        finally:
            shown._loop.call_soon_threadsafe(stop.set)  # noqa: SLF001 - its own module
    finally:
        thread.join(_LONGEST)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "penstock_sandbox(**arguments): arguments of the test's Sandbox"
    )


@pytest.fixture
def penstock_sandbox(request: pytest.FixtureRequest) -> Iterator[RunningSandbox]:
    """A sandbox with every server, or as ``@pytest.mark.penstock_sandbox(...)`` says."""
    marker = request.node.get_closest_marker("penstock_sandbox")
    arguments: dict[str, Any] = dict(marker.kwargs) if marker is not None else {}
    with running(Sandbox(**arguments)) as shown:
        yield shown
