"""``POST /v1/messages``: bodies to questions, blocks in their order; over sockets at the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.config.gateway import GatewaySettings
from penstock.errors import BadRequestError
from penstock.gateway.errors import Failure
from penstock.gateway.stops import StoppedAt
from penstock.gateway.surfaces.messages import MessagesWriter
from penstock.gateway.surfaces.messages_body import ask_messages, read_messages
from penstock.gateway.surfaces.surface import Asked
from penstock.sandbox import Sandbox
from penstock.types import (
    Capabilities,
    Event,
    Finished,
    Message,
    Reasoning,
    Reply,
    Text,
    Tool,
    ToolCall,
    ToolCallPart,
    Usage,
    Waiting,
)
from tests.gateway.framed import named_frames, written
from tests.gateway.running import Running, running_gateway

NOTHING = Capabilities()
LIMITED = Capabilities(sampling={"max_tokens": None})
OPENAI = Capabilities(
    sampling=dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens", "stop")),
    tools=True,
    images=True,
    extra=None,
    chat_completions=True,
)
TOOL = {"name": "weather", "description": "It.", "input_schema": {"type": "object"}}
CHATUI = "chatui/Qwen/Qwen3-8B"


def asked(able: Capabilities = LIMITED, *, lenient: bool = False, **members: Any) -> Asked:
    question = [{"role": "user", "content": "Hello"}]
    given = {"model": "p/m", "max_tokens": 9, "messages": question, **members}
    return ask_messages(read_messages(given, 10), given, able, lenient=lenient)


def said(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}] * 11}, "messages"),
        (said({"type": "text"}), "messages"),
        (said({"type": "document"}), "messages"),
        (said({"type": "image"}), "messages"),
        (said({"type": "image", "source": {"type": "file", "file_id": "x"}}), "messages"),
        (said({"type": "tool_result", "content": "x"}), "messages"),
        (said({"type": "tool_result", "tool_use_id": "a", "content": 3}), "messages"),
        (said({"type": "tool_result", "tool_use_id": "a", "content": ["x"]}), "messages"),
        (said({"type": "tool_use", "id": "a"}, role="assistant"), "messages"),
        ({"system": [{"type": "image"}]}, "messages"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"temperature": 0.5}, "temperature"),
        ({"top_k": 3}, "top_k"),
        ({"tools": [TOOL]}, "tools"),
        ({"tools": [{"type": "web_search_20250305", "name": "x"}]}, "tools[0].input_schema"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"whatever": 1}, "whatever"),
    ],
)
def test_what_is_wrong_or_cannot_be_honoured_is_refused_by_its_name(
    members: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        asked(**members)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "members",
    [
        {"temperature": None, "system": None, "tools": None, "whatever": None},
        {"metadata": {"user_id": "u"}, "service_tier": "auto", "thinking": {"type": "disabled"}},
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"tool_choice": {"type": "auto"}, "stop_sequences": [], "system": ""},
    ],
)
def test_what_changes_nothing_is_let_pass(members: dict[str, Any]) -> None:
    assert asked(**members).request == asked().request


def test_the_limit_that_must_be_given_is_no_wish() -> None:
    assert asked(LIMITED).request.sampling.max_tokens == 9
    made = asked(NOTHING)
    assert (made.request.sampling.given(), made.dropped) == ({}, ("max_tokens",))


def test_stop_sequences_are_looked_for_here_everywhere() -> None:
    """Only so the answer can say which one it was."""
    many = [f"s{number}" for number in range(9)]
    made = asked(OPENAI, stop_sequences=many)
    assert made.stops == tuple(many)
    assert made.request.sampling.stop == ()


def test_lenient_leaves_out_and_says_so() -> None:
    made = asked(lenient=True, top_k=3, tools=[TOOL], tool_choice="auto")
    assert set(made.dropped) == {"top_k", "tools", "tool_choice"}


def test_blocks_are_messages() -> None:
    history = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "wi"}, {"type": "text", "text": "nd"}],
                },
                {"type": "text", "text": "So?", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                },
            ],
        },
    ]
    system = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    first, question, turn, rain, wind, last = asked(
        messages=history, system=system
    ).request.messages
    assert first == Message("system", "Be brief.")
    assert question.text == "Weather?"
    assert turn.text == "I look."
    assert turn.tool_calls == (
        ToolCallPart(id="a", name="f", arguments='{"x":1}'),
        ToolCallPart(id="b", name="g", arguments="{}"),
    )
    assert [(m.role, m.tool_call_id, m.text) for m in (rain, wind)] == [
        ("tool", "a", "rain"),
        ("tool", "b", "wind"),
    ]
    assert (last.role, last.text, last.images[0].data) == ("user", "So?", b"hi")


def test_what_the_back_end_knows_travels() -> None:
    made = asked(OPENAI, temperature=0.5, top_p=0.9, top_k=3, tools=[TOOL], stream=True)
    known = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_tokens": 9}
    assert made.request.sampling.given() == known
    tool = Tool(name="weather", description="It.", parameters={"type": "object"})
    assert made.request.tools == (tool,)
    assert made.stream


@pytest.mark.parametrize(
    ("members", "extra"),
    [
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"tool_choice": {"type": "auto"}}, {}),
        ({"tool_choice": {"type": "any"}, "tools": [TOOL]}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "none"}, "tools": [TOOL]}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "tool", "name": "weather"}, "tools": [TOOL]},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            {
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                "tools": [TOOL],
            },
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_an_upstream_of_chat_completions_is_told_in_its_words(
    members: dict[str, Any], extra: dict[str, Any]
) -> None:
    assert asked(OPENAI, **members).request.extra == extra


# -- events ----------------------------------------------------------------------------------------


def writer(known: Usage | None = None) -> MessagesWriter:
    return MessagesWriter("msg_1", "p/m", "req_1", known)


def streamed(*batches: list[Event], known: Usage | None = None) -> list[Any]:
    return named_frames(written(writer(known), *batches))


def blocks(events: list[Any]) -> list[tuple[str, int]]:
    """What is opened, written to and closed, in order."""
    return [
        (event["type"].removeprefix("content_block_"), event["index"])
        for event in events
        if isinstance(event, dict) and "index" in event
    ]


def whole(**facts: Any) -> Any:
    return json.loads(
        writer().whole([Reply(**{"text": "", "model": "m", "provider": "p", **facts})])
    )


def test_text_is_one_block() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    events = streamed([Text(" a")], [Text("\n"), Text("🦜")], [Finished(usage=usage)])
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == [{"type": "text_delta", "text": text} for text in (" a", "\n", "🦜")]
    message = events[0]["message"]
    assert message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "p/m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": None, "output_tokens": None},
    }
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2]["usage"] == {"input_tokens": 3, "output_tokens": 2}


def test_blocks_follow_each_other() -> None:
    events = streamed(
        [Reasoning("hm")],
        [Text("a"), Text("b")],
        [ToolCall(index=0, id="t", name="f", arguments='{"x"'), ToolCall(arguments=":1}")],
        [Text("c"), Finished(finish_reason="tool_calls")],
    )
    assert blocks(events) == [
        ("start", 0),
        ("delta", 0),
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("delta", 1),
        ("stop", 1),
        ("start", 2),
        ("delta", 2),
        ("delta", 2),
        ("stop", 2),
        ("start", 3),
        ("delta", 3),
        ("stop", 3),
    ]
    opened = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [block["type"] for block in opened] == ["thinking", "text", "tool_use", "text"]
    assert opened[2] == {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_pieces_of_calls_that_come_in_turns_are_not_mixed_up() -> None:
    events = streamed(
        [ToolCall(index=0, id="a", name="f"), ToolCall(index=1, name="g", arguments="[")],
        [ToolCall(index=0, arguments="{}"), ToolCall(index=1, arguments="]")],
        [Finished(finish_reason=None)],
    )
    written: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_delta":
            index = event["index"]
            written[index] = written.get(index, "") + event["delta"]["partial_json"]
    assert written == {0: "{}", 1: "[]"}
    assert blocks(events)[-2:] == [("stop", 0), ("stop", 1)]
    ids = [e["content_block"]["id"] for e in events if e["type"] == "content_block_start"]
    assert ids == ["a", "toolu_1_1"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_an_empty_answer_is_an_empty_block() -> None:
    assert blocks(streamed([Finished()])) == [("start", 0), ("stop", 0)]
    assert whole()["content"] == [{"type": "text", "text": ""}]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, ("end_turn", None)),
        ("stop", ("end_turn", None)),
        ("eos_token", ("end_turn", None)),
        ("length", ("max_tokens", None)),
        ("MAX_TOKENS", ("max_tokens", None)),
        ("tool_calls", ("tool_use", None)),
        ("content_filter", ("refusal", None)),
        (StoppedAt.of("END"), ("stop_sequence", "END")),
    ],
)
def test_stop_reasons_are_anthropics_own(reason: str | None, told: tuple[str, str | None]) -> None:
    delta = streamed([Text("a"), Finished(finish_reason=reason)])[-2]["delta"]
    message = whole(text="a", finish_reason=reason)
    for found in (delta, message):
        assert (found["stop_reason"], found["stop_sequence"]) == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"x": 1}', {"x": 1}),
        ("", {}),
        ("{", {"arguments": "{"}),
        ("[1]", {"arguments": "[1]"}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
    ],
)
def test_the_input_of_a_whole_call_is_an_object_whatever_the_model_wrote(
    arguments: str, told: object
) -> None:
    calls = (ToolCallPart(id="c", name="f", arguments=arguments),)
    (block,) = whole(tool_calls=calls, finish_reason="tool_calls")["content"]
    assert block == {"type": "tool_use", "id": "c", "name": "f", "input": told}


def test_a_whole_answer_has_its_blocks_in_order() -> None:
    calls = (ToolCallPart(id="", name="f"),)
    content = whole(text="a", reasoning="hm", tool_calls=calls)["content"]
    assert [block["type"] for block in content] == ["thinking", "text", "tool_use"]
    assert content[2]["id"] == "toolu_0_1"


def test_estimates_are_marked_from_the_beginning_on() -> None:
    known = Usage(prompt_tokens=7, estimated=True)
    usage = Usage(prompt_tokens=7, completion_tokens=2, estimated=True)
    events = streamed([Text("a"), Finished(usage=usage)], known=known)
    assert events[0]["message"]["usage"]["estimated"] is True
    assert events[-2]["usage"] == {"input_tokens": 7, "output_tokens": 2, "estimated": True}


def test_waiting_and_warnings_are_comments() -> None:
    events = streamed([Waiting("cold_start")], [Text("a"), Finished()])
    assert events[1] == ": waiting cold_start"


def test_an_error_after_the_first_byte_is_an_error_event() -> None:
    made = writer()
    data = made.opening() + made.events([Text("half")], 0)
    last = named_frames(data + made.failed(Failure(502, "broke", code="model")))[-1]
    assert last == {
        "type": "error",
        "error": {"type": "api_error", "message": "broke"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_have_anthropics_types(status: int, kind: str) -> None:
    body = json.loads(writer().refused(Failure(status, "no")))
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "req_1",
    }


# -- over sockets ----------------------------------------------------------------------------------


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with (
        Sandbox(["openai", "chatui"]) as sandbox,
        running_gateway(sandbox.providers, GatewaySettings(estimate_usage=True)) as running,
    ):
        yield running


def question(model: str, text: str = "One two", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 100, "messages": messages, **more}


@pytest.mark.parametrize("stream", [True, False])
async def test_the_stop_sequence_that_was_found_is_told(gateway: Running, stream: bool) -> None:
    model = "openai_compatible/sandbox-model"
    body = question(model, "one two three", stop_sequences=["x", "o th"], stream=stream)
    async with gateway.http.post(f"{gateway.url}/v1/messages", json=body) as answer:
        data = await answer.read()
    if stream:
        events = [event for event in named_frames(data) if isinstance(event, dict)]
        text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
        end = events[-2]["delta"]
    else:
        end = json.loads(data)
        text = end["content"][0]["text"]
    assert text == "one tw"
    assert (end["stop_reason"], end["stop_sequence"]) == ("stop_sequence", "o th")


async def test_usage_is_estimated_where_the_gateway_is_told_to(gateway: Running) -> None:
    body = question(CHATUI, stream=True)
    async with gateway.http.post(f"{gateway.url}/v1/messages", json=body) as answer:
        events = named_frames(await answer.read())
    assert "max_tokens" in answer.headers["warnings"]
    first, last = events[0]["message"]["usage"], events[-2]["usage"]
    assert first == {"input_tokens": 6, "output_tokens": None, "estimated": True}
    assert last == {"input_tokens": 6, "output_tokens": 2, "estimated": True}


async def test_a_refusal_has_anthropics_shape_and_names_the_request(gateway: Running) -> None:
    body = question(CHATUI, top_k=3)
    async with gateway.http.post(f"{gateway.url}/v1/messages", json=body) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["type"]) == (400, "invalid_request_error")
    assert told["request_id"] == answer.headers["request-id"]
