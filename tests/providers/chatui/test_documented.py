"""The class ``ChatUI`` in the documented classes' form (framework.md section 1)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.errors import ConfigError
from penstock.providers import ChatUI
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.sandbox import Sandbox
from penstock.transport import Session

QUESTION = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["chatui"]) as running:
        yield running
        conversations: Any = running.state("chatui")["conversations"]
        assert conversations["created"]
        assert conversations["left"] == []


def test_attributes() -> None:
    facts = ChatUI.get_dict()
    assert json.dumps(facts)
    assert (facts["name"], facts["label"], facts["working"]) == ("ChatUI", "chat-ui", True)
    assert facts["supports_system_message"] is True
    assert facts["supports_message_history"] is True
    assert ChatUI.get_models() == []
    assert ChatUI.get_model("any/model") == "any/model"


def test_signature() -> None:
    names = list(ChatUI.get_parameters())
    assert names[:3] == ["model", "messages", "proxy"]
    assert {"base_url", "timeout", "session", "media", "cookies", "conversation"} <= set(names)
    assert ChatUI.params.startswith("penstock.providers.ChatUI supports: (model")


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "base_ur"])
def test_what_the_server_does_not_take_is_an_unknown_parameter(name: str) -> None:
    unknown: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=name):
        ChatUI.create_async_generator("", QUESTION, **unknown)


async def test_without_an_address_there_is_nobody_to_ask() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        await ChatUI.create_async("", QUESTION)


async def test_awaited_then_iterated(sandbox: Sandbox) -> None:
    answer = await ChatUI.create_async_generator("", QUESTION, base_url=sandbox.urls["chatui"])
    assert [piece async for piece in answer] == ["Hello", " there"]
    assert answer.finish_reason == "stop"


async def test_the_whole_text(sandbox: Sandbox) -> None:
    url = sandbox.urls["chatui"]
    assert await ChatUI.create_async("", QUESTION, base_url=url) == "Hello there"


async def test_a_conversation_is_the_last_item_and_goes_on(sandbox: Sandbox) -> None:
    async with Session() as session:
        shared: dict[str, Any] = {"base_url": sandbox.urls["chatui"], "session": session}
        first = ChatUI.create_async_generator("", QUESTION, return_conversation=True, **shared)
        *_, made = [item async for item in first]
        assert isinstance(made, ChatUIConversation)
        await made.delete()
        conversation = ChatUIConversation()
        for _ in range(2):
            items = [
                item
                async for item in ChatUI.create_async_generator(
                    "", QUESTION, conversation=conversation, return_conversation=True, **shared
                )
            ]
            assert items == ["Hello", " there", conversation]
        assert len(conversation.messages) == 4
        await conversation.delete()
        assert session.open_connections == 0
