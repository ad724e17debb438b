"""The client: names to providers, settings over settings, one contract, nothing left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

import penstock
from penstock.config import Settings
from penstock.errors import (
    BadRequestError,
    ConfigError,
    MissingAuthError,
    ModelNotFoundError,
    StreamTimeoutError,
)
from penstock.sandbox import Sandbox
from penstock.sandbox.server import State
from penstock.transport import Session
from penstock.types import ChatRequest, Message, Sampling, Timeouts
from tests.providers.stage import Held, until

NONE = Settings()
H2O = "h2o/falcon-40b"
OA = "openassistant/OA_SFT_Llama_30B_6"


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["h2o", "openassistant", "openai", "cog"]) as running:
        yield running


@pytest_asyncio.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[penstock.Client]:
    async with penstock.Client(config=NONE, providers=sandbox.providers) as made:
        yield made


def state(sandbox: Sandbox, name: str) -> State:
    return msgspec.convert(sandbox.state(name), State)


# -- asking ------------------------------------------------------------------------------------


async def test_one_contract_for_every_provider(client: penstock.Client) -> None:
    for model in (H2O, OA, "openai_compatible/sandbox-model", "cog/"):
        async with client.stream(model, "one two") as answer:
            pieces = [piece async for piece in answer.text()]
        assert "".join(pieces) == "one two"
        assert answer.finished is not None
        reply = await client.complete(model, [{"role": "user", "content": "one two"}])
        assert reply.text == "one two"
        assert f"{reply.provider}/{reply.model}" == model


async def test_nothing_is_sent_before_a_stream_is_entered(
    client: penstock.Client, sandbox: Sandbox
) -> None:
    client.stream(H2O, "one")
    client.conversation(H2O)
    await asyncio.sleep(0)
    assert state(sandbox, "h2o").requests == 0


async def test_all_ways_to_say_the_same(client: penstock.Client) -> None:
    request = ChatRequest(
        model=H2O, messages=(Message("user", "one two three"),), sampling=Sampling(max_tokens=2)
    )
    by_request = await client.complete(request)
    by_words = await client.complete(H2O, "one two three", max_tokens=2)
    by_sampling = await client.complete(
        H2O, [Message("user", "one two three")], sampling=Sampling(max_tokens=9), max_tokens=2
    )
    assert by_request == by_words == by_sampling
    assert (by_words.text, by_words.finish_reason) == ("one two", "length")


async def test_a_single_stop_text_is_one_stop(client: penstock.Client) -> None:
    reply = await client.complete("openai_compatible/sandbox-model", "a bc d", stop="bc")
    assert "d" not in reply.text


async def test_a_system_message_goes_in_front() -> None:
    held = Held("yes")
    async with (
        Sandbox(["openai"], script=held) as sandbox,
        penstock.Client(config=NONE, providers=sandbox.providers) as client,
    ):
        await client.complete("openai_compatible/sandbox-model", "hi", system="Be brief.")
    assert [message.role for message in held.prompts[0].messages] == ["system", "user"]


async def test_many_at_once_are_not_mixed_up(client: penstock.Client, sandbox: Sandbox) -> None:
    async def ask(number: int) -> None:
        words = " ".join([str(number)] * 20)
        assert (await client.complete(H2O, words)).text == words

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(ask(number))
    assert state(sandbox, "h2o").conversations.left == []


# -- conversations -----------------------------------------------------------------------------


async def test_a_conversation_goes_on_until_it_is_deleted(
    client: penstock.Client, sandbox: Sandbox
) -> None:
    conversation = client.conversation(OA)
    await client.complete(OA, "one", conversation=conversation)
    await client.complete(OA, "two", conversation=conversation)
    assert state(sandbox, "openassistant").conversations.left == [conversation.id]
    await client.delete(OA, conversation)
    assert state(sandbox, "openassistant").conversations.left == []


@pytest.mark.parametrize("model", [OA, H2O])
async def test_a_conversation_goes_on_after_it_was_stored(
    client: penstock.Client, sandbox: Sandbox, model: str
) -> None:
    conversation = client.conversation(model)
    await client.complete(model, "one", conversation=conversation)
    stored = json.dumps(conversation.to_dict())
    async with penstock.Client(config=NONE, providers=sandbox.providers) as other:
        again = other.conversation(model, json.loads(stored))
        assert again == conversation
        await other.complete(model, "two", conversation=again)
        await other.delete(model, again)
    name = model.partition("/")[0]
    assert len(state(sandbox, name).conversations.created) == 1
    assert state(sandbox, name).conversations.left == []


async def test_cleanup_deletes_what_the_client_used(sandbox: Sandbox) -> None:
    async with penstock.Client(config=NONE, providers=sandbox.providers, cleanup=True) as client:
        for model in (OA, H2O):
            await client.complete(model, "one", conversation=client.conversation(model))
    for name in ("openassistant", "h2o"):
        assert len(state(sandbox, name).conversations.created) == 1
        assert state(sandbox, name).conversations.left == []


async def test_a_provider_without_conversations_says_so(client: penstock.Client) -> None:
    with pytest.raises(BadRequestError, match="no native conversations"):
        client.conversation("cog/")


# -- names and settings ------------------------------------------------------------------------


async def test_an_alias_is_a_model(sandbox: Sandbox) -> None:
    settings = Settings(aliases={"fast": H2O})
    async with penstock.Client(config=settings, providers=sandbox.providers) as client:
        assert client.resolve("fast") == ("h2o", "falcon-40b")
        assert (await client.complete("fast", "one")).text == "one"


async def test_models_of_one_and_of_all_are_names_that_can_be_asked(
    client: penstock.Client,
) -> None:
    assert "openai_compatible/sandbox-small" in [
        info.id for info in await client.models("openai_compatible")
    ]
    everything = await client.models()
    assert {info.id.partition("/")[0] for info in everything} >= {"h2o", "openassistant"}
    assert all(client.resolve(info.id)[0] for info in everything)


async def test_a_new_name_with_an_address_is_an_openai_compatible_server(
    sandbox: Sandbox,
) -> None:
    mine = {"mine": {"base_url": sandbox.urls["openai"] + "/v1"}}
    async with penstock.Client(config=NONE, providers=mine) as client:
        assert (await client.complete("mine/sandbox-model", "one")).text == "one"
        assert client.provider("mine").name == "mine"


async def test_settings_come_from_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f'[providers.h2o]\nbase_url = "{sandbox.urls["h2o"]}"\n')
    async with penstock.Client(config=file) as client:
        assert (await client.complete(H2O, "one")).text == "one"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"providers": {"h2o": {"bse_url": "x"}}}, ConfigError, "has no setting"),
        ({"providers": {"h2o": {"cookies": "x"}}}, ConfigError, "has the wrong type"),
        ({"providers": {"h2o": {"base_url": 5}}}, ConfigError, "'base_url'] has the wrong type"),
        ({"providers": {"h2o": {"base_url": "x"}}}, ConfigError, r"\['h2o'\]: .*http"),
        ({"providers": {"h2o": {"timeout": -1}}}, ConfigError, r"\['h2o'\]: timeout must be"),
        ({"providers": {"x": None}}, ConfigError, "must be a mapping that holds its settings"),
        ({"providers": {"h2o": "http://a"}}, ConfigError, "must be a mapping .* not str"),
        ({"providers": ["h2o"]}, ConfigError, "providers must be a mapping"),
        ({"timeout": -1}, BadRequestError, "positive"),
        ({"config": "/nowhere/p.toml"}, ConfigError, "no configuration file"),
    ],
)
def test_wrong_arguments_are_told_at_once(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        penstock.Client(**{"config": NONE, **arguments})


async def test_what_a_provider_needs_is_told_before_anything_is_sent() -> None:
    async with penstock.Client(config=NONE) as client:
        with pytest.raises(ConfigError, match="PENSTOCK_H2O_BASE_URL"):
            client.stream(H2O, "one")
        with pytest.raises(ModelNotFoundError, match="names no provider"):
            client.stream("nobody/x", "one")
        with pytest.raises(MissingAuthError):
            await client.complete("openai/x", "one")


async def test_a_credential_does_not_travel_to_another_address(sandbox: Sandbox) -> None:
    settings = Settings(
        providers={"replicate": penstock.ProviderConfig(name="replicate", api_key="real")}
    )
    elsewhere = {"replicate": {"base_url": sandbox.urls["cog"]}}
    async with penstock.Client(config=settings, providers=elsewhere) as client:
        with pytest.raises(MissingAuthError):
            await client.complete("replicate/a/b", "one")
    assert state(sandbox, "cog").requests == 0


async def test_a_call_has_limits_of_its_own() -> None:
    gate = asyncio.Event()
    async with (
        Sandbox(["openai"], script=Held("one", gate)) as sandbox,
        penstock.Client(config=NONE, providers=sandbox.providers, timeout=30) as client,
    ):
        limits = Timeouts(first_content=5.0, idle=0.05)
        with pytest.raises(StreamTimeoutError) as caught:
            await client.stream("openai_compatible/sandbox-model", "hi", timeout=limits).reply()
        assert caught.value.partial == "one"
        gate.set()
        assert (await client.complete("openai_compatible/sandbox-model", "hi")).text == "one"


# -- sessions of a site ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["netscape", "json"])
async def test_a_cookie_file_is_the_session_of_a_site(
    sandbox: Sandbox, tmp_path: Path, form: str
) -> None:
    name, value = "next-auth.session-token", sandbox.providers["openassistant"]["api_key"]
    file = tmp_path / "cookies"
    if form == "json":
        file.write_text(f'[{{"name": "{name}", "value": "{value}", "domain": "127.0.0.1"}}]')
    else:
        file.write_text(f"127.0.0.1\tFALSE\t/\tFALSE\t0\t{name}\t{value}\n")
    only_address = {"openassistant": {"base_url": sandbox.urls["openassistant"]}}
    settings = Settings(cookies_file=str(file))
    async with penstock.Client(config=settings, providers=only_address) as client:
        assert (await client.complete(OA, "one two")).text == "one two"


async def test_a_cookie_file_without_the_site_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "cookies"
    file.write_text("other.test\tFALSE\t/\tFALSE\t0\ta\tb\n")
    only_address = {"openassistant": {"base_url": sandbox.urls["openassistant"]}}
    settings = Settings(cookies_file=str(file))
    async with penstock.Client(config=settings, providers=only_address) as client:
        with pytest.raises(MissingAuthError, match=r"holds no cookies of 127\.0\.0\.1"):
            client.stream(OA, "one")
    assert state(sandbox, "openassistant").requests == 0


async def test_a_session_that_is_missing_is_told_with_all_its_places(sandbox: Sandbox) -> None:
    only_address = {"openassistant": {"base_url": sandbox.urls["openassistant"]}}
    async with penstock.Client(config=Settings(), providers=only_address) as client:
        with pytest.raises(MissingAuthError) as caught:
            await client.complete(OA, "hello")
    for place in (
        "cookies or api_key in [providers.openassistant]",
        "PENSTOCK_OPENASSISTANT_API_KEY",
        "PENSTOCK_COOKIES",
    ):
        assert place in caught.value.message
    with_headers = {**only_address["openassistant"], "headers": {"Cookie": "a=b"}}  # may hold it
    providers = {"openassistant": with_headers}
    async with penstock.Client(config=Settings(), providers=providers) as client:
        assert client.provider("openassistant").name == "openassistant"


# -- leaving -----------------------------------------------------------------------------------


async def test_a_call_that_was_left_is_cleaned_up_before_the_client_is_closed() -> None:
    gate = asyncio.Event()
    async with Sandbox(["h2o"], script=Held("one", gate)) as sandbox:
        async with (
            penstock.Client(config=NONE, providers=sandbox.providers) as client,
            client.stream(H2O, "hi") as answer,
        ):
            async for _ in answer.text():
                break
        left = state(sandbox, "h2o")
        assert (left.conversations.left, left.runs.running) == ([], 0)


async def test_a_shared_session_stays_open(sandbox: Sandbox) -> None:
    session = Session()
    async with penstock.Client(config=NONE, providers=sandbox.providers, session=session) as first:
        await first.complete(H2O, "one")
    async with penstock.Client(config=NONE, providers=sandbox.providers, session=session) as second:
        assert (await second.complete(H2O, "two")).text == "two"
    assert await session.aclose() == []
    await until(lambda: state(sandbox, "h2o").open_connections == 0)
