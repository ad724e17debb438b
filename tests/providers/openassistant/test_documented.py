"""The documented class: its surface, its call forms, its errors (framework.md section 3)."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from penstock.errors import BadRequestError, MissingAuthError, ModelNotFoundError
from penstock.providers import OpenAssistant
from penstock.sandbox import Sandbox
from penstock.transport import Session
from penstock.types import Conversation

COOKIES = {"session": "sandbox-oa-session"}
MODEL = "OA_SFT_Llama_30B_6"
QUESTION = [{"role": "user", "content": "Привет, как дела?"}]


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    options = {"openassistant": {"tick": 0.05, "patience": 0.05}}
    async with Sandbox(["openassistant"], script="echo", options=options) as running:
        yield running


def where(sandbox: Sandbox) -> dict[str, Any]:
    return {"base_url": sandbox.urls["openassistant"], "cookies": COOKIES}


def left(sandbox: Sandbox) -> Any:
    state: Any = sandbox.state("openassistant")
    return state["conversations"]["left"]


# -- surface ---------------------------------------------------------------------------------------


def test_attributes() -> None:
    shown = OpenAssistant.get_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["url"] == "https://open-assistant.io/chat"
    assert shown["label"] == "Open-Assistant"
    assert (shown["needs_auth"], shown["working"]) == (True, False)
    assert shown["supports_stream"]
    assert shown["supports_system_message"]
    assert shown["supports_message_history"]
    assert not shown["use_nodriver"]
    assert shown["login_url"] is None
    assert OpenAssistant.model == OpenAssistant.default_model == MODEL
    assert MODEL in OpenAssistant.get_models()
    assert OpenAssistant.model_aliases == {}


def test_parameters_and_their_defaults() -> None:
    parameters = OpenAssistant.get_parameters()
    assert list(parameters)[:4] == ["model", "messages", "proxy", "cookies"]
    assert "kwargs" not in parameters
    assert all(
        parameter.kind is inspect.Parameter.KEYWORD_ONLY
        for parameter in list(parameters.values())[4:]
    )
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults["proxy"] is defaults["cookies"] is None
    assert defaults["top_k"] == 50
    assert defaults["temperature"] == 0.35
    assert defaults["repetition_penalty"] == 1.1111111111111112
    assert defaults["max_new_tokens"] == 1024
    assert defaults["top_p"] is defaults["typical_p"] is defaults["system_prompt"] is None
    assert OpenAssistant.params.startswith("penstock.providers.OpenAssistant supports: (model")


def test_an_unknown_parameter_is_named_with_the_nearest_one() -> None:
    with pytest.raises(TypeError, match="'max_new_token'; did you mean 'max_new_tokens'"):
        OpenAssistant.create_async_generator(MODEL, QUESTION, max_new_token=5)


async def test_models_of_the_public_site_are_a_list_and_others_open() -> None:
    with pytest.raises(ModelNotFoundError):
        await OpenAssistant.create_async("gpt-4", QUESTION, cookies=COOKIES)
    assert OpenAssistant.get_model("gpt-4", open_list=True) == "gpt-4"


# -- calls -----------------------------------------------------------------------------------------


async def test_iterated(sandbox: Sandbox) -> None:
    stream = OpenAssistant.create_async_generator(
        MODEL, QUESTION, max_new_tokens=500, **where(sandbox)
    )
    pieces = [piece async for piece in stream]
    assert QUESTION[0]["content"] in "".join(pieces)
    assert stream.finish_reason == "stop"
    assert left(sandbox) == []


async def test_awaited_then_iterated(sandbox: Sandbox) -> None:
    stream = await OpenAssistant.create_async_generator(MODEL, QUESTION, **where(sandbox))
    assert "".join([piece async for piece in stream])


async def test_the_documented_defaults_are_sent(sandbox: Sandbox) -> None:
    server: Any = sandbox.servers["openassistant"]
    seen: list[Any] = []
    question = server.inference.question

    def note(message: Any) -> Any:
        seen.append(message)
        return question(message)

    server.inference.question = note
    await OpenAssistant.create_async("", QUESTION, system_prompt="Be brief.", **where(sandbox))
    parameters = seen[0].work_parameters
    assert "Be brief." in repr(parameters)
    for value in (50, 0.35, 1.1111111111111112, 1024):
        assert repr(value) in repr(parameters)


@pytest.mark.parametrize("bad", [{"temperature": 0}, {"max_tokens": 5000}, {"top_p": 1.5}])
async def test_ranges_are_checked_before_anything_is_sent(
    sandbox: Sandbox, bad: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError):
        await OpenAssistant.create_async(MODEL, QUESTION, **bad, **where(sandbox))
    state: Any = sandbox.state("openassistant")
    assert state["requests"] == 0


async def test_documented_exceptions_both_catch(sandbox: Sandbox) -> None:
    place = {**where(sandbox), "cookies": {"session": "wrong"}}
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await OpenAssistant.create_async(MODEL, QUESTION, **place)
    assert caught.value.status == 403
    with pytest.raises(RuntimeError, match="nope"):
        await OpenAssistant.create_async("nope", QUESTION, **where(sandbox))
    assert left(sandbox) == []


async def test_a_conversation(sandbox: Sandbox) -> None:
    async with Session() as session:
        place = {**where(sandbox), "session": session}
        stream = OpenAssistant.create_async_generator(
            MODEL, "One", return_conversation=True, **place
        )
        *pieces, thread = [item async for item in stream]
        assert isinstance(thread, Conversation)
        assert pieces
        text = await OpenAssistant.create_async(MODEL, "Two", conversation=thread, **place)
        assert "Two" in text
        assert len(thread.messages) == 4
        await thread.delete()
    assert left(sandbox) == []


async def test_a_conversation_of_a_call_without_session_can_be_deleted(sandbox: Sandbox) -> None:
    stream = OpenAssistant.create_async_generator(
        MODEL, "One", return_conversation=True, **where(sandbox)
    )
    *_, thread = [item async for item in stream]
    assert len(left(sandbox)) == 1
    await thread.delete()
    assert left(sandbox) == []


async def test_left_early_it_cleans_up(sandbox: Sandbox) -> None:
    async with OpenAssistant.create_async_generator(
        MODEL, "a b c d e f g h", **where(sandbox)
    ) as stream:
        async for _ in stream:
            break
    async with asyncio.timeout(5):
        while left(sandbox):
            await asyncio.sleep(0.01)


async def test_calls_without_a_session_share_the_accounts_slot(sandbox: Sandbox) -> None:
    """Decision 18, rule 5 of wire/openassistant.md section 12."""
    texts = await asyncio.gather(
        *(
            OpenAssistant.create_async(MODEL, f"Question {number}", **where(sandbox))
            for number in range(4)
        )
    )
    assert all(f"Question {number}" in text for number, text in enumerate(texts))


# -- cookies ---------------------------------------------------------------------------------------


async def test_cookies_come_from_the_cookie_file(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cookies.json"
    cookie = {"name": "next-auth.session-token", "value": "sandbox-oa-session"}
    file.write_text(json.dumps([{**cookie, "domain": "127.0.0.1"}]), "utf-8")
    monkeypatch.setenv("PENSTOCK_COOKIES", str(file))
    place = {"base_url": sandbox.urls["openassistant"]}
    assert await OpenAssistant.create_async(MODEL, QUESTION, **place)


async def test_no_cookies_anywhere_is_missing_auth(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text("# Netscape HTTP Cookie File\n", "utf-8")
    monkeypatch.setenv("PENSTOCK_COOKIES", str(file))
    with pytest.raises(MissingAuthError, match=r"there are no cookies for open-assistant\.io"):
        await OpenAssistant.create_async(MODEL, QUESTION)


# -- sync forms ------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[dict[str, Any]]:
    """A sandbox in a thread of its own, for callers that have no loop."""
    ready, done = threading.Event(), threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with Sandbox(
            ["openassistant"], options={"openassistant": {"tick": 0.05, "patience": 0.05}}
        ) as sandbox:
            found.update(where(sandbox))
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(5)
    yield found
    done.set()
    thread.join()


def test_create_completion(place: dict[str, Any]) -> None:
    pieces = list(OpenAssistant.create_completion(MODEL, QUESTION, **place))
    assert len(pieces) > 1
    whole = list(OpenAssistant.create_completion(MODEL, QUESTION, stream=False, **place))
    assert whole == ["".join(pieces)]


async def test_create_completion_inside_a_running_loop(place: dict[str, Any]) -> None:
    result = OpenAssistant.create_completion(MODEL, QUESTION, **place)
    assert "".join(result)


def test_threads_share_the_accounts_slot(place: dict[str, Any]) -> None:
    texts: list[str] = []

    def ask(number: int) -> None:
        text = asyncio.run(OpenAssistant.create_async(MODEL, f"Question {number}", **place))
        texts.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 3
