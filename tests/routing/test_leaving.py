"""A routed answer left at every place it can be left at, over real sockets.

What the router began has ended: at the target that failed, at the one that answered, at the loser
of a race. No connection, task, permit or remote conversation is left, and each try was told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from penstock import Client
from penstock.config.routing import BreakerRules, Pool, Routing, TargetLimits
from penstock.errors import PenstockError, StreamCancelledError
from penstock.observe import AttemptEnded, AttemptStarted, Record, RequestEnded
from penstock.provider import Provider
from penstock.routing.router import Router
from penstock.sandbox import Sandbox
from penstock.sandbox.server import State
from penstock.stream import AnswerStream
from penstock.testing.scripted import Hold, Script
from penstock.types import ChatRequest, Message
from tests.faults.ground import STREAMS, until
from tests.routing.stage import REQUEST, Stage, text_of
from tests.steps import cancelled_at

MODELS = {
    "allenai": "allenai/Olmo-3-7B-Instruct",
    "h2o": "h2o/falcon-40b",
    "tgi": "tgi",
    "chatui": "chatui",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "cog": "cog",
    "openai": "openai_compatible/sandbox-model",
}
QUESTION = ChatRequest(model="", messages=(Message(role="user", content="one two three"),))
AFTER = 0.01
"""Seconds until the second target is asked; the first says nothing before."""


class Pair:
    """Two sandbox servers behind one pool; the second is an OpenAI-compatible one."""

    def __init__(self, first: str, sandbox: Sandbox, client: Client, **pool: Any) -> None:
        self.client = client
        self.sandbox = sandbox
        self.first = sandbox.servers[first]
        self.records: list[Record] = []
        targets = (MODELS[first], "second/sandbox-model")
        self.routing = Routing(
            pools={"both": Pool(targets=targets, **pool)},
            targets={target: TargetLimits(concurrency=1) for target in targets},
            breaker=BreakerRules(failures=10**6),
        )
        self.router = Router(
            self.provider_of, self.routing, chance=lambda: 0.0, observer=self.records.append
        )

    def provider_of(self, name: str, _: Mapping[str, float | None] = {}, /) -> Provider:
        return self.client.provider(name)

    async def whole(self) -> str:
        async with self.router.stream("both", QUESTION) as batches:
            return "".join([text_of(batch) async for batch in batches])

    async def some(self) -> None:
        async with self.router.stream("both", QUESTION) as batches:
            async for _ in batches:
                break

    async def clean(self) -> None:
        """Wait until nothing is open here and nothing is left there."""
        session = self.client.session
        await until(lambda: not (session.open_connections or session.outbox.pending), "left here")
        assert session.outbox.failed == []
        await until(self._empty, "left there")
        begun = [one for one in self.records if isinstance(one, AttemptStarted)]
        ended = [one for one in self.records if isinstance(one, AttemptEnded)]
        told = [one for one in self.records if isinstance(one, RequestEnded)]
        assert len(begun) == len(ended)
        assert sum(one.route.attempts for one in told) == len(begun)
        for target in self.routing.targets:
            standing = self.router._standings.of(self.router.plan(target).targets[0])
            assert standing is not None
            assert standing.under_way == 0
            assert [gate.under_way for gate in standing.gates] == [0]

    def _empty(self) -> bool:
        for server in self.sandbox.servers.values():
            state = msgspec.convert(server.state(), State)
            if state.conversations.left or state.runs.running or state.open_streams:
                return False
        return True


@asynccontextmanager
async def pair(first: str, **pool: Any) -> AsyncIterator[Pair]:
    options = {"allenai": {"dialect": "threads"}} if first == "allenai" else None
    async with Sandbox([first, "openai:second"], pace=0.001, options=options) as sandbox:
        server = sandbox.servers["openai:second"]
        second = {"base_url": sandbox.urls["openai:second"], "api_key": server.api_key}
        async with Client(providers={**sandbox.providers, "second": second}) as client:
            yield Pair(first, sandbox, client, **pool)


Work = Callable[[Pair], Coroutine[object, object, object]]


@pytest.mark.parametrize("first", MODELS)
async def test_a_first_that_fails_before_its_first_piece_is_left_clean(first: str) -> None:
    async with pair(first) as here:
        if first == "replicate":  # it would read the answer in another way
            here.first.faults.next("model-fails=0")
        else:
            here.first.faults.next("status=503", path=STREAMS[first])
        assert await here.whole() == "one two three"
        (request,) = (one for one in here.records if isinstance(one, RequestEnded))
        assert (request.route.target, request.route.attempts) == ("second/sandbox-model", 2)
        await here.clean()


@pytest.mark.parametrize("first", MODELS)
async def test_the_loser_of_a_race_is_cancelled_and_left_clean(first: str) -> None:
    async with pair(first, hedge=AFTER) as here:
        # The loser may go before it asks for its stream, and then deletes below the same path.
        method = "GET" if first == "replicate" else "POST"
        here.first.faults.next("stall-after=0", method=method, path=STREAMS[first])
        async with asyncio.timeout(20):  # less than any limit that would end the stall
            assert await here.whole() == "one two three"
        await here.clean()
        ends = {one.target: one.kind for one in here.records if isinstance(one, AttemptEnded)}
        assert ends == {MODELS[first]: "cancelled", "second/sandbox-model": None}


@pytest.mark.parametrize("work", [Pair.whole, Pair.some])
@pytest.mark.parametrize("first", ["h2o", "replicate", "openai"])
async def test_a_cancellation_at_any_step_leaves_nothing(first: str, work: Work) -> None:
    """The first target fails, so the steps are those of both, and of the way between."""
    async with pair(first) as here:
        step = 1
        more = True
        while more:
            here.first.faults.clear()
            here.first.faults.next("model-fails=0")
            more = await cancelled_at(work(here), step)
            await here.clean()
            step += 1
        assert step > 3


@pytest.mark.parametrize("first", ["h2o", "replicate", "allenai"])
async def test_a_cancellation_in_a_race_leaves_both(first: str) -> None:
    async with pair(first, hedge=AFTER) as here:
        here.first.faults.next("model-stalls=0")
        here.sandbox.servers["openai:second"].faults.next("model-stalls=0")
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(here.whole())
            await until(lambda: len(here.records) == 2, "the second is not asked")
            await until(lambda: here.client.session.open_connections == 2, "both are not open")
            reading.cancel()
        assert reading.cancelled()
        await here.clean()


# -- left by another task --------------------------------------------------------------------------


def answer_of(stage: Stage) -> AnswerStream:
    """As the client makes it: entered lazily, left by whoever closes it."""
    return AnswerStream(
        lambda: stage.router.stream("both", REQUEST, request_id="r"),
        provider="a",
        model="m",
    )


SITUATIONS: dict[str, Callable[[Hold], tuple[Script, Script]]] = {
    "first": lambda hold: ([hold, "a"], []),
    "second": lambda hold: ([PenstockError("x", retryable=True)], [hold, "b"]),
    "content": lambda hold: (["a", hold, "a"], []),
}


@pytest.mark.parametrize("hedge", [None, 60.0])
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_closing_while_another_task_reads_ends_that_reading(
    situation: str, hedge: float | None
) -> None:
    hold = Hold()
    first, second = SITUATIONS[situation](hold)
    stage = Stage({"a": [first], "b": [second]}, hedge=hedge)
    answer = answer_of(stage)

    async def read() -> None:
        async with answer:
            async for _ in answer:
                pass

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_expecting_the_end(read()))
        await hold.reached()
        await answer.aclose()
        hold.release()
        await reading
    asked = stage.asked()
    await asyncio.sleep(0)
    assert stage.asked() == asked, "a target was asked after the end"
    stage.nothing_left()


async def _expecting_the_end(reading: Coroutine[object, object, None]) -> None:
    with pytest.raises(StreamCancelledError):
        await reading


async def test_one_that_waits_for_its_turn_is_left_like_any_other() -> None:
    hold = Hold()
    stage = Stage({"a": [[hold, "a"]]}, limits={"a/m": TargetLimits(concurrency=1)})
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.read())
        await hold.reached()
        waiting = group.create_task(stage.read())
        await asyncio.sleep(0)
        waiting.cancel()
        hold.release()
    assert waiting.cancelled()
    assert stage.asked() == "a"


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_a_cancellation_at_any_step_of_scripted_targets(again: bool) -> None:
    step = 1
    more = True
    while more:
        stage = Stage(
            {"a": [[PenstockError("x", retryable=True)]] * 2, "b": [["b", "b"]]},
            limits={"a/m": TargetLimits(concurrency=1)},
            retries=1,
        )
        more = await cancelled_at(stage.read(), step, again=again)
        stage.nothing_left()
        step += 1
    assert step > 2
