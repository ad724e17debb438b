"""Leaving and cancelling in every phase: nothing open here, nothing left there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    PenstockError,
    StreamCancelledError,
)
from penstock.transport import Session
from penstock.types import (
    Text,
)
from tests.providers.h2o.talk import (
    END,
    ID,
    MESSAGE,
    SSE,
    asked,
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


async def test_rule_5_leaving_early_stops_then_deletes() -> None:
    hold = asyncio.Event()
    async with sandboxed(Held(" a", hold, " b")) as (sandbox, session, h2o):
        async with asked(h2o) as answer:
            async for piece in answer.text():
                assert piece == " a"
                break
        ident = answer.started and answer.started.conversation_id
        assert calls(sandbox, "h2o")[2:] == [
            f"POST /conversation/{ident} 200",
            f"POST /conversation/{ident}/stop-generating 200",
            f"DELETE /conversation/{ident} 200",
        ]
        assert session.open_connections == 0


async def test_leaving_after_the_last_piece_does_not_stop_what_has_ended() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a") + END], SSE))
        made = request("Hi")
        async with provider(session, server.url).stream(made) as batches:
            async for batch in batches:
                if any(isinstance(event, Text) for event in batch):
                    break
        assert server.calls[-2:] == [f"POST {MESSAGE}", f"DELETE {MESSAGE}"]


async def test_the_answer_can_be_closed_by_another_task_than_its_readers() -> None:
    hold = asyncio.Event()
    async with sandboxed(Held(" a", hold)) as (_, _, h2o):
        answer = asked(h2o)

        async def drain() -> None:
            while await answer.next_batch():
                pass

        reader = asyncio.create_task(drain())
        await until(lambda: answer.partial == " a")
        await answer.aclose()
        with pytest.raises(PenstockError):
            await reader


async def test_cancelled_while_the_modal_is_accepted() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        server.on("POST", "/settings", Answer(before=gate))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls == ["POST /settings"])
        await cancelled(work)
        assert session.open_connections == 0
        assert session.outbox.pending == []


async def test_cancelled_while_a_conversation_is_opened_leaves_none_behind() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        opening = said(200, {"conversationId": ID})
        opening.before = gate
        server.on("POST", "/conversation", opening)
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == ["POST /conversation"])
        await cancelled(work)
        assert session.outbox.pending == ["h2o: delete a conversation that is being opened"]
        gate.set()
        assert await session.outbox.drain() == []
        assert server.calls[-2:] == ["POST /conversation", f"DELETE {MESSAGE}"]


async def test_a_session_that_closes_while_a_conversation_is_opened_ends_the_call() -> None:
    gate = asyncio.Event()
    async with stage() as server:
        routed(server)
        server.on("POST", "/conversation", Answer(before=gate))
        async with Session() as session:
            work = asyncio.create_task(asked(provider(session, server.url)).reply())
            await until(lambda: server.calls[-1:] == ["POST /conversation"])
            assert await session.aclose(0) == ["h2o: delete a conversation that is being opened"]
            with pytest.raises(StreamCancelledError, match="session was closed"):
                await work


async def test_cancelled_before_the_headers() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server, Answer(before=gate))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == [f"POST {MESSAGE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.open_connections == 0


@pytest.mark.parametrize("pieces", [(), (" a",), (" a", " b", " c")])
async def test_cancelled_among_the_pieces(pieces: tuple[str, ...]) -> None:
    script = Held(*pieces, asyncio.Event(), " z")
    async with sandboxed(script) as (sandbox, session, h2o):
        answer = asked(h2o)
        work = asyncio.create_task(answer.reply())
        await until(lambda: answer.started is not None and answer.partial == "".join(pieces))
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        ends = [call.rpartition("/")[2] for call in calls(sandbox, "h2o")[-2:]]
        assert ends[0] == "stop-generating 200"
        assert calls(sandbox, "h2o")[-1].startswith("DELETE")
        assert session.open_connections == 0


async def test_cancelled_again_during_the_cleanup() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a"), asyncio.Event()], SSE))
        server.on("DELETE", MESSAGE, Answer(before=gate))

        async def leave_early() -> None:
            async with asked(provider(session, server.url)) as answer:
                await answer.next_batch()

        work = asyncio.create_task(leave_early())
        await until(lambda: server.calls[-1:] == [f"DELETE {MESSAGE}"])
        await cancelled(work)
        gate.set()
        assert await session.outbox.drain() == []
        assert session.outbox.failed == []


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with sandboxed() as (sandbox, _, h2o):
        texts = [f"caller {number} says something" for number in range(8)]
        replies = await asyncio.gather(*(asked(h2o, text).reply() for text in texts))
        assert [reply.text for reply in replies] == texts
        conversations: Any = sandbox.state("h2o")["conversations"]
        assert len(conversations["created"]) == 8
