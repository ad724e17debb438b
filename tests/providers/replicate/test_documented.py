"""The class ``Replicate``: its surface, its defaults, its call forms."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
import pytest_asyncio

from penstock.errors import (
    BadRequestError,
    MissingAuthError,
    ModelNotFoundError,
    PaymentRequiredError,
    PenstockError,
    ResponseError,
    ResponseStatusError,
)
from penstock.providers import Replicate
from penstock.transport import Session
from tests.providers.replicate.upstream import (
    DONE,
    KEY,
    Upstream,
    events,
    output,
    prediction,
    said,
    upstream,
)

MODEL = "meta/meta-llama-3-70b-instruct"
QUESTION = [{"role": "user", "content": "Why?"}]
DOCUMENTED = {
    "api_key": None,
    "proxy": None,
    "timeout": 180,
    "system_prompt": None,
    "max_tokens": None,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "stop": None,
    "extra_data": {},
    "headers": {"accept": "application/json"},
}


class Keyless(Replicate):
    """What a user writes to call without a key."""

    needs_auth = False


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        answers(running)
        yield running


def answers(server: Upstream) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", "/v1/streams/s1", events(output("a"), output("\n"), output("b"), DONE))


def endless(server: Upstream) -> None:
    """The model ``o/n`` says ``a`` and never ends."""
    urls = {"stream": "https://stream.replicate.com/v1/streams/s2"}
    server.creates(said(201, prediction(urls=urls)), "/v1/models/o/n/predictions")
    server.on("GET", "/v1/streams/s2", events(output("a")))


@contextmanager
def threaded() -> Iterator[Upstream]:
    """The server on a loop of its own, for the synchronous forms."""
    ready: Future[tuple[Upstream, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        async with upstream() as running:
            answers(running)
            stop = asyncio.Event()
            ready.set_result((running, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    running, loop, stop = ready.result(10)
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


# -- surface -----------------------------------------------------------------------------------


def test_the_attributes() -> None:
    assert Replicate.url == "https://replicate.com"
    assert Replicate.login_url == "https://replicate.com/account/api-tokens"
    assert Replicate.label == "Replicate"
    assert (Replicate.working, Replicate.needs_auth, Replicate.use_nodriver) == (True, True, False)
    assert Replicate.supports_stream
    assert Replicate.supports_system_message
    assert Replicate.supports_message_history
    assert Replicate.default_model == MODEL
    assert Replicate.models == [MODEL]
    assert Replicate.model_aliases == {}
    assert json.loads(json.dumps(Replicate.get_dict()))["login_url"] == Replicate.login_url


def test_the_parameters_in_their_order_with_their_defaults() -> None:
    parameters = Replicate.get_parameters()
    names = list(parameters)
    assert names[: 2 + len(DOCUMENTED)] == ["model", "messages", *DOCUMENTED]
    assert {name: parameters[name].default for name in DOCUMENTED} == DOCUMENTED
    extras = names[2 + len(DOCUMENTED) :]
    assert extras == ["base_url", "session", "dialect", "media"]
    assert all(parameters[name].kind is parameters[name].KEYWORD_ONLY for name in extras)
    assert Replicate.params.startswith("penstock.providers.Replicate supports: (model")
    assert "headers: Mapping[str, str] = {'accept': 'application/json'}" in Replicate.params


def test_the_list_of_models_is_open() -> None:
    assert Replicate.get_model("") == MODEL
    assert Replicate.get_model("own/model") == "own/model"
    listed = Replicate.get_models()
    listed.append("x")
    assert Replicate.get_models() == [MODEL]


def test_an_unknown_parameter_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="did you mean 'max_tokens'"):
        Replicate.create_async_generator(MODEL, QUESTION, max_token=5)
    with pytest.raises(TypeError, match="max_token"):
        Replicate.create_completion(MODEL, QUESTION, max_token=5)


def test_rule_1_the_defaults_cannot_be_changed() -> None:
    parameters = Replicate.get_parameters()
    for name in ("headers", "extra_data"):
        with pytest.raises(TypeError):
            parameters[name].default["authorization"] = "Bearer x"


# -- calls -------------------------------------------------------------------------------------


async def test_both_call_forms_and_a_newline_token(server: Upstream) -> None:
    made = Replicate.create_async_generator(MODEL, QUESTION, api_key=KEY, base_url=server.api)
    assert server.seen == []
    assert await made is made
    assert [piece async for piece in made] == ["a", "\n", "b"]
    assert (made.finish_reason, made.provider, made.model) == ("stop", "replicate", MODEL)
    again = await Replicate.create_async_generator(
        model="", messages=QUESTION, api_key=KEY, base_url=server.api
    )
    assert [piece async for piece in again] == ["a", "\n", "b"]
    assert server.create.headers["authorization"] == f"Bearer {KEY}"


async def test_the_documented_example_with_stop(server: Upstream) -> None:
    got = [
        piece
        async for piece in Replicate.create_async_generator(
            MODEL,
            QUESTION,
            KEY,
            temperature=0.5,
            max_tokens=64,
            stop=["\n"],
            base_url=server.api,
        )
    ]
    assert got == ["a"]
    assert server.create.json["input"] == {
        "prompt": "Why?",
        "temperature": 0.5,
        "max_tokens": 64,
        "stop_sequences": "\n",
    }
    await server.until(lambda: server.cancels == 1)


async def test_the_other_parameters_reach_the_model(server: Upstream) -> None:
    extra, headers = {"seed": 3, "nothing": None}, {"x-own": "1"}
    text = await Replicate.create_async(
        MODEL,
        [{"role": "system", "content": "two"}, *QUESTION],
        api_key=KEY,
        system_prompt="one",
        top_p=0,
        top_k=5,
        stop="never",
        extra_data=extra,
        headers=headers,
        base_url=server.api,
    )
    assert text == "a\nb"
    assert server.create.json["input"] == {
        "prompt": "Why?",
        "system_prompt": "one\ntwo",
        "top_p": 0,
        "top_k": 5,
        "stop_sequences": "never",
        "seed": 3,
    }
    assert server.create.headers["x-own"] == "1"
    assert (extra, headers) == ({"seed": 3, "nothing": None}, {"x-own": "1"})


async def test_a_missing_key_is_told_by_the_first_item() -> None:
    made = Replicate.create_async_generator(MODEL, QUESTION)
    with pytest.raises(MissingAuthError, match="api_key is missing; give the call api_key="):
        await anext(made)
    with pytest.raises(MissingAuthError):
        await Replicate.create_async(MODEL, QUESTION, api_key="")


async def test_rule_1_a_keyless_call_shows_nobodys_token(server: Upstream) -> None:
    await Replicate.create_async(MODEL, QUESTION, api_key=KEY, base_url=server.api)
    before = len(server.seen)
    assert await Keyless.create_async(MODEL, QUESTION, base_url=server.api) == "a\nb"
    assert all("authorization" not in seen.headers for seen in server.seen[before:])
    assert Replicate.needs_auth


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (201, {"status": "starting"}, ResponseError),
        (402, {"detail": "no credit"}, PaymentRequiredError),
        (404, {"detail": "gone"}, ModelNotFoundError),
        (500, {}, ResponseStatusError),
    ],
)
async def test_errors_to_catch(
    server: Upstream, status: int, body: dict[str, str], error: type[PenstockError]
) -> None:
    server.creates(said(status, body), "/v1/models/o/n/predictions")
    with pytest.raises(error) as failed:
        await Replicate.create_async("o/n", QUESTION, api_key=KEY, base_url=server.api)
    assert failed.value.status == status
    assert ("Model not found" in str(failed.value)) is (status == 404)


async def test_leaving_early_cleans_up(server: Upstream) -> None:
    endless(server)
    async with Session() as session:
        made = Replicate.create_async_generator(
            "o/n", QUESTION, api_key=KEY, base_url=server.api, session=session
        )
        async with made:
            assert await anext(made) == "a"
        await server.until(lambda: server.cancels == 1 and server.streaming == 0)
        assert session.open_connections == 0


async def test_bad_values_are_refused_before_anything_is_sent(server: Upstream) -> None:
    with pytest.raises(BadRequestError, match="timeout"):
        Replicate.create_async_generator(MODEL, QUESTION, api_key=KEY, timeout=-1)
    for bad in ({"top_k": 1.5}, {"temperature": "hot"}, {"stop": [""]}):
        with pytest.raises(BadRequestError):
            await Replicate.create_async(
                MODEL, QUESTION, api_key=KEY, base_url=server.api, **bad
            )  # fmt: skip
    with pytest.raises(ModelNotFoundError, match="owner/name"):
        await Replicate.create_async("gpt-4", QUESTION, api_key=KEY, base_url=server.api)
    assert server.seen == []


async def test_cog_by_the_same_class(server: Upstream) -> None:
    server.on("POST", "/predictions", said(200, {"status": "succeeded", "output": ["o", "k"]}))
    text = await Replicate.create_async("own", QUESTION, base_url=server.api, dialect="cog")
    assert text == "ok"


async def test_two_callers_share_nothing(server: Upstream) -> None:
    server.creates(said(201, prediction("succeeded", output="other")), "/v1/models/o/n/predictions")
    one, two = await asyncio.gather(
        Replicate.create_async(MODEL, QUESTION, api_key="r8_one_one_one", base_url=server.api),
        Replicate.create_async("o/n", QUESTION, api_key="r8_two_two_two", base_url=server.api),
    )
    assert (one, two) == ("a\nb", "other")
    shown = {
        seen.path: seen.headers["authorization"] for seen in server.requests("POST", "/predictions")
    }
    assert sorted(shown.values()) == ["Bearer r8_one_one_one", "Bearer r8_two_two_two"]


def test_the_synchronous_forms() -> None:
    with threaded() as server:
        pieces = Replicate.create_completion(MODEL, QUESTION, api_key=KEY, base_url=server.api)
        assert list(pieces) == ["a", "\n", "b"]
        whole = Replicate.create_completion(
            MODEL, QUESTION, stream=False, api_key=KEY, base_url=server.api
        )
        assert list(whole) == ["a\nb"]
        endless(server)
        with Replicate.create_completion("o/n", QUESTION, api_key=KEY, base_url=server.api) as left:
            assert next(left) == "a"
        assert server.cancels == 1
