"""The documented class ``H2o`` and the older sync module (framework.md sections 1, 4 and 8)."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import threading
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from penstock.errors import (
    BadRequestError,
    OverloadedError,
    PenstockError,
    ResponseStatusError,
    StreamTimeoutError,
)
from penstock.providers import H2o, h2o_sync
from penstock.providers.h2o.conversation import H2oConversation
from penstock.providers.h2o.documented_sync import _as_documented
from penstock.sandbox import Sandbox
from penstock.transport import Session
from tests.providers.stage import Answer, Held, stage

QUESTION = [{"role": "user", "content": "Hello there"}]
FULL = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["h2o"]) as running:
        yield running
        conversations: Any = running.state("h2o")["conversations"]
        assert conversations["created"]
        assert conversations["left"] == []


class Threaded:
    """A sandbox in a thread of its own, for callers that are not asynchronous."""

    def __init__(self, script: Held | str = "echo", **options: object) -> None:
        self.url = ""
        self.state: dict[str, Any] = {}
        self._script = script
        self._options = options
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        options = {"h2o": self._options}
        async with Sandbox(["h2o"], script=self._script, options=options) as running:
            self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
            self.url = running.urls["h2o"]
            self._ready.set()
            await self._done.wait()
            self.state = running.state("h2o")

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(5)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        assert self.state["conversations"]["left"] == []


# -- the class ----------------------------------------------------------------------------------


def test_attributes() -> None:
    assert H2o.get_dict() == {
        "name": "H2o",
        "url": "https://gpt-gm.h2o.ai",
        "label": "H2O",
        "login_url": None,
        "working": False,
        "needs_auth": False,
        "use_nodriver": False,
        "supports_stream": True,
        "supports_system_message": False,
        "supports_message_history": True,
        "default_model": FULL,
        "models": H2o.models,
        "model_aliases": H2o.model_aliases,
    }
    assert json.dumps(H2o.get_dict())
    assert H2o.model == FULL
    assert H2o.models[0] == FULL
    assert set(H2o.model_aliases) == {"falcon-40b", "falcon-7b", "llama-13b"}
    assert set(H2o.model_aliases.values()) == set(H2o.models)


def test_signature() -> None:
    parameters = inspect.signature(H2o.create_async_generator).parameters
    assert list(parameters)[:3] == ["model", "messages", "proxy"]
    assert parameters["proxy"].default is None
    assert list(parameters)[-1] == "kwargs"
    defaults = {name: parameter.default for name, parameter in H2o.get_parameters().items()}
    documented = {
        "temperature": 0.4,
        "truncate": 2048,
        "max_new_tokens": 1024,
        "do_sample": True,
        "repetition_penalty": 1.2,
        "return_full_text": False,
    }
    assert {name: defaults[name] for name in documented} == documented
    assert {"top_k", "top_p", "typical_p", "stop", "seed", "watermark"} <= set(defaults)
    assert {"web_search_id", "id", "response_id"} <= set(defaults)
    assert {"base_url", "timeout", "session"} <= set(defaults)
    assert "kwargs" not in defaults
    assert H2o.params.startswith("penstock.providers.H2o supports: (model")


def test_an_unknown_parameter_is_named_with_its_nearest() -> None:
    with pytest.raises(TypeError, match=r"max_new_token.*did you mean 'max_new_tokens'"):
        H2o.create_async_generator("", QUESTION, max_new_token=5)
    with pytest.raises(TypeError, match="tempreature"):
        H2o.create_completion("", QUESTION, tempreature=5)


async def test_awaited_then_iterated(sandbox: Sandbox) -> None:
    answer = await H2o.create_async_generator(H2o.model, QUESTION, base_url=sandbox.urls["h2o"])
    assert [piece async for piece in answer] == ["Hello", " there"]
    assert (answer.finish_reason, answer.provider, answer.model) == ("stop", "h2o", FULL)
    assert answer.usage is not None


async def test_iterated_with_parameters() -> None:
    async with stage() as server:
        server.on("POST", "/settings", Answer(200, [b"{}"]))
        server.on("POST", "/conversation", Answer(200, [b'{"conversationId":"6b00"}']))
        end = b'data:{"token":{"text":" a","special":false},"generated_text":" a"}\n\n'
        sse = {"content-type": "text/event-stream"}
        server.on("POST", "/conversation/6b00", Answer(200, [end], sse))
        server.on("DELETE", "/conversation/6b00", Answer())
        own = "33333333-3333-4333-8333-333333333333"
        pieces = [
            piece
            async for piece in H2o.create_async_generator(
                "falcon-7b",
                QUESTION,
                temperature=0.7,
                max_new_tokens=500,
                top_k=5,
                stop=["x"],
                id=own,
                web_search_id="w",
                base_url=server.url,
            )
        ]
        body = server.requests("POST", "/conversation/6b00")[0].json
    assert pieces == [" a"]
    assert body["parameters"] == {
        "temperature": 0.7,
        "truncate": 2048,
        "max_new_tokens": 500,
        "do_sample": True,
        "repetition_penalty": 1.2,
        "return_full_text": False,
        "details": True,
        "top_k": 5,
        "stop": ["x"],
    }
    assert body["options"]["id"] == own
    assert body["options"]["web_search_id"] == "w"


async def test_the_proxy_is_used(sandbox: Sandbox) -> None:
    dead = "http://127.0.0.1:1"
    with pytest.raises(PenstockError, match="proxy"):
        await H2o.create_async("", QUESTION, proxy=dead, base_url=sandbox.urls["h2o"])
    assert await H2o.create_async("", QUESTION, base_url=sandbox.urls["h2o"]) == "Hello there"


async def test_errors_come_with_the_first_item() -> None:
    answer = H2o.create_async_generator("", QUESTION, temperature=0)
    with pytest.raises(BadRequestError, match="temperature"):
        await anext(answer)
    with pytest.raises(BadRequestError, match="messages"):
        await H2o.create_async("", [])


async def test_a_shared_session_and_a_conversation(sandbox: Sandbox) -> None:
    async with Session() as session:
        made = H2o.create_async_generator(
            "", QUESTION, base_url=sandbox.urls["h2o"], session=session, return_conversation=True
        )
        *pieces, conversation = [item async for item in made]
        assert pieces == ["Hello", " there"]
        assert isinstance(conversation, H2oConversation)
        assert len(conversation.messages) == 2
        assert conversation.id is not None
        await conversation.delete()
        assert conversation.id is None
        assert session.open_connections == 0


def test_sync_form() -> None:
    with Threaded() as url:
        assert list(H2o.create_completion("", QUESTION, base_url=url)) == ["Hello", " there"]
        whole = H2o.create_completion("", QUESTION, stream=False, base_url=url)
        assert list(whole) == ["Hello there"]
        with H2o.create_completion("", QUESTION, base_url=url) as early:
            assert next(early) == "Hello"


# -- the older module ---------------------------------------------------------------------------


def test_names_of_the_older_module() -> None:
    assert h2o_sync.url == "https://gpt-gm.h2o.ai"
    assert h2o_sync.model == ["falcon-40b", "falcon-7b", "llama-13b"]
    assert h2o_sync.models["falcon-40b"] == FULL
    assert list(h2o_sync.models) == h2o_sync.model
    assert h2o_sync.supports_stream is True
    assert h2o_sync.needs_auth is False
    assert h2o_sync.params == (
        "penstock.providers.h2o_sync supports: (model: str, messages: list, stream: bool)"
    )
    assert importlib.import_module("penstock.providers.h2o_sync").url == h2o_sync.url


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("falcon-7b", {"temperature": 0.1}),
        ("falcon-40b", {"max_new_tokens": 50}),
        ("llama-13b", {}),
    ],
)
def test_rule_4_a_completion_cleans_up(model: str, more: dict[str, Any]) -> None:
    script = Held(" a", " b")
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    with Threaded(script) as url:
        pieces = list(h2o_sync._create_completion(model, messages, True, base_url=url, **more))
        assert pieces == [" a", " b"]
        assert list(h2o_sync._create_completion(model, messages, False, base_url=url)) == [" a b"]
    prompt = script.prompts[0]
    assert prompt.model == h2o_sync.models[model]
    instruction, *lines = prompt.messages[-1].content.split("\n")
    assert "conversation between a user and an AI assistant" in instruction
    assert lines == ["system: Be kind.", "user: Hi", "assistant:"]


def test_nothing_happens_before_the_first_piece_and_leaving_early_cleans_up() -> None:
    with Threaded() as url:
        unused = h2o_sync._create_completion("falcon-7b", QUESTION, True, base_url=url)
        unused.close()
        used = h2o_sync._create_completion("falcon-7b", QUESTION, True, base_url=url)
        assert next(used)
        used.close()
    assert "penstock-portal" not in {thread.name for thread in threading.enumerate()}


def test_an_unknown_parameter_of_the_older_module() -> None:
    with pytest.raises(TypeError, match="tempreature"):
        next(h2o_sync._create_completion("falcon-7b", QUESTION, True, tempreature=1))


@pytest.fixture
def requests_package(monkeypatch: pytest.MonkeyPatch) -> type[OSError]:
    """A stand-in for the package, with its exception's constructor."""

    class RequestException(OSError):
        def __init__(self, *args: object, **kwargs: object) -> None:
            self.response = kwargs.pop("response", None)
            super().__init__(*args, **kwargs)

    package, exceptions = ModuleType("requests"), ModuleType("requests.exceptions")
    exceptions.RequestException = RequestException  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "requests", package)
    monkeypatch.setitem(sys.modules, "requests.exceptions", exceptions)
    return RequestException


def test_http_errors_are_the_documented_ones(requests_package: type[OSError]) -> None:
    with Threaded(loading=True) as url:
        failing = h2o_sync._create_completion("falcon-7b", QUESTION, True, base_url=url)
        with pytest.raises(requests_package) as caught:
            next(failing)
    error = caught.value
    assert isinstance(error, OverloadedError)
    assert (error.kind, error.status, error.provider) == ("overloaded", 503, "h2o")
    assert str(error).startswith("h2o: the server has no free slot")


def test_every_kind_of_error_can_be_the_documented_one(requests_package: type[OSError]) -> None:
    for made in (ResponseStatusError("x", status=500), StreamTimeoutError("x"), PenstockError("x")):
        documented = _as_documented(made)
        assert isinstance(documented, requests_package)
        assert isinstance(documented, type(made))
        assert documented.status == made.status


def test_without_the_package_our_own_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests.exceptions", None)
    with Threaded(loading=True) as url:
        failing = h2o_sync._create_completion("falcon-7b", QUESTION, True, base_url=url)
        with pytest.raises(OverloadedError) as caught:
            next(failing)
    assert not isinstance(caught.value, OSError)
    assert caught.value.__cause__ is None
