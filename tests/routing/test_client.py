"""Pools through the client, async and sync, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import Client
from penstock.config import Settings, load
from penstock.errors import (
    BadRequestError,
    ModelNotFoundError,
    OverloadedError,
    StreamTimeoutError,
)
from penstock.observe import AttemptEnded, AttemptStarted, Record, RequestEnded, Route
from penstock.sandbox import Sandbox
from penstock.types import Capabilities, Conversation, Timeouts, Tool, united
from tests.faults.ground import until

H2O = "h2o/falcon-40b"
LLAMA = "replicate/meta/meta-llama-3-70b-instruct"
POOLS = """
[aliases]
any = "fast"

[pools.fast]
targets = ["h2o/falcon-40b", "replicate/meta/meta-llama-3-70b-instruct"]
"""


class Ground:
    """A sandbox of two back ends and a client of a pool over them."""

    def __init__(self, sandbox: Sandbox, client: Client, records: list[Record]) -> None:
        self.client = client
        self.records = records
        self.h2o = sandbox.servers["h2o"]
        self.replicate = sandbox.servers["replicate"]


@asynccontextmanager
async def ground(folder: Path, text: str = POOLS, **arguments: Any) -> AsyncIterator[Ground]:
    records: list[Record] = []
    async with (
        Sandbox(["h2o", "replicate"]) as sandbox,
        Client(
            config=settings(folder, text),
            providers=sandbox.providers,
            observer=records.append,
            **arguments,
        ) as client,
    ):
        yield Ground(sandbox, client, records)
        session = client.session
        await until(lambda: not (session.open_connections or session.outbox.pending), "left here")
        assert session.outbox.failed == []


def settings(folder: Path, text: str) -> Settings:
    file = folder / "penstock.toml"
    file.write_text(text)
    return load(file, env={}, known={"h2o": None, "replicate": None})


async def test_a_pool_is_a_model(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        reply = await here.client.complete("fast", "one two three")
        assert (reply.text, reply.provider, reply.model) == ("one two three", "h2o", "falcon-40b")
        assert (await here.client.complete("any", "hi")).provider == "h2o"


async def test_a_mistyped_pool_is_told_with_the_one_that_is_meant(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        with pytest.raises(ModelNotFoundError, match="did you mean 'fast'"):
            here.client.stream("fasd", "hi")


async def test_the_answer_tells_who_answered_and_how_it_came_to_that(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        here.h2o.faults.next("status=503")
        answer = here.client.stream("fast", "one two three", request_id="r7")
        assert (answer.route, answer.provider) == (None, "h2o")
        async with answer:
            assert "".join([piece async for piece in answer.text()]) == "one two three"
        assert (answer.provider, answer.model) == tuple(LLAMA.split("/", 1))
        route = answer.route
        assert route is not None
        assert (route.target, route.attempts) == (LLAMA, 2)
        assert [(one.target, one.kind) for one in route.failures] == [(H2O, "overloaded")]
        ended = [one for one in here.records if isinstance(one, AttemptEnded)]
        assert [(one.request_id, one.target, one.kind) for one in ended] == [
            ("r7", H2O, "overloaded"),
            ("r7", LLAMA, None),
        ]


async def test_where_nobody_answers_the_error_is_one_worth_coming_back_for(
    tmp_path: Path,
) -> None:
    async with ground(tmp_path) as here:
        here.h2o.faults.next("status=503")
        here.replicate.faults.next("status=503", method="POST")
        answer = here.client.stream("fast", "hi")
        with pytest.raises(OverloadedError) as caught:
            await answer.reply()
        assert (caught.value.provider, answer.provider) == ("h2o", "replicate")
        assert answer.route is not None
        assert answer.route.attempts == 2


async def test_after_the_first_piece_the_error_is_the_callers(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        here.h2o.faults.next("model-fails=1")
        answer = here.client.stream("fast", "one two three")
        with pytest.raises(penstock.PenstockError) as caught:
            await answer.reply()
        assert (caught.value.kind, caught.value.partial) == ("model", "one")
        assert answer.route == Route(H2O, 1)


async def test_a_lone_model_is_told_of_as_well(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        await here.client.complete(LLAMA, "hi", request_id="r1")
        assert [type(one) for one in here.records] == [AttemptStarted, AttemptEnded, RequestEnded]
        (end,) = (one for one in here.records if isinstance(one, RequestEnded))
        assert (end.request_id, end.model, end.kind) == ("r1", LLAMA, None)


class Counter:
    """An observer with attributes of its own."""

    def __init__(self, **attributes: object) -> None:
        self.requests: list[Record] = []
        vars(self).update(attributes)

    def __call__(self, record: Record) -> None:
        self.requests.append(record)


@pytest.mark.parametrize(("attributes", "ends"), [({}, 1), ({"wants_request_ends": False}, 0)])
async def test_who_wants_no_ends_of_requests_is_told_of_none(
    attributes: dict[str, object], ends: int
) -> None:
    observer = Counter(**attributes)
    async with (
        Sandbox(["h2o"]) as sandbox,
        Client(config=Settings(), providers=sandbox.providers, observer=observer) as client,
    ):
        await client.complete(H2O, "hi")
    assert sum(isinstance(record, RequestEnded) for record in observer.requests) == ends


async def test_what_one_target_refuses_another_may_do(tmp_path: Path) -> None:
    """h2o takes no system message as such, no tools and no images; that is said before sending."""
    async with ground(tmp_path) as here:
        able = here.client.capabilities("fast")
        one, other = (here.client.capabilities(name) for name in (H2O, LLAMA))
        assert able == united([one, other])
        assert able.system == (one.system or other.system)
        with pytest.raises(BadRequestError) as caught:
            await here.client.complete("fast", "hi", tools=[Tool(name="clock")])
        assert caught.value.status is None
        assert not any(
            isinstance(record, RequestEnded) and record.kind is None for record in here.records
        )


async def test_a_conversation_goes_on_at_its_own_target(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        conversation = here.client.conversation("fast")
        for question in ("one", "two"):
            reply = await here.client.complete("fast", question, conversation=conversation)
            assert (reply.text, reply.provider) == (question, "h2o")
        await conversation.delete()
        here.h2o.faults.next("status=503")
        with pytest.raises(OverloadedError):  # nobody else could go on with it
            await here.client.complete("fast", "x", conversation=here.client.conversation("fast"))

        class Foreign(Conversation):
            """Of none of them."""

        with pytest.raises(BadRequestError, match="no target of fast"):
            await here.client.complete("fast", "x", conversation=Foreign())


async def test_the_limits_of_a_pool_hold_for_its_targets_and_a_calls_own_win(
    tmp_path: Path,
) -> None:
    text = '[pools.hasty]\ntargets = ["h2o/falcon-40b"]\ntimeouts = { first_content = 0.05 }\n'
    async with ground(tmp_path, text) as here:
        here.h2o.faults.next("model-stalls=0")
        with pytest.raises(StreamTimeoutError, match=r"within 0\.05 s"):
            await here.client.complete("hasty", "hi")
        here.h2o.faults.next("model-delay=0.1")
        assert (await here.client.complete("hasty", "hi", timeout=Timeouts())).text == "hi"


async def test_limits_of_a_target_hold_without_a_pool(tmp_path: Path) -> None:
    text = '[targets."h2o"]\nconcurrency = 1\n'
    async with ground(tmp_path, text) as here:
        replies = await asyncio.gather(*(here.client.complete(H2O, str(n)) for n in range(5)))
        assert [reply.text for reply in replies] == list("01234")
        open_now = most = 0
        for record in here.records:
            open_now += isinstance(record, AttemptStarted) - isinstance(record, AttemptEnded)
            most = max(most, open_now)
        assert most == 1


def test_the_sync_client_takes_the_same_way(tmp_path: Path) -> None:
    from tests.sandboxed import Servers

    with (
        Servers() as servers,
        penstock.sync.Client(
            config=settings(tmp_path, POOLS), providers=servers.sandbox.providers
        ) as client,
    ):
        with client.stream("fast", "one two three") as answer:
            assert "".join(answer.text()) == "one two three"
        assert answer.route == Route(H2O, 1)
        assert client.complete("fast", "hi").provider == "h2o"


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"tools": True}, {"images": True}, {"tools": True, "images": True}),
        (
            {"sampling": {"top_k": (1, 5), "seed": None}},
            {"sampling": {"top_k": (0, 3), "top_p": (0, 1)}},
            {"sampling": {"top_k": (0, 5), "seed": None, "top_p": (0, 1)}},
        ),
        (
            {"sampling": {"top_k": None}},
            {"sampling": {"top_k": (0, 3)}},
            {"sampling": {"top_k": None}},
        ),
        (
            {"extra": frozenset({"a", "b"})},
            {"extra": frozenset({"b", "c"})},
            {"extra": frozenset({"b"})},
        ),
        ({"extra": None}, {"extra": frozenset({"b"})}, {"extra": frozenset({"b"})}),
        ({"chat_completions": True}, {}, {}),
    ],
)
def test_united_capabilities_are_what_one_of_them_can(
    one: dict[str, Any], other: dict[str, Any], both: dict[str, Any]
) -> None:
    first, second = Capabilities(**one), Capabilities(**other)
    assert united([first, second]) == united([second, first]) == Capabilities(**both)
