"""Calls that are left, and cleanups that fail; rows 56 to 59, 69 and 70 of faults.md.

That a cancellation at any step leaves nothing is proved by ``tests/test_leaving.py``; here are the
scopes of another library, which cancel at every step until they are left, and what a server does
to the cleanup itself.
"""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest

from penstock.types import Timeouts
from tests.faults.ground import PATIENT, STREAMS, site
from tests.places import MODELS

KEEPING = ("allenai", "openassistant", "h2o", "chatui")
QUESTION = "one two three four"
LONG = "word " * 20
SHORT = Timeouts(first_content=1.0, idle=1.0)


def limits(fault: str) -> Timeouts:
    """Short ones only where they are what ends the wait."""
    return SHORT if fault == "silence" else PATIENT


# -- scopes that cancel again and again --------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
async def test_row_58_a_scope_of_anyio_around_us(name: str, seconds: float) -> None:
    async with site(name, pace=0.02) as here:
        with anyio.move_on_after(seconds) as scope:
            async with here.client.stream(here.model, LONG) as answer:
                async for _ in answer:
                    pass
        assert scope.cancelled_caught


@pytest.mark.parametrize("name", MODELS)
async def test_row_58_a_scope_around_the_cleanup(name: str) -> None:
    """The caller is let go at once; the cleanup goes on."""
    async with site(name, pace=0.02) as here:
        answer = here.client.stream(here.model, LONG)
        while not answer.partial:
            assert await answer.next_batch()
        with anyio.move_on_after(0.001):
            await answer.aclose()
        await here.clean()


@pytest.mark.parametrize("name", MODELS)
async def test_row_57_cancelled_again_at_every_turn_of_the_loop(name: str) -> None:
    loop = asyncio.get_running_loop()

    def insist(task: asyncio.Task[object]) -> None:
        if not task.done():
            task.cancel()
            loop.call_soon(insist, task)

    async with site(name, pace=0.02) as here:
        answer = here.client.stream(here.model, LONG)
        task = asyncio.ensure_future(answer.reply())
        while not answer.partial:
            await asyncio.sleep(0.002)
        insist(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        await here.clean()


# -- cleanups that fail ------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("fault", ["status=404", "status=500", "silence", "reset", "html"])
@pytest.mark.parametrize("fails", [False, True], ids=["whole", "failed"])
async def test_row_69_a_deletion_that_fails_replaces_no_outcome(
    name: str, fault: str, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer, or its own failure, is what the caller gets; what is left is told."""
    async with site(name, timeout=limits(fault)) as here:
        here.server.faults.next(fault, method="DELETE", times=0)
        if fails:
            here.server.faults.next("garbage-after=2", path=STREAMS[name])
        with caplog.at_level(logging.WARNING):
            outcome = await here.ask(QUESTION)
        assert outcome.kind == ("protocol" if fails else None)
        assert outcome.text == QUESTION or fails
        gone = fault == "status=404"  # so the server says, and it is taken at its word
        here.undone = None if gone else True
        await here.clean()
        assert here.state.conversations.left
        assert ("delete" in caplog.text) is not gone


@pytest.mark.parametrize("name", ["replicate", "h2o", "cog"])
@pytest.mark.parametrize("fault", ["status=404", "status=500", "silence", "reset"])
async def test_row_69_a_stop_that_fails_lets_the_caller_go(name: str, fault: str) -> None:
    async with site(name, timeout=limits(fault), pace=0.02) as here:
        here.server.faults.next(fault, path="/cancel$|/stop-generating$", times=0)
        async with here.client.stream(here.model, LONG) as answer:
            async for _ in answer.text():
                break
        here.undone = None if not here.client.session.outbox.failed else True
        await here.clean()
        assert answer.partial


# -- a conversation that was opened in vain ----------------------------------------------------

ASKS = {
    "openassistant": ["prompter_message", "assistant_message"],
    "h2o": ["/conversation/."],
    "chatui": ["/conversation/."],
}


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in ASKS.items() for path in paths]
)
@pytest.mark.parametrize("fault", ["status=500", "status=429", "close", "reset", "silence", "lost"])
async def test_row_70_a_conversation_whose_question_fails_is_deleted(
    name: str, path: str, fault: str
) -> None:
    async with site(name, timeout=limits(fault)) as here:
        here.server.faults.next(fault, method="POST", path=path)
        outcome = await here.ask(QUESTION)
        await here.clean()
        assert outcome.kind in ("server", "rate_limited", "network", "timeout")
        assert len(here.state.conversations.created) == 1
        here.server.faults.clear()
        assert (await here.ask(QUESTION)).text == QUESTION
        assert len(here.state.conversations.created) == 2


@pytest.mark.parametrize("name", KEEPING)
async def test_row_70_one_of_the_callers_own_stays_usable(name: str) -> None:
    """A failed turn changes nothing: the next one goes on where the last whole one ended."""
    async with site(name) as here:
        conversation = here.client.conversation(here.model)
        await here.client.complete(here.model, "one", conversation=conversation)
        here.server.faults.next("status=500", method="POST", path=STREAMS[name])
        failed = await here.ask("two", conversation=conversation)
        here.server.faults.clear()
        again = await here.ask("three", conversation=conversation)
        assert failed.kind in ("server", None)
        assert again.text == "three"
        await here.client.delete(here.model, conversation)
        assert len(here.state.conversations.created) == 1
