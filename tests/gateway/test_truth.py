"""The truth table: every row holds for this gateway, and every row can fail."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from benchmarks.truth import backends
from benchmarks.truth.__main__ import judged, main
from benchmarks.truth.ours import running_penstock
from benchmarks.truth.rows import ROWS
from benchmarks.truth.upstream import running_upstream
from tests.faults.ground import until
from tests.gateway.fronted import before_site
from tests.gateway.raw import question, raw

PATIENT = 3.0
"""Seconds that stand for 0.2: how busy the machine is decides no test; never is still never."""

Change = Callable[[bytes], bytes]


def test_every_row_holds(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--penstock", "--json", "--leave-limit", str(PATIENT)])
    results = json.loads(capsys.readouterr().out)
    assert [(row["probe"], row["seen"]) for row in results if not row["passed"]] == []
    assert len(results) == len(ROWS) == 16
    assert status == 0


@pytest.mark.slow
async def test_every_back_end_is_left_as_measured() -> None:
    results = await backends.results(PATIENT)
    assert [result.probe for result in results if not result.passed] == []
    assert len(results) == len(STATEFUL)


# -- that it can fail ----------------------------------------------------------------------------


def same(data: bytes) -> bytes:
    return data


class Lie(NamedTuple):
    """What a relay between the caller and the gateway does to spoil a row.

    Lengths stay, so that the framing stays right.
    """

    answers: Change = same
    questions: Change = same


def swapped(old: bytes, new: bytes) -> Change:
    assert len(old) == len(new)
    return lambda data: data.replace(old, new)


def one_nonce() -> Change:
    """Every question becomes the first, as if a conversation were shared."""
    first: list[bytes] = []

    def change(data: bytes) -> bytes:
        first[:] = first or re.findall(rb"truth:hello:(\w+)", data)
        return re.sub(rb"(truth:hello:)\w+", rb"\g<1>" + first[0], data)

    return change


def cooldown() -> Lie:
    """After one 401 of the upstream everybody is refused."""
    seen = asyncio.Event()

    def question(data: bytes) -> bytes:
        if b"truth:status-401" in data:
            seen.set()
        return data

    def answer(data: bytes) -> bytes:
        return data.replace(b"HTTP/1.1 200", b"HTTP/1.1 429") if seen.is_set() else data

    return Lie(answer, question)


LIES: dict[str, Callable[[], Lie]] = {
    "x-request-id on every answer": lambda: Lie(swapped(b"x-request-id", b"x-request-no")),
    "first delta": lambda: Lie(swapped(b'"content":""', b'"cxntent":""')),
    "finish_reason before the last chunk": lambda: Lie(
        swapped(b'"finish_reason":null', b'"finish_reasom":null')
    ),
    "usage not asked for": lambda: Lie(
        swapped(b'"object":"chat.completion.chunk"', b'"usage":{"total_tokens":1234567}')
    ),
    "include_usage": lambda: Lie(swapped(b'"choices":[]', b'"choicez":[]')),
    "upstream 400 ... 503": lambda: Lie(swapped(b"HTTP/1.1 422", b"HTTP/1.1 500")),
    "Retry-After of the upstream": lambda: Lie(swapped(b"retry-after", b"retry-never")),
    "hidden retries": lambda: Lie(swapped(b"x-penstock-attempts", b"x-penstock-whatever")),
    "wrong requests": lambda: Lie(swapped(b'"param":"messages"', b'"param":"massages"')),
    "upstream ends early": lambda: Lie(swapped(b'{"error":{', b'{"other":{')),
    "error inside the stream": lambda: Lie(swapped(b"fails in the middle", b"fails in the muddle")),
    "leading space of the first token": lambda: Lie(swapped(b'" Hello', b'"_Hello')),
    "two callers, same system prompt": lambda: Lie(questions=one_nonce()),
    "one upstream 401 or 404": cooldown,
}
DEAF = ("caller leaves a stream", "caller leaves a plain request")
"""Rows that a relay spoils by not telling that its caller went."""


def test_every_row_has_its_lie() -> None:
    assert {row.probe for row in ROWS} == {*LIES, *DEAF}


@asynccontextmanager
async def lying(port: int, lie: Lie, *, deaf: bool = False) -> AsyncIterator[int]:
    """A relay to the gateway at ``port``, for one request a connection; its own port."""
    backs: set[asyncio.StreamWriter] = set()
    quiet = asyncio.Condition()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        backs.add(back)
        try:
            back.write(lie.questions(await reader.read(65536)))
            if deaf:
                while data := await there.read(65536):
                    writer.write(data)
            else:
                writer.write(lie.answers(await there.read()))
                await writer.drain()
        except ConnectionError:
            pass  # the caller left, and nobody is told
        finally:
            writer.close()
            back.close()
            async with quiet:
                backs.discard(back)
                quiet.notify()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for back in backs:
            back.transport.abort()
        async with quiet:
            await quiet.wait_for(lambda: not backs)


async def test_every_row_can_fail() -> None:
    async with (
        running_upstream() as upstream,
        running_penstock(upstream.port) as (base_url, model, key),
    ):
        port = int(re.findall(r":(\d+)/", base_url)[0])

        async def passes(probe: str) -> bool:
            lie = LIES.get(probe, Lie)()
            async with lying(port, lie, deaf=probe in DEAF) as relay:
                url = f"http://127.0.0.1:{relay}/v1"
                (result,) = await judged(url, model, key, upstream, only=probe)
                return result.passed is not False

        every = [row.probe for row in ROWS]
        passed = await asyncio.gather(*map(passes, every))
    assert [probe for probe, held in zip(every, passed, strict=True) if held] == []


async def test_without_a_gateway_the_table_is_full_of_failures() -> None:
    async with running_upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        results = await judged(url, "truth", None, upstream, patience=3.0)
    failed = {result.probe for result in results if result.passed is False}
    assert {
        "x-request-id on every answer",
        "upstream 400 ... 503",
        "hidden retries",
        "wrong requests",
        "upstream ends early",
    } <= failed
    kept = {result.probe for result in results if result.passed}
    assert {"first delta", "include_usage", "leading space of the first token"} <= kept


def test_nobody_there_is_a_failure_of_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--upstream-port", "0"]
    assert main(arguments) == 1
    assert capsys.readouterr().out.endswith("0 of 16 rows pass\n")


# -- the rows about callers, over the back ends that keep conversations --------------------------

STATEFUL = tuple(backends.MODELS)


@pytest.mark.parametrize("name", STATEFUL)
async def test_two_callers_never_share_a_conversation(name: str) -> None:
    system = {"role": "system", "content": "You are a helpful assistant."}

    async with before_site(name) as here:

        async def told(secret: str) -> str:
            turn = {"role": "user", "content": f"my word is {secret}"}
            answer = await here.ask(messages=[system, turn])
            assert answer.done, answer.error
            return answer.text

        together = await asyncio.gather(told("apple"), told("bear"))
        answers = [*together, await told("cedar"), await told("dune")]
        words = ("apple", "bear", "cedar", "dune")
        for word, text in zip(words, answers, strict=True):
            assert [each for each in words if each in text] == [word]
        created = here.state.conversations.created
        assert len(set(created)) == len(created) == 4


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("phase", ["stream", "before", "whole"])
async def test_a_caller_who_leaves_is_cleaned_up_after(name: str, phase: str) -> None:
    """The context demands that nothing is left there: no run, no stream, no conversation."""
    async with before_site(name, pace=0.02) as here:
        if phase != "stream" and name != "openassistant":  # that one has no way to stop a model
            here.faults.next("model-stalls")
        body = question(here.model, "one two " * 20, stream=phase != "whole")
        async with raw(here.running) as caller:
            await caller.send(body)
            if phase == "stream":
                came = b""
                while b"two" not in came:
                    came += await caller.some()
            else:
                await until(lambda: bool(here.state.runs.started), "it is not asked")
        await here.quiet()
        (line,) = await here.ended()
        assert line["kind"] == "cancelled"
        await until(lambda: here.empty, f"left there: {here.state}")
        assert here.state.runs.started == 1
