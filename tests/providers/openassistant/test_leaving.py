"""Leaving early and two callers at once, on the sandbox: nothing stays, nothing is mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.sandbox import Sandbox
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Finished, Message, Text, Waiting

QUICK = Pace(look_every=0.05, poll=0.005, poll_most=0.01)
MODEL = "OA_SFT_Llama_30B_6"
TOKEN = "sandbox-oa-session"


class Stage:
    """A sandbox, a session and a provider."""

    def __init__(self, sandbox: Sandbox, session: Session) -> None:
        self.sandbox = sandbox
        self.session = session

    def provider(self, **config: Any) -> OpenAssistantProvider:
        config.setdefault("cookies", {"session": TOKEN})
        url = self.sandbox.urls["openassistant"]
        made = ProviderConfig(name="openassistant", base_url=url, **config)
        return OpenAssistantProvider(self.session, made, pace=QUICK)

    def answer(
        self, text: str, conversation: Conversation | None = None, **config: Any
    ) -> AnswerStream:
        one = self.provider(**config)
        request = ChatRequest(
            model=MODEL, messages=(Message("user", text),), conversation=conversation
        )
        return AnswerStream(lambda: one.stream(request), provider="openassistant", model=MODEL)

    def state(self) -> Any:
        return self.sandbox.state("openassistant")

    async def settled(self) -> Any:
        """Wait for the cleanups; then nothing is open, here or there."""
        assert await self.session.outbox.drain(5.0) == []
        assert self.session.outbox.failed == []
        assert self.session.open_connections == 0
        async with asyncio.timeout(2):
            while self.state()["open_streams"] or self.state()["runs"]["running"]:
                await asyncio.sleep(0.005)
        assert self.state()["conversations"]["left"] == []
        return self.state()


@pytest_asyncio.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    options = {"tick": 0.05, "patience": 0.05, "strip": False, **getattr(request, "param", {})}
    async with (
        Sandbox(
            ["openassistant"], script="lorem", pace=0.003, options={"openassistant": options}
        ) as sandbox,
        Session() as session,
    ):
        yield Stage(sandbox, session)


async def test_an_answer_leaves_nothing(stage: Stage) -> None:
    reply = await stage.answer("Hello").reply()
    assert reply.text
    assert reply.finish_reason == "stop"
    state = await stage.settled()
    assert state["runs"]["cancelled"] == 0


@pytest.mark.parametrize("pieces", [1, 5])
async def test_leaving_early_waits_for_the_answer_in_the_background(
    stage: Stage, pieces: int
) -> None:
    """Section 9: leave the answer to its end, then delete the chat."""
    async with stage.answer("Hello") as stream:
        seen = 0
        async for _ in stream.text():
            seen += 1
            if seen == pieces:
                break
    state = await stage.settled()
    assert state["runs"] == {"started": 1, "finished": 1, "cancelled": 0, "running": 0}


async def test_leaving_after_the_last_piece(stage: Stage) -> None:
    stream = stage.answer("Hello")
    async for event in stream:
        if isinstance(event, Finished):
            break
    await stream.aclose()
    await stage.settled()


async def test_a_stream_that_is_forgotten_cleans_up_after_itself(stage: Stage) -> None:
    stream = stage.answer("Hello")
    await anext(stream.text())
    del stream
    async with asyncio.timeout(2):
        while not stage.session.outbox.pending:
            await asyncio.sleep(0.005)
    await stage.settled()


async def test_cancelled_before_anything_happened(stage: Stage) -> None:
    task = asyncio.create_task(stage.answer("Hello").reply())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stage.settled()


@pytest.mark.parametrize("step", range(1, 120, 7))
async def test_cancelled_at_any_moment_nothing_stays(stage: Stage, step: int) -> None:
    """The loop turns ``step`` times, which lands in every phase: connecting to last piece."""
    task = asyncio.create_task(stage.answer("Hello").reply())
    for _ in range(step):
        await asyncio.sleep(0)
        if task.done():
            break
    started = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - started < 0.5
    await stage.settled()


@pytest.mark.parametrize("route", ["/api/chat", "prompter_message", "assistant_message", "events"])
async def test_cancelled_while_a_request_is_under_way(stage: Stage, route: str) -> None:
    task = asyncio.create_task(stage.answer("Hello").reply())
    async with asyncio.timeout(2):
        while not any(entry["path"].endswith(route) for entry in stage.state()["log"]):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stage.settled()


@pytest.mark.parametrize("pieces", [1, 10])
async def test_cancelled_in_the_middle_of_the_answer(stage: Stage, pieces: int) -> None:
    seen: list[str] = []

    async def read() -> None:
        async for piece in stage.answer("Hello").text():
            seen.append(piece)

    task = asyncio.create_task(read())
    async with asyncio.timeout(2):
        while len(seen) < pieces:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.session.outbox.pending
    await stage.settled()


async def test_rule_5_two_callers_of_one_account_do_not_cancel_each_other(stage: Stage) -> None:
    replies = await asyncio.gather(*(stage.answer(f"Question {n}").reply() for n in range(6)))
    assert all(reply.finish_reason == "stop" for reply in replies)
    state = await stage.settled()
    assert len(state["conversations"]["created"]) == 6


@pytest.mark.parametrize("stage", [{"sessions": {"token-b": "user-b"}}], indirect=True)
async def test_two_accounts_do_not_wait_for_each_others_slot(stage: Stage) -> None:
    a, b = stage.answer("A"), stage.answer("B", cookies={"session": "token-b"})
    async with a, b:  # both have been ordered: neither waits for the other
        assert stage.state()["requests"] >= 6
    await stage.settled()


async def test_an_abandoned_answer_keeps_its_place_until_it_has_left_the_queue(
    stage: Stage,
) -> None:
    """Sections 5 and 9: ordering the next one earlier would cancel it in the queue."""
    blocker = stage.answer("Long", cookies={"session": TOKEN})
    async with blocker:
        await anext(blocker.text())  # the one worker is busy with it
        waiting = stage.answer("Abandoned")
        async with waiting:
            async for event in waiting:
                if isinstance(event, Waiting):
                    break
        reply = await stage.answer("After").reply()
    assert reply.finish_reason == "stop"
    state = await stage.settled()
    assert state["runs"]["started"] == 3  # also the abandoned one: it was not cancelled
    assert state["runs"]["cancelled"] == 0


async def test_a_conversation_that_is_cut_can_go_on_and_be_deleted(stage: Stage) -> None:
    one = stage.provider()
    thread = one.conversation(MODEL)
    await stage.answer("One", thread).reply()
    before = thread.to_dict()
    async with stage.answer("Two", thread) as stream:
        await anext(stream.text())
    assert thread.to_dict() == before
    await stage.answer("Three", thread).reply()
    assert [turn["content"] for turn in thread.messages[::2]] == ["One", "Three"]
    await thread.delete()
    await stage.settled()


async def test_of_a_conversation_that_was_begun_twice_at_once_one_chat_stays(stage: Stage) -> None:
    thread = stage.provider().conversation(MODEL)
    first = asyncio.create_task(stage.answer("One", thread).reply())
    await asyncio.sleep(0)
    async with stage.answer("Two", thread) as second:
        await anext(second.text())
        await first
    await thread.delete()
    state = await stage.settled()
    assert len(state["conversations"]["created"]) == 2


async def test_two_conversations_are_not_mixed_up() -> None:
    async with (
        Sandbox(["openassistant"], script="echo", options={"openassistant": {"tick": 0.02}}) as box,
        Session() as session,
    ):
        stage = Stage(box, session)
        threads = [stage.provider().conversation(MODEL) for _ in range(3)]
        for turn in range(2):
            replies = await asyncio.gather(
                *(
                    stage.answer(f"thread {number} turn {turn}", thread).reply()
                    for number, thread in enumerate(threads)
                )
            )
            for number, reply in enumerate(replies):
                assert f"thread {number} turn {turn}" in reply.text
        assert len({thread.id for thread in threads}) == 3
        for thread in threads:
            await thread.delete()
        await stage.settled()


async def test_the_inference_server_behind_the_site(stage: Stage) -> None:
    client = {
        "api_key": "6969",
        "client": "website",
        "user_id": "u",
        "provider_account_id": "p",
        "username": "n",
    }
    stream = stage.answer("Hello", cookies={}, options={"trusted_client": client})
    pieces = [event.text async for event in stream if isinstance(event, Text)]
    assert pieces
    await stage.settled()
