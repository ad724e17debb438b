"""Whoever leaves, whenever: nothing open here, nothing left there."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.errors import PenstockError
from penstock.transport import Session
from penstock.types import ChatRequest, Message
from tests.providers.replicate.calls import (
    GET,
    MODEL,
    STREAM,
    ask,
    cancelled,
    pieces,
    provider,
    stream,
)
from tests.providers.replicate.upstream import (
    DONE,
    KEY,
    Answer,
    Upstream,
    events,
    output,
    prediction,
    said,
)


async def test_leaving_early_cancels_once_rule_7(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), output("b")))
    server.on("POST", GET + "/cancel", said(200, prediction("canceled")))
    async with stream(provider(session, server), ask()) as answer:
        async for piece in answer.text():
            assert piece == "a"
            break
    assert server.cancels == 1
    assert server.requests("POST", "/cancel")[0].headers["authorization"] == f"Bearer {KEY}"
    await server.until(lambda: server.streaming == 0)
    assert session.outbox.pending == []


async def test_leaving_after_the_last_piece_cancels_what_is_not_over(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert server.cancels == 1


async def test_after_the_end_nothing_is_cancelled(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    async with stream(provider(session, server), ask()) as answer:
        assert await pieces(answer) == ["a"]
    assert server.cancels == 0


async def test_a_cancel_that_fails_is_tried_again(server: Upstream, session: Session) -> None:
    limited = {"detail": "slow", "retry_after": 0.01}
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    server.on("POST", GET + "/cancel", said(429, limited), said(429, limited), said(200, {}))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert server.cancels == 3
    assert session.outbox.failed == []


async def test_a_cancel_that_cannot_be_done_is_kept_as_a_fact(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    server.on("POST", GET + "/cancel", said(429, {"retry_after": 0.01}))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert session.outbox.failed == ["replicate: cancel prediction p1"]
    assert server.cancels == 4


async def test_cancelled_while_asking_for_the_schema(server: Upstream, session: Session) -> None:
    server.on("GET", f"/v1/models/{MODEL}", Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: bool(server.seen)) < 0.2
    assert server.count("POST", "/predictions") == 0


@pytest.mark.parametrize("plain", [True, False])
async def test_cancelled_while_being_created(
    server: Upstream, session: Session, plain: bool
) -> None:
    gate = asyncio.Event()
    created = json.dumps(prediction()).encode()
    server.creates(Answer(201, [created], before=gate))
    task = asyncio.create_task(stream(provider(session, server), ask(stream=not plain)).reply())
    created_seen = lambda: server.count("POST", "/predictions") == 1  # noqa: E731
    assert await cancelled(server, task, created_seen) < 0.2
    assert len(session.outbox.pending) == 1
    gate.set()
    await server.until(lambda: server.cancels == 1 and not session.outbox.pending)


async def test_cancelled_before_the_headers_of_the_stream(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", STREAM) == 1) < 0.2
    await server.until(lambda: server.cancels == 1)


@pytest.mark.parametrize("parts", [(), (output("a"),)])
async def test_cancelled_before_and_after_the_first_piece(
    server: Upstream, session: Session, parts: tuple[bytes, ...]
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b": hi\n\n", *parts))
    answer = stream(provider(session, server), ask())
    task = asyncio.create_task(answer.reply())
    arrived = lambda: server.streaming == 1 and answer.partial == "a" * len(parts)  # noqa: E731
    await server.until(lambda: server.count("GET", STREAM) == 1)
    assert await cancelled(server, task, arrived) < 0.2
    await server.until(lambda: server.cancels == 1 and server.streaming == 0)


async def test_cancelled_between_two_polls(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on("GET", GET, said(200, prediction("processing")))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", GET) > 1) < 0.2
    await server.until(lambda: server.cancels == 1)


async def test_cancelled_while_the_token_counts_are_asked_for(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    server.on("GET", GET, Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", GET) == 1) < 0.2
    assert server.cancels == 0


async def test_a_session_that_closes_reports_what_is_being_created(server: Upstream) -> None:
    server.creates(Answer(before=asyncio.Event()))
    session = Session()
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    await server.until(lambda: server.count("POST", "/predictions") == 1)
    left = await session.aclose(0.01)
    assert left == [f"replicate: cancel a prediction of {MODEL} that is being created"]
    with pytest.raises(PenstockError, match="session was closed"):
        await task


async def test_two_callers_at_once_get_their_own(server: Upstream, session: Session) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    for name, gate in zip("pq", gates, strict=True):
        urls = {"stream": f"https://stream.replicate.com/v1/streams/{name}"}
        answer = said(201, prediction(id=name, urls=urls))
        server.creates(answer, f"/v1/models/own/{name}/predictions")
        server.on("GET", f"/v1/streams/{name}", events(output(name), gate, output(name), DONE))
    some = provider(session, server)
    requests = [ChatRequest(model=f"own/{name}", messages=(Message("user", "x"),)) for name in "pq"]
    tasks = [asyncio.create_task(stream(some, request).reply()) for request in requests]
    await server.until(lambda: server.streaming == 2)
    for gate in reversed(gates):
        gate.set()
    assert [(await task).text for task in tasks] == ["pp", "qq"]
    assert server.cancels == 0
