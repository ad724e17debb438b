"""Leaving and cancelling in every phase: nothing open here, nothing left there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    PenstockError,
    StreamCancelledError,
)
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.transport import Session
from penstock.types import (
    Text,
)
from tests.providers.chatui.talk import (
    CREATED,
    JSONL,
    MESSAGE,
    TREE,
    asked,
    ending,
    provider,
    request,
    routed,
    sandboxed,
    token,
)
from tests.providers.stage import (
    Answer,
    Held,
    calls,
    cancelled,
    said,
    stage,
    until,
)


async def test_leaving_early_stops_that_generation_then_deletes() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a"), asyncio.Event()], JSONL))
        async with asked(provider(session, server.url)) as answer:
            async for piece in answer.text():
                assert piece == "a"
                break
        assert session.open_connections == 0
        await until(lambda: server.streaming == 0)
        asked_for = server.requests("POST", MESSAGE)[0].body
        [stop] = server.requests("POST", f"{MESSAGE}/stop-generating")
        assert stop.json["generationId"].encode() in asked_for
        assert server.calls[-1] == f"DELETE {MESSAGE}"


async def test_leaving_after_the_end_does_not_stop_what_has_ended() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a") + ending("a")], JSONL))
        async with provider(session, server.url).stream(request("Hi")) as batches:
            async for batch in batches:
                if any(isinstance(event, Text) for event in batch):
                    break
        assert server.calls[-2:] == [f"POST {MESSAGE}", f"DELETE {MESSAGE}"]


async def test_the_answer_can_be_closed_by_another_task_than_its_readers() -> None:
    async with sandboxed(Held("a", asyncio.Event())) as (_, _, chatui):
        answer = asked(chatui)

        async def drain() -> None:
            while await answer.next_batch():
                pass

        reader = asyncio.create_task(drain())
        await until(lambda: answer.partial == "a")
        await answer.aclose()
        with pytest.raises(PenstockError):
            await reader


async def test_cancelled_while_a_conversation_is_opened_leaves_none_behind() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        opening = said(200, CREATED)
        opening.before = gate
        server.on("POST", "/conversation", opening)
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == ["POST /conversation"])
        await cancelled(work)
        assert session.outbox.pending == ["chatui: delete a conversation that is being opened"]
        gate.set()
        assert await session.outbox.drain() == []
        assert server.calls == ["POST /conversation", f"DELETE {MESSAGE}"]


async def test_a_session_that_closes_while_a_conversation_is_opened_ends_the_call() -> None:
    async with stage() as server:
        server.on("POST", "/conversation", Answer(before=asyncio.Event()))
        async with Session() as session:
            work = asyncio.create_task(asked(provider(session, server.url)).reply())
            await until(lambda: server.calls == ["POST /conversation"])
            assert await session.aclose(0) == ["chatui: delete a conversation that is being opened"]
            with pytest.raises(StreamCancelledError, match="session was closed"):
                await work


async def test_cancelled_before_the_headers() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(before=asyncio.Event()))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == [f"POST {MESSAGE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.open_connections == 0


@pytest.mark.parametrize("pieces", [(), ("a",), ("a", " b", " c")])
async def test_cancelled_among_the_pieces(pieces: tuple[str, ...]) -> None:
    script = Held(*pieces, asyncio.Event(), " z")
    async with sandboxed(script) as (sandbox, session, chatui):
        answer = asked(chatui)
        work = asyncio.create_task(answer.reply())
        await until(lambda: answer.started is not None and answer.partial == "".join(pieces))
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        made = calls(sandbox, "chatui")
        assert made[-2].endswith("stop-generating 200")
        assert made[-1].startswith("DELETE")
        assert session.open_connections == 0


async def test_cancelled_while_the_next_parent_is_learned() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a") + ending("a")], JSONL))
        server.on("GET", TREE, Answer(before=asyncio.Event()))
        conversation = ChatUIConversation()
        answer = asked(provider(session, server.url), conversation=conversation)
        work = asyncio.create_task(answer.reply())
        await until(lambda: server.calls[-1:] == [f"GET {TREE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert conversation == ChatUIConversation()
        assert server.calls[-1] == f"DELETE {MESSAGE}"
        assert f"POST {MESSAGE}/stop-generating" not in server.calls


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with sandboxed() as (sandbox, _, chatui):
        texts = [f"caller {number} says something" for number in range(8)]
        replies = await asyncio.gather(*(asked(chatui, text).reply() for text in texts))
        assert [reply.text for reply in replies] == texts
        conversations: Any = sandbox.state("chatui")["conversations"]
        assert len(conversations["created"]) == 8
