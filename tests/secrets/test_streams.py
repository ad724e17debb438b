"""A failure inside a stream that was going well tells the credential back; so does a cleanup."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import pytest

from penstock import Client
from penstock.errors import PenstockError
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said
from penstock.types import Reply
from tests.places import MODELS
from tests.secrets.canaries import API_KEY, HEADER, assert_unseen, texts_of, texts_of_records

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "replicate": {"tokens": [API_KEY]},
    "openassistant": {"patience": 0.02, "tick": 0.01},
}
KEYED = ("replicate", "openai", "tgi")
"""Where the canary is the key; the others have it in a header of the user's own."""


class Telling:
    """Says a little and fails with what it should not know."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        yield "one"
        yield " two"
        raise ModelFailure(f"no access for {API_KEY} by {HEADER}")


def streamed(client: Client) -> Callable[[str, str], Awaitable[Reply]]:
    """Asks for the pieces and joins them."""
    return lambda model, question: client.stream(model, question).reply()


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", MODELS)
async def test_a_model_that_fails(name: str, whole: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = {name: OPTIONS[name]} if name in OPTIONS else {}
    async with Sandbox([name], script=Telling(), options=options) as sandbox:
        ((provider, settings),) = sandbox.providers.items()
        config = {**settings, "headers": {"X-Gate": HEADER, "X-Other": API_KEY}}
        config |= {"api_key": API_KEY} if name in KEYED else {}
        async with Client(providers={provider: config}) as client:
            asked = client.complete if whole else streamed(client)
            with pytest.raises(PenstockError) as caught:
                await asked(MODELS[name], "hi")
        assert caught.value.kind in ("model", "server", "overloaded"), caught.value
    assert_unseen(texts_of(caught.value))
    assert_unseen(texts_of_records(caplog.records))


@pytest.mark.parametrize("name", ["h2o", "chatui", "openassistant", "replicate"])
async def test_a_cleanup_that_is_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = {name: OPTIONS[name]} if name in OPTIONS else {}
    async with Sandbox([name], options=options) as sandbox:
        ((provider, settings),) = sandbox.providers.items()
        config = {**settings, "headers": {"X-Gate": HEADER}}
        config |= {"api_key": API_KEY} if name in KEYED else {}
        sandbox.servers[name].faults.next("cleanup=500", times=0)
        async with Client(providers={provider: config}) as client:
            async with client.stream(MODELS[name], "one two three") as answer:
                async for _ in answer.text():
                    break
            assert_unseen([repr(client.session.outbox.failed), repr(client.session.outbox.pending)])
            assert_unseen(await client.aclose())
    assert_unseen(texts_of_records(caplog.records))
