"""The sync twin: scripts, threads, and inside a running loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import penstock
from penstock.config import Settings
from penstock.errors import BadRequestError, ModelError, ModelNotFoundError
from tests.sandboxed import Servers

NONE = Settings()
H2O = "h2o/falcon-40b"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as running:
        yield running


@pytest.fixture
def client(servers: Servers) -> Iterator[penstock.sync.Client]:
    with penstock.sync.Client(config=NONE, providers=servers.sandbox.providers) as made:
        yield made


def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, for five seconds at most."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def portal_threads() -> int:
    return sum(thread.name == "penstock-portal" for thread in threading.enumerate())


def test_the_pieces_come_one_by_one(client: penstock.sync.Client, servers: Servers) -> None:
    with client.stream(H2O, "HOLD on") as answer:
        pieces = answer.text()
        assert next(pieces) == "HOLD"
        assert servers.state("h2o").runs.running == 1
        assert answer.finish_reason is None
    assert answer.partial.startswith("HOLD")
    until(lambda: servers.state("h2o").runs.running == 0)
    assert servers.state("h2o").conversations.left == []


def test_facts_of_a_whole_answer(client: penstock.sync.Client) -> None:
    answer = client.stream(H2O, "one two three", max_tokens=2)
    assert "".join(answer.text()) == answer.partial == "one two"
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.started is not None
    assert answer.warnings == ()
    assert answer.conversation is None
    assert list(answer) == []


def test_the_whole_answer_and_the_models(client: penstock.sync.Client) -> None:
    assert client.complete(H2O, "one two").text == "one two"
    assert client.stream(H2O, "one two").reply().text == "one two"
    assert "openai_compatible/sandbox-model" in [m.id for m in client.models("openai_compatible")]
    assert client.resolve(H2O) == ("h2o", "falcon-40b")
    assert client.settings == NONE


def test_a_conversation(client: penstock.sync.Client, servers: Servers) -> None:
    conversation = client.conversation(H2O)
    client.complete(H2O, "one", conversation=conversation)
    client.complete(H2O, "two", conversation=conversation)
    assert servers.state("h2o").conversations.left == [conversation.id]
    client.delete(H2O, conversation)
    assert servers.state("h2o").conversations.left == []


def test_errors_are_those_of_the_client(client: penstock.sync.Client) -> None:
    with pytest.raises(ModelError) as caught:
        list(client.stream(H2O, "FAIL now"))
    assert caught.value.partial == "FAIL now"
    with pytest.raises(BadRequestError):
        client.complete(H2O, "one", temperature=-1.0)
    with pytest.raises(ModelNotFoundError):
        client.stream("nobody/x", "one")
    with pytest.raises(BadRequestError):
        penstock.sync.Client(config=NONE, timeout=-1)


def test_many_threads_share_one_client(client: penstock.sync.Client) -> None:
    def ask(number: int) -> bool:
        words = " ".join([str(number)] * 10)
        with client.stream(H2O, words) as answer:
            return "".join(answer.text()) == words

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(48)))
    assert portal_threads() == 1


def test_clients_of_several_threads_share_the_portal(servers: Servers) -> None:
    both_open = threading.Barrier(4)

    def ask(number: int) -> str:
        with penstock.sync.Client(config=NONE, providers=servers.sandbox.providers) as client:
            both_open.wait(5)
            assert portal_threads() == 1
            return client.complete(H2O, str(number)).text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["0", "1", "2", "3"]
    assert portal_threads() == 0


async def test_it_works_inside_a_running_loop(client: penstock.sync.Client) -> None:
    loop = asyncio.get_running_loop()
    assert client.complete(H2O, "one two").text == "one two"
    assert "".join(client.stream(H2O, "three").text()) == "three"
    assert asyncio.get_running_loop() is loop
    assert await asyncio.to_thread(lambda: client.complete(H2O, "four").text) == "four"


def test_an_answer_that_is_dropped_is_left(client: penstock.sync.Client, servers: Servers) -> None:
    answer = client.stream(H2O, "HOLD on")
    next(answer)
    until(lambda: servers.state("h2o").runs.running == 1)
    del answer
    gc.collect()
    until(lambda: servers.state("h2o").runs.running == 0)
    until(lambda: servers.state("h2o").conversations.left == [])


def test_closing_the_client_leaves_its_answers(servers: Servers) -> None:
    client = penstock.sync.Client(config=NONE, providers=servers.sandbox.providers)
    answer = client.stream(H2O, "HOLD on")
    next(answer)
    assert client.close() == []
    assert client.close() == []
    until(lambda: servers.state("h2o").runs.running == 0)
    until(lambda: servers.state("h2o").conversations.left == [])
    assert portal_threads() == 0


def test_no_thread_and_no_loop_stays(servers: Servers) -> None:
    with penstock.sync.Client(config=NONE, providers=servers.sandbox.providers) as client:
        client.complete(H2O, "one")
        assert portal_threads() == 1
    assert portal_threads() == 0
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_an_interrupt_stops_the_remote_side_and_is_raised(servers: Servers, tmp_path: Path) -> None:
    url = servers.sandbox.urls["h2o"]
    script = (
        "import penstock\n"
        f"with penstock.sync.Client(config=penstock.config.Settings(), providers={{'h2o': "
        f"{{'base_url': {url!r}}}}}) as client:\n"
        "    try:\n"
        "        for piece in client.stream('h2o/falcon-40b', 'HOLD on').text():\n"
        "            print(piece, flush=True)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', flush=True)\n"
    )
    script = script.replace("import penstock\n", "import penstock, penstock.config\n")
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "HOLD\n"
    os.kill(program.pid, signal.SIGINT)
    out, _ = program.communicate(timeout=10)
    assert out.endswith("interrupted\n")
    assert program.returncode == 0
    until(lambda: servers.state("h2o").runs.running == 0)
    assert servers.state("h2o").conversations.left == []
