"""Whatever a body holds, it is a question or a refusal that names a member; it never fails.

All three surfaces, against back ends that know nothing, something and everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadRequestError
from penstock.gateway.surfaces.body import read_object
from penstock.gateway.surfaces.chat_body import ask_chat, read_chat
from penstock.gateway.surfaces.messages_body import ask_messages, read_messages
from penstock.gateway.surfaces.responses_body import ask_responses, read_responses
from penstock.gateway.surfaces.surface import Asked
from penstock.types import Capabilities, ChatRequest

ABLE = [
    Capabilities(),
    Capabilities(sampling={"max_tokens": None, "temperature": (0, 2)}, tools=True, images=True),
    Capabilities(
        sampling=dict.fromkeys(("max_tokens", "temperature", "top_p", "stop", "seed")),
        tools=True,
        images=True,
        extra=None,
        chat_completions=True,
    ),
]

text = st.text(max_size=6) | st.sampled_from(["user", "text", "auto", "none", "function", "a\0b"])
atom = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
NAMES = re.findall(
    r"\w+",
    "type role content text name id arguments function parameters tool_calls tool_call_id call_id "
    "image_url url source data media_type output input summary refusal format effort strict "
    "input_schema tool_use_id is_error include_usage description schema user_id",
)
KINDS = re.findall(
    r"\w+",
    "text input_text output_text refusal image image_url input_image tool_use tool_result thinking "
    "message function_call function_call_output reasoning base64 json_schema tool any",
)
value = st.recursive(
    atom | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | text, inner, max_size=5)
    ),
    max_leaves=12,
)
block = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)}, optional=dict.fromkeys(NAMES[1:], value)
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": value},
    optional={"tool_calls": value, "name": value, "tool_call_id": value},
) | st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.lists(block, max_size=3)}
)
MEMBERS = re.findall(
    r"\w+",
    "stream stream_options n temperature top_p top_k seed max_tokens max_completion_tokens stop "
    "tools tool_choice parallel_tool_calls response_format logprobs user metadata instructions "
    "previous_response_id max_output_tokens text reasoning store include system stop_sequences "
    "thinking whatever",
)


def body_of(turns: str, **required: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies whose ``turns`` are mostly what they should be."""
    turn = message if turns == "messages" else message | block
    return st.fixed_dictionaries(
        {
            "model": st.just("p/m") | value,
            turns: st.lists(turn, min_size=1, max_size=4) | value,
            **required,
        },
        optional={name: value for name in MEMBERS if name not in required},
    )


def chat(given: dict[str, Any], able: Capabilities, lenient: bool) -> Asked:
    return ask_chat(read_chat(given, 10), given, able, lenient=lenient)


def responses(given: dict[str, Any], able: Capabilities, lenient: bool) -> Asked:
    return ask_responses(read_responses(given, 10), given, able, lenient=lenient)


def messages(given: dict[str, Any], able: Capabilities, lenient: bool) -> Asked:
    return ask_messages(read_messages(given, 10), given, able, lenient=lenient)


Ask = Callable[[dict[str, Any], Capabilities, bool], Asked]


def judge(ask: Ask, body: dict[str, Any], able: Capabilities, lenient: bool) -> None:
    try:
        asked = ask(body, able, lenient)
    except BadRequestError:
        return
    assert lenient or set(asked.dropped) <= {"max_tokens"}
    kept = msgspec.convert(msgspec.to_builtins(asked.request), ChatRequest)
    assert kept.messages == asked.request.messages


fuzzed = settings(max_examples=50, deadline=None)


@fuzzed
@given(body_of("messages"), st.sampled_from(ABLE), st.booleans())
def test_a_chat_body_is_a_question_or_a_refusal(
    body: dict[str, Any], able: Capabilities, lenient: bool
) -> None:
    judge(chat, body, able, lenient)


@fuzzed
@given(body_of("input"), st.sampled_from(ABLE), st.booleans())
def test_a_responses_body_is_a_question_or_a_refusal(
    body: dict[str, Any], able: Capabilities, lenient: bool
) -> None:
    judge(responses, body, able, lenient)


@fuzzed
@given(
    body_of("messages", max_tokens=st.integers(1, 9) | value), st.sampled_from(ABLE), st.booleans()
)
def test_a_messages_body_is_a_question_or_a_refusal(
    body: dict[str, Any], able: Capabilities, lenient: bool
) -> None:
    judge(messages, body, able, lenient)


@fuzzed
@given(st.binary(max_size=40) | value.map(msgspec.json.encode))
def test_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        found = read_object(data)
    except BadRequestError:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize("ask", [chat, responses, messages])
def test_the_judge_lets_a_proper_question_through(ask: Ask) -> None:
    turns = [{"role": "user", "content": "Hello"}]
    body = {"model": "p/m", "max_tokens": 5, "messages": turns, "input": turns}
    if ask is responses:
        del body["max_tokens"], body["messages"]
    else:
        del body["input"]
    assert ask(body, ABLE[1], False).request.messages[0].text == "Hello"
