"""The estimate of tokens follows its rule, and never stands in for a count."""

from __future__ import annotations

import pytest

from penstock.gateway.surfaces import estimate
from penstock.types import ChatRequest, Message, Tool, ToolCallPart, Usage


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("café", 1),
        ("мир и", 3),
        ("日本語", 3),
        ("🦜", 1),
    ],
)
def test_the_rule_of_the_estimate(text: str, tokens: int) -> None:
    assert estimate.tokens_of(text) == tokens


def test_a_question_costs_its_messages_calls_and_tools() -> None:
    plain = ChatRequest(model="m", messages=(Message("user", "abcdefgh"),))
    assert estimate.prompt_tokens_of(plain) == 6
    call = Message("assistant", tool_calls=(ToolCallPart(id="c", name="name", arguments="args"),))
    assert estimate.prompt_tokens_of(ChatRequest(model="m", messages=(call,))) == 6
    tools = ChatRequest(model="m", messages=plain.messages, tools=(Tool(name="f"),))
    assert estimate.prompt_tokens_of(tools) > 6


def test_only_what_is_not_counted_is_estimated_and_then_marked() -> None:
    request = ChatRequest(model="m", messages=(Message("user", "abcd"),))
    whole = Usage(prompt_tokens=0, completion_tokens=0)
    assert estimate.completed(whole, request, "abcd") is None
    assert estimate.completed(None, request, "abcd") == Usage(
        prompt_tokens=5, completion_tokens=1, estimated=True
    )
    counted = Usage(completion_tokens=70)
    assert estimate.completed(counted, request, "abcd") == Usage(
        prompt_tokens=5, completion_tokens=70, estimated=True
    )
