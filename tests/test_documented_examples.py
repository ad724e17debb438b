"""The documented examples run as they are written (framework.md section 8).

Each example is kept as a text and executed; only the import path and the base URL are put in. The
back ends are the sandbox's, reached through a relay that shows what was really sent.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from penstock.sandbox import Sandbox
from tests.providers.stage import left, running, until
from tests.relay import Relay, relay

UNKNOWN = "http://back-end.invalid"
"""An origin that only a proxy knows the way to."""

PACKAGES = ["penstock.providers", "penstock.g4f.Provider"]
OPTIONS: dict[str, dict[str, object]] = {
    "allenai": {"dialect": "message-stream"},  # the server of the documented endpoint
    "openassistant": {"tick": 0.05, "patience": 0.05},
}


class Backend:
    """A sandbox server behind its relay."""

    def __init__(self, name: str, sandbox: Sandbox, relay: Relay) -> None:
        self.name = name
        self.sandbox = sandbox
        self.relay = relay

    @property
    def where(self) -> dict[str, str]:
        """Where the examples ask, and with which key where the back end wants one."""
        return {**self.sandbox.providers[self.name], "base_url": self.relay.url}

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The JSON objects that were sent, one a line or one a body."""
        lines = self.relay.text.replace("\r\n", "\n").split("\n")
        found = []
        for line in lines:
            start, end = line.find("{"), line.rfind("}")
            if start == 0 and end > 0:
                found.append(json.loads(line[: end + 1]))
        return found

    async def settled(self) -> None:
        """Wait until no model runs, then look: nothing is left there."""
        await until(lambda: running(self.sandbox, self.name) == 0)
        await until(lambda: self.sandbox.state(self.name)["open_streams"] == 0)
        if self.name != "replicate":  # predictions are no conversations: they stay by themselves
            assert left(self.sandbox, self.name) == []


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[Backend]:
    """A running back end."""
    options = {name: OPTIONS.get(name, {})}
    async with Sandbox([name], options=options) as sandbox, relay(sandbox.urls[name]) as between:
        yield Backend(name, sandbox, between)


