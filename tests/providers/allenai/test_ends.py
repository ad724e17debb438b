"""How calls end: left, cancelled, broken, refused; and what is left of them: nothing."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from penstock.errors import (
    OverloadedError,
    PenstockError,
    ProtocolError,
    TruncatedError,
)
from penstock.provider import ProviderConfig
from penstock.providers.allenai.provider import AllenAIProvider
from penstock.sandbox import Sandbox
from penstock.transport import Session
from penstock.types import (
    Event,
    Finished,
    Started,
    Text,
    Timeouts,
)
from tests.providers.allenai.calls import (
    MODEL,
    NEW,
    OLD,
    Slow,
    answer,
    nothing_left,
    provider,
    question,
    sandbox,
    serving,
    session_of,
    state,
    until,
    whole,
)
from tests.providers.allenai.lines import (
    ROOT,
    chunk,
    line,
    old_error,
    old_object,
    opening,
    said,
    typed,
)
from tests.sockets import Peer

# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OLD, NEW, "v5-chat"])
async def test_early_leaving_frees_everything(dialect: str) -> None:
    served = NEW if dialect == "v5-chat" else dialect
    async with (
        sandbox(served, Slow(), v5=True) as running,
        provider(running.urls["allenai"], dialect=dialect) as made,
    ):
        async with answer(made, question(model=MODEL[served])) as stream:
            async for event in stream:
                if isinstance(event, Text):
                    break
        await nothing_left(running, made)
        assert state(running)["runs"]["cancelled"] == 1


async def left(running: Sandbox, made: AllenAIProvider, task: asyncio.Task[Any]) -> None:
    """Cancel a call and judge both sides."""
    started = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - started < 0.2
    await nothing_left(running, made)


@pytest.mark.parametrize("dialect", [OLD, NEW, "v5-chat"])
@pytest.mark.parametrize("phase", ["created", "first piece", "after the last piece"])
async def test_cancelled_in_a_phase_of_the_stream(dialect: str, phase: str) -> None:
    served = NEW if dialect == "v5-chat" else dialect
    reached = asyncio.Event()
    wanted: dict[str, type[Event]] = {
        "created": Started,
        "first piece": Text,
        "after the last piece": Finished,
    }

    async def use(made: AllenAIProvider) -> None:
        async with made.stream(question(model=MODEL[served])) as batches:
            async for batch in batches:
                if any(isinstance(event, wanted[phase]) for event in batch):
                    reached.set()
            await asyncio.Event().wait()

    script = "echo" if phase == "after the last piece" else Slow()
    async with (
        sandbox(served, script, v5=True) as running,
        provider(running.urls["allenai"], dialect=dialect) as made,
    ):
        task = asyncio.create_task(use(made))
        await asyncio.wait_for(reached.wait(), 5)
        await left(running, made, task)


@pytest.mark.parametrize("dialect", [OLD, NEW])
async def test_cancelled_while_reading_through_the_stream_object(dialect: str) -> None:
    async with sandbox(dialect, Slow()) as running, provider(running.urls["allenai"]) as made:
        task = asyncio.create_task(whole(made, question(model=MODEL[dialect])))
        await until(lambda: state(running)["runs"]["running"] == 1, "a run")
        await left(running, made, task)


@pytest.mark.parametrize("dialect", [OLD, NEW])
async def test_cancelled_before_the_thread_has_a_name_finds_and_deletes_it(dialect: str) -> None:
    """The turn was sent, the first line not read: the account of this call names the thread."""
    async with sandbox(dialect) as running:
        arrived, held = asyncio.Event(), asyncio.Event()
        target = running.urls["allenai"].removeprefix("http://").split(":")

        async def through(peer: Peer) -> None:
            head = await peer.request()
            reader, writer = await asyncio.open_connection(target[0], int(target[1]))
            writer.write(head.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))
            writer.write(peer.requests[-1][1])
            heard = await reader.read()
            writer.close()
            if head.startswith("POST"):
                arrived.set()
                await held.wait()
            await peer.send(heard)
            raise ConnectionError

        async with serving(through) as server, provider(server.url, dialect=dialect) as made:
            task = asyncio.create_task(whole(made, question(model=MODEL[dialect])))
            await asyncio.wait_for(arrived.wait(), 5)
            assert len(state(running)["conversations"]["left"]) == 1
            await left(running, made, task)
            assert len(state(running)["conversations"]["deleted"]) == 1
            held.set()


async def test_cancelled_while_connecting_leaves_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = Timeouts(connect=0.05)
    monkeypatch.setattr("penstock.providers.allenai.exchange._SWEEP_TIMEOUTS", short)
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf, ExitStack() as queue:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # a full queue: no further connection is made
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        async with Session() as session:
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            made = AllenAIProvider(session, ProviderConfig(name="allenai", base_url=url))
            task = asyncio.create_task(whole(made, question()))
            await until(lambda: session.open_connections > 0 or task.done(), "connecting")
            started = loop.time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.time() - started < 0.2
            assert await session.aclose() == []
            assert session.outbox.failed == []


async def test_a_stall_before_the_thread_has_a_name_is_looked_for_too() -> None:
    async def silent(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("POST"):
            await peer.gone()
        elif head.startswith("GET"):
            await peer.answer(line({"threads": [{"id": ROOT}]}))
        else:
            await peer.answer(b"null")

    limits = Timeouts(first_content=0.3)
    async with (
        serving(silent) as server,
        provider(server.url, dialect=NEW, timeouts=limits) as made,
    ):
        with pytest.raises(PenstockError) as caught:
            await whole(made, question())
        assert caught.value.kind == "timeout"
        await until(lambda: not session_of(made).outbox.pending, "swept")
        assert [head.split()[0] for head in server.heads] == ["POST", "GET", "DELETE"]
        # With a bearer the list holds the user's other threads: nothing is looked for.
        signed_in = made._config.with_(api_key="sandbox-ai2-token")
        with pytest.raises(PenstockError):
            await whole(AllenAIProvider(session_of(made), signed_in), question())
        assert len(server.heads) == 4


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_search_that_finds_nothing_ends_quietly(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.providers.allenai.exchange._SWEEPS", (0.0, 0.01))

    async def reply(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("POST"):
            await peer.answer(b"<html>", 502, "Content-Type: text/html")
        else:
            await peer.answer(b'{"threads": []}', status)

    async with serving(reply) as server, provider(server.url, dialect=NEW) as made:
        with pytest.raises(PenstockError) as caught:
            await whole(made, question())
        assert caught.value.kind == "server"
        await until(lambda: not session_of(made).outbox.pending, "looked for")
        assert [head.split()[0] for head in server.heads] == ["POST", "GET", "GET"]
        assert session_of(made).outbox.failed == []


async def test_a_search_that_stalls_is_kept_as_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Timeouts(first_content=0.05)
    monkeypatch.setattr("penstock.providers.allenai.exchange._SWEEP_TIMEOUTS", short)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    limits = Timeouts(first_content=0.05)
    async with (
        serving(silent) as server,
        provider(server.url, dialect=NEW, timeouts=limits) as made,
    ):
        with pytest.raises(PenstockError):
            await whole(made, question())
        await until(lambda: not session_of(made).outbox.pending, "given up")
        assert len(session_of(made).outbox.failed) == 1


async def test_a_deletion_that_is_refused_is_kept_and_raised() -> None:
    async def refusing(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b'{"error": {"message": "not yours"}}', 403)
        else:
            await peer.answer(opening() + said("a") + typed("end"))

    async with serving(refusing) as server, provider(server.url, dialect=NEW) as made:
        assert (await whole(made, question())).text == "a"  # the answer is not lost
        assert session_of(made).outbox.failed == [f"allenai: delete thread {ROOT}"]
        conversation = made.conversation("m")
        await whole(made, question(conversation=conversation))
        with pytest.raises(PenstockError, match="not yours"):
            await conversation.delete()


@pytest.mark.parametrize("dialect", [OLD, NEW])
async def test_rule_13_a_broken_stream_keeps_its_text_and_its_thread_is_deleted(
    dialect: str,
) -> None:
    begun = old_object() + chunk("half") if dialect == OLD else opening() + said("half")

    async def broken(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b"null")
            return
        await peer.head(200, "Content-Type: application/jsonl")
        await peer.chunk(begun + b'{"mess')
        raise ConnectionError

    async with serving(broken) as server, provider(server.url, dialect=dialect) as made:
        with pytest.raises(TruncatedError) as caught:
            await whole(made, question())
        assert (caught.value.partial, caught.value.status) == ("half", 200)
        assert server.heads[-1].startswith(f"DELETE /v3/message/{ROOT} ")


async def test_rule_2_an_error_line_is_worth_more_than_the_broken_end_after_it() -> None:
    async def broken(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b"null")
            return
        await peer.head(200, "Content-Type: application/jsonl")
        await peer.chunk(old_object() + old_error("model overloaded", "too busy"))
        raise ConnectionError

    async with serving(broken) as server, provider(server.url, dialect=OLD) as made:
        with pytest.raises(OverloadedError, match="too busy") as caught:
            await whole(made, question())
        assert caught.value.retryable


async def test_a_web_page_is_no_answer() -> None:
    async def page(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"<html>", 200, "Content-Type: text/html; charset=utf-8")

    config = {"dialect": NEW, "api_key": "key-of-a-user"}
    async with serving(page) as server, provider(server.url, **config) as made:
        with pytest.raises(ProtocolError, match="web page"):
            await whole(made, question())


async def test_further_rules_a_308_is_followed_with_its_body() -> None:
    """Further rule "308 with body" (2026-redirect-missing-slash)."""

    async def redirecting(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b"null")
        elif "/v4/threads/ " in head:
            await peer.answer(b"", 308, "Location: http://other.invalid/v4/threads/new")
        else:
            await peer.answer(opening() + said("a") + typed("end"))

    async def local(peer: Peer) -> None:
        head = await peer.request()
        if "/v4/threads/ " in head:
            host = head.lower().split("host: ")[1].split("\r\n")[0]
            await peer.answer(b"", 308, f"Location: http://{host}/v4/threads/new")
        else:
            await peer.answer(opening() + said("a") + typed("end"))

    async with serving(local) as server, provider(server.url, dialect=NEW) as made:
        assert (await whole(made, question())).text == "a"
        posts = [body for peer in server.peers for head, body in peer.requests if "POST" in head]
        assert posts[0] == posts[1]
    async with serving(redirecting) as server, provider(server.url, dialect=NEW) as made:
        with pytest.raises(PenstockError) as caught:
            await whole(made, question())
        assert caught.value.kind == "redirect"
