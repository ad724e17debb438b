"""The documented classes' frame: both call forms, sync forms, parameters (framework.md)."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.errors import BadRequestError, ModelNotFoundError, PenstockError
from penstock.providers import OpenAICompatible, OpenAssistant
from penstock.providers.results import AsyncResult, SyncResult
from penstock.sandbox import Sandbox
from penstock.transport import Session

ASK = [{"role": "user", "content": "one two  three\n"}]
MODEL = "sandbox-model"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai"], pace=0.001) as running:
        yield running
        async with asyncio.timeout(2):
            while running.state("openai")["open_streams"]:
                await asyncio.sleep(0.005)


@pytest.fixture
def remote() -> Iterator[str]:
    """A sandbox in a thread of its own, for callers that block theirs."""
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    urls: list[str] = []

    async def serve() -> None:
        async with Sandbox(["openai"]) as running:
            stop.append((asyncio.get_running_loop(), asyncio.Event()))
            urls.append(running.urls["openai"])
            ready.set()
            await stop[0][1].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    yield urls[0]
    loop, event = stop[0]
    loop.call_soon_threadsafe(event.set)
    thread.join()


async def test_it_can_be_iterated_and_awaited_first(sandbox: Sandbox) -> None:
    url = sandbox.urls["openai"]
    result = OpenAICompatible.create_async_generator(MODEL, ASK, base_url=url)
    assert isinstance(result, AsyncResult)
    assert result.finish_reason is None
    pieces = [piece async for piece in result]
    assert "".join(pieces) == "one two  three\n"
    assert all(pieces)
    assert result.finish_reason == "stop"
    assert result.usage is not None
    assert (result.provider, result.model) == ("openai_compatible", MODEL)
    assert result.conversation is None
    assert result.warnings == ()
    awaited = await OpenAICompatible.create_async_generator(MODEL, ASK, base_url=url)
    assert [piece async for piece in awaited] == pieces
    assert await OpenAICompatible.create_async(MODEL, ASK, base_url=url, stream=True) == (
        "one two  three\n"
    )


async def test_nothing_happens_before_the_first_item(sandbox: Sandbox) -> None:
    OpenAICompatible.create_async_generator(MODEL, ASK, base_url=sandbox.urls["openai"])
    gc.collect()
    assert sandbox.state("openai")["requests"] == 0


@pytest.mark.parametrize("way", ["aclose", "context", "collected"])
async def test_leaving_early_stops_the_remote_side(sandbox: Sandbox, way: str) -> None:
    url = sandbox.urls["openai"]
    async with Session() as session:
        result = OpenAICompatible.create_async_generator(
            MODEL, [{"role": "user", "content": "word " * 500}], base_url=url, session=session
        )
        assert await anext(aiter(result)) == "word"
        if way == "aclose":
            await result.aclose()
        elif way == "context":
            async with result:
                pass
        del result
        gc.collect()
        async with asyncio.timeout(2):
            while session.open_connections or sandbox.state("openai")["open_streams"]:
                await asyncio.sleep(0.005)


async def test_a_cancelled_call_does_not_hold_its_caller_until_the_remote_side_is_clean() -> None:
    """An answer of this server cannot be stopped, only waited for (openassistant.md section 9)."""
    words = [{"role": "user", "content": "word " * 28}]
    cookies = {"next-auth.session-token": "sandbox-oa-session"}
    async with Sandbox(["openassistant"], pace=0.05) as running:
        url = running.urls["openassistant"]
        made = OpenAssistant.create_async_generator("", words, cookies=cookies, base_url=url)
        await anext(made)
        asking = asyncio.create_task(made.whole())
        await asyncio.sleep(0)
        asking.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait([asking])
        assert asking.cancelled()
        async with asyncio.timeout(10):
            while "'deleted': []" in repr(running.state("openassistant")["conversations"]):
                await asyncio.sleep(0.01)


async def test_an_unknown_parameter_is_a_type_error_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"OpenAICompatible has no parameter 'temprature'.*'temp"):
        OpenAICompatible.create_async_generator(MODEL, ASK, temprature=1)
    with pytest.raises(TypeError, match="zzz"):
        OpenAICompatible.create_completion(MODEL, ASK, zzz=1)


@pytest.mark.parametrize("messages", [[], [{"role": "robot", "content": "x"}], [{"role": "user"}]])
async def test_bad_messages_are_errors_before_anything_is_sent(messages: list[object]) -> None:
    with pytest.raises(BadRequestError):
        await OpenAICompatible.create_async(MODEL, messages)  # type: ignore[arg-type]


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_the_sync_form_works_anywhere(remote: str, inside_a_loop: bool) -> None:
    def ask() -> list[str]:
        completion = OpenAICompatible.create_completion(MODEL, ASK, base_url=remote)
        assert isinstance(completion, SyncResult)
        pieces = list(completion)
        assert completion.finish_reason == "stop"  # the facts stay after the end
        assert completion.usage is not None
        assert completion.conversation is None
        return pieces

    async def inside() -> list[str]:
        return ask()

    pieces = asyncio.run(inside()) if inside_a_loop else ask()
    assert "".join(pieces) == "one two  three\n"
    assert len(pieces) > 1
    assert "penstock-portal" not in {thread.name for thread in threading.enumerate()}


def test_the_sync_form_whole_early_and_in_threads(remote: str) -> None:
    whole = OpenAICompatible.create_completion(MODEL, ASK, stream=False, base_url=remote)
    assert list(whole) == ["one two  three\n"]
    with OpenAICompatible.create_completion(MODEL, ASK, base_url=remote) as completion:
        assert completion.finish_reason is None
        assert next(completion) == "one"
    assert list(completion) == []
    dropped = OpenAICompatible.create_completion(MODEL, ASK, base_url=remote)
    next(dropped)
    del dropped
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "penstock-portal":
            thread.join(5)  # the collector does not wait for the cleanup, and nothing else runs
            assert not thread.is_alive()
    answers: list[str] = []

    def use() -> None:
        answers.append("".join(OpenAICompatible.create_completion(MODEL, ASK, base_url=remote)))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["one two  three\n"] * 6


def test_errors_come_out_of_the_sync_form(remote: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        list(OpenAICompatible.create_completion("nope", ASK, base_url=remote))
    assert caught.value.model == "nope"
    with pytest.raises(PenstockError):
        list(OpenAICompatible.create_completion("nope", ASK, False, base_url=remote))


def test_parameters_are_listed_in_order_and_as_a_line() -> None:
    """The documented ones first, in the documented order; ours after them; all but ``kwargs``."""
    parameters = OpenAICompatible.get_parameters()
    assert list(parameters)[:4] == ["model", "messages", "proxy", "api_key"]
    assert "kwargs" not in parameters
    assert all(isinstance(value, inspect.Parameter) for value in parameters.values())
    line = OpenAICompatible.params
    assert isinstance(line, str)
    assert line.startswith("penstock.providers.OpenAICompatible supports: (model: str, ")
    assert "temperature: float | None = None" in line
    assert "\n" not in line


def test_get_dict_is_json() -> None:
    data = json.loads(json.dumps(OpenAICompatible.get_dict()))
    assert data["name"] == "OpenAICompatible"
    assert data["working"] is True
    assert data["needs_auth"] is False
    assert (data["models"], data["model_aliases"]) == ([], {})
    OpenAICompatible.get_dict()["models"].append("mine")
    assert OpenAICompatible.models == []


def test_model_names() -> None:
    class Closed(OpenAICompatible):
        open_models = False
        default_model = "big"
        models = ["big", "small"]  # noqa: RUF012
        model_aliases = {"s": "small"}  # noqa: RUF012

    assert Closed.get_model("") == "big"
    assert Closed.get_model("s") == "small"
    assert Closed.get_model("small") == "small"
    with pytest.raises(ModelNotFoundError, match="small"):
        Closed.get_model("smal")
    assert Closed.get_model("any", open_list=True) == "any"
    assert OpenAICompatible.get_model("any/thing") == "any/thing"
    listed = Closed.get_models()
    listed.append("x")
    assert Closed.get_models() == ["big", "small"]
