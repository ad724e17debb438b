"""A pool behind one model name of the gateway: who answers, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from penstock.config import Settings
from penstock.config.routing import BreakerRules, Pool, Routing, TargetLimits
from penstock.sandbox import Sandbox
from penstock.sandbox.received import Received
from penstock.sandbox.server import State
from tests.faults.ground import until
from tests.gateway.running import Running, running_gateway

H2O = "h2o/falcon-40b"
LLAMA = "replicate/meta/meta-llama-3-70b-instruct"


class Ground:
    """A gateway with the pool ``fast`` over two back ends, and what these were asked."""

    def __init__(self, gateway: Running, sandbox: Sandbox, asked: list[Received]) -> None:
        self.gateway = gateway
        self.sandbox = sandbox
        self.asked = asked
        self.h2o, self.replicate = (sandbox.servers[name] for name in ("h2o", "replicate"))

    async def clean(self) -> None:
        """Wait until nothing is left, here and there."""
        session = self.gateway.gateway.client.session
        await until(lambda: not (session.open_connections or session.outbox.pending), "left here")
        await until(
            lambda: all(_empty(server.state()) for server in self.sandbox.servers.values()),
            "left there",
        )


def _empty(state: dict[str, object]) -> bool:
    now = msgspec.convert(state, State)
    return not (now.conversations.left or now.runs.running or now.open_streams)


@asynccontextmanager
async def ground(
    *,
    breaker: BreakerRules | None = None,
    limits: dict[str, TargetLimits] | None = None,
    **pool: Any,
) -> AsyncIterator[Ground]:
    routing = Routing(
        pools={"fast": Pool(targets=(H2O, LLAMA), **pool)}, breaker=breaker, targets=limits or {}
    )
    asked: list[Received] = []
    async with (
        Sandbox(["h2o", "replicate"], on_request=asked.append) as sandbox,
        running_gateway(sandbox.providers, config=Settings(routing=routing)) as gateway,
    ):
        here = Ground(gateway, sandbox, asked)
        yield here
        await here.clean()


async def test_the_first_target_answers_and_is_named() -> None:
    async with ground() as here:
        status, body, headers = await here.gateway.chat("fast", "One two")
        assert (status, body["model"]) == (200, "fast")
        assert body["choices"][0]["message"]["content"] == "One two"
        assert headers["x-penstock-target"] == H2O
        assert headers["x-penstock-attempts"] == "1"


async def test_a_failure_before_the_first_byte_is_not_seen_by_the_caller() -> None:
    async with ground() as here:
        here.h2o.faults.next("status=503")
        status, body, headers = await here.gateway.stream("fast", "One two")
        assert status == 200
        assert body.endswith("data: [DONE]\n\n")
        assert headers["x-penstock-attempts"] == "2"


async def test_a_failure_after_the_first_byte_is_an_error_event() -> None:
    async with ground() as here:
        here.h2o.faults.next("model-fails=1")
        status, body, headers = await here.gateway.stream("fast", "One two")
        assert (status, headers["x-penstock-target"]) == (200, H2O)
        assert '"error"' in body
        assert "[DONE]" not in body


async def test_where_all_fail_the_caller_is_told_when_to_come_back() -> None:
    async with ground() as here:
        here.h2o.faults.next("status=503")
        here.replicate.faults.next("retry-after=7", method="POST")
        status, body, headers = await here.gateway.chat("fast")
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (headers["retry-after"], headers["x-penstock-attempts"]) == ("7", "2")


async def test_a_target_at_its_limit_is_told_without_asking_it() -> None:
    limits = {name: TargetLimits(rpm=1, wait=0) for name in (H2O, LLAMA)}
    async with ground(limits=limits) as here:
        for _ in range(2):
            assert (await here.gateway.chat("fast"))[0] == 200
        before = len(here.asked)
        status, _, headers = await here.gateway.chat("fast")
        assert (status, len(here.asked)) == (429, before)
        assert 0 < int(headers["retry-after"]) <= 60


async def test_a_caller_who_leaves_a_race_stops_both() -> None:
    async with ground(hedge=0.01) as here:
        for server in (here.h2o, here.replicate):
            server.faults.next("model-stalls=0")
        reading = asyncio.ensure_future(here.gateway.stream("fast"))
        session = here.gateway.gateway.client.session
        await until(lambda: session.open_connections == 2, "both are not asked")
        reading.cancel()
        await asyncio.wait({reading})
        await here.clean()


async def test_what_openai_calls_its_fields_reaches_no_other_back_end() -> None:
    async with ground() as here:
        assert (await here.gateway.chat(LLAMA, "One two", temperature=0.5))[0] == 200
        (made,) = (one for one in here.asked if one.method == "POST")
        sent = msgspec.json.decode(made.body)["input"]
        assert sent["prompt"] == "One two"
        assert "messages" not in sent
        status, body, _ = await here.gateway.chat("fast", logit_bias={"1": 2})
        assert (status, body["error"]["param"]) == (400, "logit_bias")
