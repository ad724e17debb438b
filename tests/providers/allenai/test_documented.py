"""The documented class ``AllenAI``: its surface, its call forms, its conversation."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from penstock.errors import BadRequestError, ConfigError, ModelNotFoundError, PenstockError
from penstock.providers import AllenAI
from penstock.providers.allenai.documented import Conversation
from penstock.sandbox import Sandbox
from penstock.transport import Session
from penstock.types import Conversation as JsonConversation
from penstock.types import Message
from tests.sockets import Peer, scripted

HELLO = [{"role": "user", "content": "Hello there"}]
ANSWER = "Hello there"


@asynccontextmanager
async def sandbox(dialect: str = "message-stream") -> Any:
    async with Sandbox(["allenai"], options={"allenai": {"dialect": dialect}}) as running:
        yield running


@contextmanager
def sandbox_thread(dialect: str = "message-stream") -> Iterator[Sandbox]:
    """A sandbox whose loop runs on a thread of its own, for callers who block theirs."""
    ready, held = threading.Event(), list[Any]()

    async def serve() -> None:
        async with sandbox(dialect) as running:
            end = asyncio.Event()
            held.extend([running, end, asyncio.get_running_loop()])
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    running, end, loop = held
    try:
        yield running
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


# -- the surface -----------------------------------------------------------------------------------


def test_attributes_are_as_documented() -> None:
    assert {name: getattr(AllenAI, name) for name in DOCUMENTED} == DOCUMENTED
    assert AllenAI.get_models() == AllenAI.models
    assert AllenAI.get_models() is not AllenAI.models
    assert json.loads(json.dumps(AllenAI.get_dict()))["name"] == "AllenAI"


DOCUMENTED = {
    "label": "Ai2 Playground",
    "url": "https://playground.allenai.org",
    "login_url": None,
    "api_endpoint": "https://olmo-api.allen.ai/v4/message/stream",
    "working": True,
    "needs_auth": False,
    "use_nodriver": False,
    "supports_stream": True,
    "supports_system_message": False,
    "supports_message_history": True,
    "default_model": "tulu3-405b",
    "models": [
        "tulu3-405b",
        "OLMo-2-1124-13B-Instruct",
        "tulu-3-1-8b",
        "Llama-3-1-Tulu-3-70B",
        "olmoe-0125",
        "olmo-2-0325-32b-instruct",
    ],
    "model_aliases": {
        "tulu-3-405b": "tulu3-405b",
        "olmo-2-13b": "OLMo-2-1124-13B-Instruct",
        "tulu-3-8b": "tulu-3-1-8b",
        "tulu-3-70b": "Llama-3-1-Tulu-3-70B",
        "olmo-1-7b": "olmoe-0125",
        "olmo-2-32b": "olmo-2-0325-32b-instruct",
    },
}


def test_documented_parameters_come_first_with_their_defaults() -> None:
    parameters = AllenAI.get_parameters()
    documented = {
        "model": inspect.Parameter.empty,
        "messages": inspect.Parameter.empty,
        "proxy": None,
        "host": "inferd",
        "private": True,
        "top_p": None,
        "temperature": None,
        "conversation": None,
        "return_conversation": False,
    }
    first = list(parameters)[: len(documented)]
    assert {name: parameters[name].default for name in first} == documented
    kinds = {parameters[name].kind for name in list(parameters)[len(documented) :]}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert {"base_url", "timeout", "session", "dialect"} <= set(parameters)
    assert "kwargs" not in parameters
    assert AllenAI.params.startswith("penstock.providers.AllenAI supports: (model: str, messages")


def test_models_by_alias_default_and_name() -> None:
    assert AllenAI.get_model("") == "tulu3-405b"
    assert AllenAI.get_model(None) == "tulu3-405b"
    assert AllenAI.get_model("olmo-2-13b") == "OLMo-2-1124-13B-Instruct"
    assert AllenAI.get_model("olmoe-0125") == "olmoe-0125"
    with pytest.raises(ModelNotFoundError, match="tulu3-405b"):
        AllenAI.get_model("tulu")


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(TypeError, match=r"temperatur.*'temperature'"):
        AllenAI.create_async_generator("tulu3-405b", HELLO, temperatur=1)
    with pytest.raises(TypeError):
        AllenAI.create_completion("tulu3-405b", HELLO, temperatur=1)


# -- the conversation ------------------------------------------------------------------------------


def test_a_conversation_survives_json_before_and_after_its_first_turn() -> None:
    conversation = Conversation("tulu3-405b")
    assert isinstance(conversation, JsonConversation)
    assert (conversation.model, conversation.parent) == ("tulu3-405b", None)
    assert conversation.messages == []
    assert conversation.x_anonymous_user_id != Conversation("tulu3-405b").x_anonymous_user_id
    assert conversation.x_anonymous_user_id not in repr(conversation)  # who has it owns the thread
    for _ in range(2):
        restored = Conversation.from_dict(json.loads(json.dumps(conversation.to_dict())))
        assert restored == conversation
        assert restored.get_dict() == conversation.get_dict()
        conversation.parent = "msg_A1"
        conversation.messages.append({"role": "user", "content": "a"})


# -- the call forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["message-stream", "threads"])
async def test_the_documented_example(dialect: str) -> None:
    """framework.md section 8: awaited, then iterated, then continued."""
    model = "tulu3-405b" if dialect == "message-stream" else "Olmo-3-7B-Instruct"
    async with sandbox(dialect) as running:
        conversation = Conversation(model)
        said: list[str] = []
        for text in ("My name is Ann.", "What is it?"):
            generator = await AllenAI.create_async_generator(
                model=model,
                messages=[{"role": "user", "content": text}],
                conversation=conversation,
                return_conversation=True,
                base_url=running.urls["allenai"],
            )
            async for piece in generator:
                if isinstance(piece, Conversation):
                    assert piece is conversation
                else:
                    said.append(piece)
        assert "".join(said) == "My name is Ann.What is it?"
        assert [turn["content"] for turn in conversation.messages] == [
            *("My name is Ann.",) * 2,
            *("What is it?",) * 2,
        ]
        await conversation.delete()  # the sessions of both calls are closed by now
        assert running.state("allenai")["conversations"]["left"] == []


async def test_iterated_without_awaiting_it_leaves_nothing() -> None:
    async with sandbox() as running:
        result = AllenAI.create_async_generator("", HELLO, base_url=running.urls["allenai"])
        assert (result.finish_reason, result.provider) == (None, "allenai")
        pieces = [piece async for piece in result]
        assert "".join(pieces) == ANSWER
        assert "" not in pieces
        assert (result.finish_reason, result.conversation) == ("stop", None)
        assert running.state("allenai")["conversations"]["left"] == []


async def test_a_conversation_that_was_only_asked_for_is_made() -> None:
    async with sandbox() as running:
        result = AllenAI.create_async_generator(
            "tulu-3-405b", HELLO, return_conversation=True, base_url=running.urls["allenai"]
        )
        last = [piece async for piece in result][-1]
        assert isinstance(last, Conversation)
        assert last.model == "tulu3-405b"
        assert len(running.state("allenai")["conversations"]["left"]) == 1


async def test_left_early_it_cleans_up() -> None:
    async with sandbox() as running:
        url = running.urls["allenai"]
        async with AllenAI.create_async_generator("", HELLO, base_url=url) as result:
            async for _ in result:
                break
        assert running.state("allenai")["conversations"]["left"] == []


async def test_the_session_of_the_caller_is_shared_and_remembers() -> None:
    async with sandbox("threads") as running, Session() as session:
        shared: dict[str, Any] = {"session": session, "base_url": running.urls["allenai"]}
        for _ in range(2):
            text = await AllenAI.create_async("Olmo-3-7B-Instruct", HELLO, **shared)
            assert text == ANSWER
        posts = [one["path"] for one in running.state("allenai")["log"] if one["method"] == "POST"]
        assert posts == ["/v4/message/stream", "/v4/threads/", "/v4/threads/"]
        assert session.open_connections == 0


async def test_parameters_reach_the_wire() -> None:
    bodies: list[str] = []

    async def refuse(peer: Peer) -> None:
        await peer.request()
        bodies.append(peer.requests[0][1].decode("latin-1"))
        no = b'{"error": {"message": "inappropriate_prompt"}}'
        await peer.answer(no, 400, "Content-Type: application/json", "Connection: close")

    async with scripted(refuse) as server:

        async def ask(model: str = "olmo-2-13b", **given: Any) -> dict[str, str]:
            with pytest.raises(PenstockError) as caught:
                await AllenAI.create_async(model, HELLO, base_url=server.url, **given)
            assert caught.value.kind == "moderation"
            parts = bodies[-1].split('form-data; name="')[1:]
            return {part.partition('"')[0]: part.split("\r\n")[2] for part in parts}

        plain = await ask()
        assert plain == {
            "model": "OLMo-2-1124-13B-Instruct",
            "host": "modal",  # "inferd" is the default and means: where the model is known to be
            "content": "Hello there",
            "private": "true",
        }
        given = await ask(
            host="elsewhere",
            private=False,
            top_p=0.9,
            temperature=0,
            max_tokens=7,
            stop="END",
            extra={"n": 1, "template": None},
        )
        assert given == {
            **plain,
            "host": "elsewhere",
            "private": "false",
            "top_p": "0.9",
            "temperature": "0",
            "max_tokens": "7",
            "stop": "END",
            "n": "1",
        }
        await ask("some-model", media=[(b"\x89PNG\r\n\x1a\n", "a.png")])
        assert 'name="files"; filename="a.png"\r\nContent-Type: image/png' in bodies[-1]


async def test_what_is_wrong_is_said_before_anything_is_sent() -> None:
    async with sandbox() as running:
        url = running.urls["allenai"]
        for given, words in (
            ({"temperature": 1.5}, "temperature must be within 0 to 1"),
            ({"top_p": 0.915}, "multiple of 0.01"),
            ({"extra": {"nn": 1}}, "did you mean n"),
        ):
            with pytest.raises(BadRequestError, match=words):
                await AllenAI.create_async(
                    "tulu3-405b", HELLO, base_url=url, dialect="message-stream", **given
                )
        with pytest.raises(ConfigError, match="no dialect"):
            await AllenAI.create_async("tulu3-405b", HELLO, base_url=url, dialect="v4")
        for messages in ([], [{"role": "user"}], [{"role": "king", "content": "a"}]):
            with pytest.raises(BadRequestError, match="messages"):
                await AllenAI.create_async("tulu3-405b", messages, base_url=url)
        assert running.state("allenai")["requests"] == 0


async def test_the_list_of_models_is_closed_only_for_the_protocol_it_was_read_from() -> None:
    """Today's server has models that the document could not know; it is asked."""
    empty = [Message("user", "")]  # refused before anything is sent, but after the model's name
    for given in ({}, {"dialect": "threads"}, {"base_url": "http://127.0.0.1:9"}):
        with pytest.raises(BadRequestError, match="empty"):
            await AllenAI.create_async("Olmo-3-7B-Instruct", empty, **given)
    with pytest.raises(ModelNotFoundError, match="did you mean"):
        await AllenAI.create_async("Olmo-3-7B-Instruct", HELLO, dialect="message-stream")
    async with Session() as session:
        session.memory["allenai", "dialect", "https://olmo-api.allen.ai"] = "message-stream"
        with pytest.raises(ModelNotFoundError, match="did you mean"):
            await AllenAI.create_async("Olmo-3-7B-Instruct", HELLO, session=session)


# -- sync forms ------------------------------------------------------------------------------------


def test_sync_pieces_from_a_plain_thread() -> None:
    with sandbox_thread() as running:
        url = running.urls["allenai"]
        assert "".join(AllenAI.create_completion("", HELLO, base_url=url)) == ANSWER
        assert list(AllenAI.create_completion("", HELLO, stream=False, base_url=url)) == [ANSWER]
        pieces = AllenAI.create_completion(
            "", HELLO, base_url=url, return_conversation=True, conversation=Conversation()
        )
        assert isinstance(list(pieces)[-1], Conversation)


async def test_sync_pieces_inside_a_running_loop() -> None:
    with sandbox_thread() as running:
        url = running.urls["allenai"]
        assert "".join(AllenAI.create_completion("", HELLO, base_url=url)) == ANSWER
