"""The scripted provider keeps the contract, and remembers what happened to it."""

from __future__ import annotations

import asyncio

import pytest

from penstock.errors import ConfigError, OverloadedError, PenstockError
from penstock.provider import Provider
from penstock.testing import Hold, Pause, ScriptedProvider
from penstock.types import Capabilities, Finished, Reasoning, Started, Text


async def test_pieces_come_as_written_and_end_well() -> None:
    provider = ScriptedProvider(["Hel", "lo", " ", "\n"])
    async with provider.ask("Hi") as answer:
        assert [piece async for piece in answer.text()] == ["Hel", "lo", " ", "\n"]
    assert answer.finish_reason == "stop"
    assert [asked.end for asked in provider.asked] == ["finished"]
    assert provider.asked[0].request.messages[0].content == "Hi"


async def test_events_batches_and_an_end_of_its_own() -> None:
    end = Finished("length")
    provider = ScriptedProvider([Started(id="r1"), [Reasoning("so"), Text("x")], end, "never"])
    answer = provider.ask("Hi")
    batches = [list(batch) async for batch in answer.batches()]
    assert batches == [[Started(id="r1")], [Reasoning("so"), Text("x")], [end]]
    assert provider.open == 0


async def test_an_error_comes_after_what_was_said() -> None:
    provider = ScriptedProvider(["par", OverloadedError("no free slot")])
    with pytest.raises(OverloadedError) as caught:
        await provider.ask("Hi").reply()
    assert caught.value.partial == "par"
    assert provider.asked[0].end == "error"


async def test_scripts_answer_one_call_each() -> None:
    provider = ScriptedProvider(["one"], ["two"])
    assert (await provider.ask("a").reply()).text == "one"
    assert (await provider.ask("b").reply()).text == "two"
    with pytest.raises(ConfigError, match="holds 2 answers; this is call 3"):
        await provider.ask("c").reply()


async def test_a_caller_that_leaves_is_seen() -> None:
    provider = ScriptedProvider(["one", Hold(), "two"])
    async with provider.ask("Hi") as answer:
        assert await anext(answer) == Text("one")
        assert provider.open == 1
    assert provider.open == 0
    assert provider.asked[0].end == "left"


async def test_a_hold_waits_until_it_is_let_go() -> None:
    hold = Hold()
    provider = ScriptedProvider(["one", hold, Pause(0.0), "two"])
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(provider.ask("Hi").reply())
        await hold.reached()
        assert not reading.done()
        hold.release()
    assert reading.result().text == "onetwo"


async def test_cancellation_during_a_hold_passes_through() -> None:
    hold = Hold()
    provider = ScriptedProvider([hold])
    reading = asyncio.create_task(provider.ask("Hi").reply())
    await hold.reached()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert provider.asked[0].end == "left"


async def test_models_conversations_and_deletes() -> None:
    capabilities = Capabilities(system=False)
    provider = ScriptedProvider(["x"], name="mine", models=["a", "b"], capabilities=capabilities)
    typed: Provider = provider
    assert isinstance(provider, Provider)
    assert (typed.name, typed.capabilities) == ("mine", capabilities)
    assert [info.id for info in await provider.models()] == ["a", "b"]
    conversation = provider.conversation("a")
    reply = await provider.ask("Hi", conversation).reply()
    assert reply.conversation is conversation
    await provider.delete(conversation)
    assert provider.deleted == [conversation]


async def test_errors_name_the_provider() -> None:
    provider = ScriptedProvider([PenstockError("broken")], name="mine")
    with pytest.raises(PenstockError, match=r"^mine: broken"):
        await provider.ask("Hi").reply()