@contextmanager
def threaded(name: str) -> Iterator[Backend]:
    """A back end on a thread of its own, for callers that block theirs; judged at its end."""
    ready: Future[tuple[Backend, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with backend(name) as made:
            done = asyncio.Event()
            ready.set_result((made, asyncio.get_running_loop(), done))
            await done.wait()
            await made.settled()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    made, loop, done = ready.result(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


async def run(example: str, **names: Any) -> dict[str, Any]:
    """Execute an example; what it prints is in ``printed`` of the names it leaves."""
    printed: list[Any] = []
    names |= {"print": lambda value, **_: printed.append(value), "printed": printed}
    code = compile(
        inspect.cleandoc(example), "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    result = eval(code, names)
    if isinstance(result, Awaitable):
        await result
    return names


def text_of(names: dict[str, Any]) -> str:
    """The pieces an example printed, joined."""
    assert names["printed"]
    assert all(isinstance(piece, str) and piece for piece in names["printed"])
    return "".join(names["printed"])


# -- AllenAI -----------------------------------------------------------------------------------

ALLENAI = """
    from {root} import AllenAI, Conversation

    conversation = Conversation("tulu3-405b")
    messages = [{{"role": "user", "content": "What is the capital of France?"}}]

    async def main():
        generator = await AllenAI.create_async_generator(
            model="tulu3-405b",
            messages=messages,
            conversation=conversation,
            return_conversation=True,
            base_url=base_url,
        )
        async for message in generator:
            print(message)

    await main()
"""


@pytest.mark.parametrize(
    "root", ["penstock.providers.allenai.documented", "penstock.g4f.Provider.AllenAI"]
)
async def test_allenai_with_a_conversation_awaited_then_iterated(root: str) -> None:
    async with backend("allenai") as there:
        url = there.relay.url
        names = await run(ALLENAI.format(root=root), base_url=url)
        *pieces, last = names["printed"]
        assert "".join(pieces) == "What is the capital of France?"
        conversation = names["conversation"]
        assert last is conversation
        assert conversation.parent is not None
        assert conversation.messages == [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "What is the capital of France?"},
        ]
        await run("await conversation.delete()", conversation=conversation)
        await there.settled()
        assert ("POST", "/v4/message/stream") in there.relay.requests


# -- OpenAssistant -----------------------------------------------------------------------------

OPENASSISTANT = """
    from {root} import OpenAssistant

    messages = [{{"role": "user", "content": {question!r}}}]
    cookies = {{{cookie!r}: "sandbox-oa-session"}}

    async def main():
        async for message in OpenAssistant.create_async_generator(
            model="OA_SFT_Llama_30B_6",
            messages=messages,
            cookies=cookies,{more}
            base_url=base_url,
        ):
            print(message)

    await main()
"""
QUESTION = "Hello, how are you?"


def openassistant(root: str, question: str = QUESTION, *more: str, cookie: str = "session") -> str:
    """The example, with further arguments."""
    lines = "".join(f"\n            {argument}," for argument in more)
    return OPENASSISTANT.format(root=root, question=question, cookie=cookie, more=lines)


@pytest.mark.parametrize("root", [*PACKAGES, "penstock.g4f.Provider.OpenAssistant"])
async def test_openassistant_with_cookies(root: str) -> None:
    async with backend("openassistant") as there:
        names = await run(openassistant(root), base_url=there.relay.url)
        assert text_of(names) == QUESTION
        assert names["cookies"] == {"session": "sandbox-oa-session"}, "the mapping is the caller's"
        await there.settled()
        cookie = "session=sandbox-oa-session; next-auth.session-token=sandbox-oa-session"
        assert f"Cookie: {cookie}\r\n" in there.relay.text


async def test_openassistant_with_the_cookie_by_the_sites_own_name() -> None:
    async with backend("openassistant") as there:
        example = openassistant(PACKAGES[0], cookie="next-auth.session-token")
        assert text_of(await run(example, base_url=there.relay.url)) == QUESTION
        await there.settled()
        assert "Cookie: next-auth.session-token=sandbox-oa-session\r\n" in there.relay.text


@pytest.mark.parametrize("root", PACKAGES)
async def test_openassistant_with_a_proxy(root: str) -> None:
    async with backend("openassistant") as there:
        example = openassistant(root, QUESTION, "proxy=proxy")
        names = await run(example, base_url=UNKNOWN, proxy=there.relay.url)
        assert text_of(names) == QUESTION
        await there.settled()
        assert all(target.startswith(f"{UNKNOWN}/") for _, target in there.relay.requests)
        assert {method for method, _ in there.relay.requests} >= {"POST", "DELETE"}


@pytest.mark.parametrize("root", PACKAGES)
async def test_openassistant_with_a_limit_and_a_cyrillic_question(root: str) -> None:
    question = "Привет! Расскажи, пожалуйста, что такое нейронная сеть?"
    async with backend("openassistant") as there:
        example = openassistant(root, question, "max_new_tokens=500")
        assert text_of(await run(example, base_url=there.relay.url)) == question
        await there.settled()
        (sampling,) = (sent["sampling_parameters"] for sent in there.sent if "model" in str(sent))
        assert sampling["max_new_tokens"] == 500
        assert sampling["temperature"] == 0.35, "the other parameters keep their defaults"


# -- H2o ---------------------------------------------------------------------------------------

H2O = """
    from {root} import H2o

    messages = [{{"role": "user", "content": "What is the meaning of life?"}}]

    async def main():
        generator = await H2o.create_async_generator(
            model="h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1",
            messages=messages,{more}
            base_url=base_url,
        )
        async for message in generator:
            print(message)

    await main()
"""
MEANING = "What is the meaning of life?"


def h2o(root: str, *more: str) -> str:
    """The example, with further arguments."""
    return H2O.format(root=root, more="".join(f"\n            {argument}," for argument in more))


@pytest.mark.parametrize("root", [*PACKAGES, "penstock.g4f.Provider.H2o"])
async def test_h2o_awaited_then_iterated(root: str) -> None:
    async with backend("h2o") as there:
        assert text_of(await run(h2o(root), base_url=there.relay.url)) == MEANING
        await there.settled()
        (parameters,) = (sent["parameters"] for sent in there.sent if "parameters" in sent)
        assert parameters.pop("details") is True
        assert parameters == {
            "temperature": 0.4,
            "truncate": 2048,
            "max_new_tokens": 1024,
            "do_sample": True,
            "repetition_penalty": 1.2,
            "return_full_text": False,
        }


@pytest.mark.parametrize("root", PACKAGES)
async def test_h2o_with_a_proxy(root: str) -> None:
    async with backend("h2o") as there:
        names = await run(h2o(root, "proxy=proxy"), base_url=UNKNOWN, proxy=there.relay.url)
        assert text_of(names) == MEANING
        await there.settled()
        assert all(target.startswith(f"{UNKNOWN}/") for _, target in there.relay.requests)
        assert {method for method, _ in there.relay.requests} >= {"POST", "DELETE"}


@pytest.mark.parametrize("root", PACKAGES)
async def test_h2o_with_parameters(root: str) -> None:
    async with backend("h2o") as there:
        example = h2o(root, "temperature=0.7", "max_new_tokens=500")
        assert text_of(await run(example, base_url=there.relay.url)) == MEANING
        await there.settled()
        (parameters,) = (sent["parameters"] for sent in there.sent if "parameters" in sent)
        assert (parameters["temperature"], parameters["max_new_tokens"]) == (0.7, 500)


# -- the older H2O module ----------------------------------------------------------------------

COMPLETION = """
    from {root} import _create_completion

    messages = [{{"role": "user", "content": "Tell me about water."}}]

    for token in _create_completion(
        model={model!r}, messages=messages, stream=True, {more}base_url=base_url
    ):
        print(token)
"""


@pytest.mark.parametrize("root", ["penstock.providers.h2o_sync", "penstock.g4f.Provider.H2o"])
@pytest.mark.parametrize(
    ("model", "more", "full", "expected"),
    [
        ("falcon-7b", "temperature=0.1, ", "falcon-7b-v3", {"temperature": 0.1}),
        ("falcon-40b", "max_new_tokens=50, ", "falcon-40b-v1", {"max_new_tokens": 50}),
        ("llama-13b", "", "open-llama-13b", {"temperature": 0.4, "max_new_tokens": 1024}),
    ],
)
def test_completions_of_the_older_module(
    root: str, model: str, more: str, full: str, expected: dict[str, object]
) -> None:
    example = COMPLETION.format(root=root, model=model, more=more)
    with threaded("h2o") as there:
        names = asyncio.run(run(example, base_url=there.relay.url))
        sent = there.sent
    assert text_of(names).endswith("\nuser: Tell me about water.\nassistant:")
    assert f"h2oai/h2ogpt-gm-oasst1-en-2048-{full}" in [one.get("model") for one in sent]
    (parameters,) = (one["parameters"] for one in sent if "parameters" in one)
    assert {name: parameters[name] for name in expected} == expected


# -- Replicate ---------------------------------------------------------------------------------

REPLICATE = """
    from {root} import Replicate

    messages = [{{"role": "user", "content": {question!r}}}]

    async def main():
        async for message in Replicate.create_async_generator(
            model="meta/meta-llama-3-70b-instruct",
            messages=messages,
            api_key=api_key,{more}
            base_url=base_url,
        ):
            print(message)

    await main()
"""
REPLICATE_ROOTS = [*PACKAGES, "penstock.g4f.Provider.Replicate"]


def replicate(root: str, question: str, *more: str) -> str:
    """The example, with further arguments."""
    lines = "".join(f"\n            {argument}," for argument in more)
    return REPLICATE.format(root=root, question=question, more=lines)


@pytest.mark.parametrize("root", REPLICATE_ROOTS)
async def test_replicate_with_a_key(root: str) -> None:
    async with backend("replicate") as there:
        example = replicate(root, "What is\na penstock?")
        assert text_of(await run(example, **there.where)) == "What is\na penstock?"
        await there.settled()
        assert f"Authorization: Bearer {there.where['api_key']}\r\n" in there.relay.text


@pytest.mark.parametrize("root", REPLICATE_ROOTS)
async def test_replicate_with_parameters_and_a_stop_string(root: str) -> None:
    async with backend("replicate") as there:
        example = replicate(
            root, "one line\nand another", "temperature=0.7", "max_tokens=100", 'stop=["\\n"]'
        )
        assert text_of(await run(example, **there.where)) == "one line"
        await there.settled()
        (given,) = (sent["input"] for sent in there.sent if "input" in sent)
        assert (given["temperature"], given["max_tokens"]) == (0.7, 100)
