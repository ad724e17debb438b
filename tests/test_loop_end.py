"""Streams that are still open when their event loop, or the whole program, ends.

faults.md rows 60, 61 and 65. The servers run in a thread of their own, for the callers end their
loops and block their threads.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Client
from penstock.errors import StreamCancelledError
from penstock.providers import H2o
from penstock.providers.results import AsyncResult
from penstock.sandbox import Sandbox

SOURCES = str(Path(__file__).parents[1] / "src")
LONG = "word " * 300


class Remote:
    """A sandbox of h2o in a thread."""

    def __init__(self) -> None:
        self.providers: dict[str, dict[str, str]] = {}
        self._sandbox = Sandbox(["h2o"], pace=0.01)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._sandbox as running:
            self.providers = running.providers
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Remote:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return self.providers["h2o"]["base_url"]

    def ask(self) -> AsyncResult:
        return H2o.create_async_generator("falcon-40b", LONG, base_url=self.url)

    def clean(self) -> None:
        """Wait until nothing is left there."""
        until = time.monotonic() + 5
        while not self._clean():
            assert time.monotonic() < until, f"left there: {self._sandbox.state('h2o')}"
            time.sleep(0.005)

    def _clean(self) -> bool:
        state = self._sandbox.state("h2o")
        conversations, runs = state["conversations"], state["runs"]
        assert isinstance(conversations, dict)
        assert isinstance(runs, dict)
        assert len(conversations["created"]) > 0
        return not (conversations["left"] or runs["running"] or state["open_streams"])

    def script(self, body: str, *, interrupt: bool = False) -> subprocess.CompletedProcess[str]:
        """Run ``body`` in a new interpreter, with ``PROVIDERS`` and ``LONG``; maybe interrupt it
        once it has said something."""
        head = f"import penstock\nPROVIDERS = {json.dumps(self.providers)}\nLONG = {LONG!r}\n"
        command = [sys.executable, "-u", "-W", "error", "-c", head + textwrap.dedent(body)]
        started = time.monotonic()
        with subprocess.Popen(
            command, env={"PYTHONPATH": SOURCES}, stdout=-1, stderr=-1, text=True
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline() if interrupt else ""
            if interrupt:
                process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=20)
        assert time.monotonic() - started < 10
        return subprocess.CompletedProcess(command, process.returncode, first + out, error)


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with Remote() as running:
        yield running


def test_a_break_right_before_the_end_of_the_loop(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async for _ in remote.ask():
            break

    asyncio.run(main())
    remote.clean()
    assert not caplog.records


def test_an_answer_that_is_kept_over_the_end_of_the_loop(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[AsyncResult] = []

    async def main() -> None:
        for _ in range(2):
            kept.append(remote.ask())
            await anext(kept[-1])

    asyncio.run(main())
    remote.clean()
    assert not caplog.records


@pytest.mark.parametrize("turns", range(12))
def test_a_cleanup_that_the_end_of_the_loop_meets(
    remote: Remote, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    """Whatever the cleanup of a dropped answer waits for when the loop ends."""

    async def main() -> None:
        async for _ in remote.ask():
            break
        for _ in range(turns):
            await asyncio.sleep(0.0005)

    asyncio.run(main())
    remote.clean()
    assert not caplog.records


def test_a_program_that_ends_inside_an_answer(remote: Remote) -> None:
    async def main() -> None:
        async with (
            Client(providers=remote.providers) as client,
            client.stream("h2o/falcon-40b", LONG) as answer,
        ):
            async for _ in answer.text():
                raise SystemExit(3)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    remote.clean()


def test_a_session_that_is_closed_leaves_its_streams_first(remote: Remote) -> None:
    """By a client, whether its answer was dropped, is kept, or is being read."""

    async def main() -> None:
        async with Client(providers=remote.providers) as client:
            async for _ in client.stream("h2o/falcon-40b", LONG):
                break
            kept = client.stream("h2o/falcon-40b", LONG)
            await anext(kept)
            read = client.stream("h2o/falcon-40b", LONG)
            await anext(read)
            reading = asyncio.ensure_future(read.reply())
            await asyncio.sleep(0)
        for late in (reading, kept.reply()):
            with pytest.raises(StreamCancelledError) as caught:
                await late
            assert caught.value.provider == "h2o"
        assert not client.session.outbox.failed

    asyncio.run(main())
    remote.clean()


@pytest.mark.parametrize(
    "body",
    [
        """
        client = penstock.sync.Client(providers=PROVIDERS)
        answer = client.stream("h2o/falcon-40b", LONG)
        next(answer)
        """,
        """
        client = penstock.sync.Client(providers=PROVIDERS)
        for piece in client.stream("h2o/falcon-40b", LONG).text():
            raise SystemExit
        """,
        """
        base_url = PROVIDERS["h2o"]["base_url"]
        pieces = penstock.providers.H2o.create_completion("falcon-40b", LONG, base_url=base_url)
        next(pieces)
        """,
    ],
    ids=["kept", "left", "class"],
)
def test_a_program_that_closes_nothing_ends_at_once_and_says_nothing(
    remote: Remote, body: str
) -> None:
    ended = remote.script(body)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    remote.clean()


def test_an_interrupt_leaves_a_sync_call_after_its_cleanup_began(remote: Remote) -> None:
    body = """
        with penstock.sync.Client(providers=PROVIDERS) as client:
            try:
                for piece in client.stream("h2o/falcon-40b", LONG).text():
                    print(piece, flush=True)
            except KeyboardInterrupt:
                session = client._client.session
                print("interrupted", session.open_connections, len(session.outbox.pending) < 2)
            assert client.close() == []
        """
    ended = remote.script(body, interrupt=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("word")
    assert "interrupted" in ended.stdout
    remote.clean()


def test_a_forked_child_starts_its_own_thread(remote: Remote) -> None:
    body = """
        import os
        with penstock.sync.Client(providers=PROVIDERS) as client:
            print(client.complete("h2o/falcon-40b", "a b").text, flush=True)
            child = os.fork()
            if child == 0:
                with penstock.sync.Client(providers=PROVIDERS) as own:
                    print(own.complete("h2o/falcon-40b", "c d").text, flush=True)
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    ended = remote.script(body)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a b\nc d\n7\n", "")
    remote.clean()
