"""``POST /v1/responses``: bodies to questions, events in their order; over sockets at the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.config.gateway import GatewaySettings
from penstock.errors import BadRequestError
from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.responses import ResponsesWriter
from penstock.gateway.surfaces.responses_body import ask_responses, read_responses
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
SOME = Capabilities(sampling={"temperature": (0, 2), "max_tokens": None}, tools=True)
OPENAI = Capabilities(
    sampling={"temperature": None, "max_tokens": None},
    tools=True,
    images=True,
    extra=None,
    chat_completions=True,
)
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def asked(able: Capabilities = NOTHING, *, lenient: bool = False, **members: Any) -> Asked:
    given = {"model": "p/m", "input": "Hello", **members}
    return ask_responses(read_responses(given, 10), given, able, lenient=lenient)


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["text"]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}] * 11}, "input"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": None}]}, "input"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"temperature": 0.5}, "temperature"),
        ({"stream": 1}, "stream"),
        ({"tools": [TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
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
        {"instructions": None, "temperature": None, "tools": None, "whatever": None},
        {"store": False, "truncation": "disabled", "include": [], "metadata": {"a": "b"}},
        {"stream_options": {"include_obfuscation": False}, "text": {"format": {"type": "text"}}},
        {"tools": [TOOL], "tool_choice": "none"},
        {"top_p": 1.0, "parallel_tool_calls": True, "tool_choice": "auto"},
    ],
)
def test_what_changes_nothing_is_let_pass(members: dict[str, Any]) -> None:
    assert asked(**members).request == asked().request


def test_lenient_leaves_out_and_says_so() -> None:
    made = asked(lenient=True, temperature=0.5, tools=[TOOL], store=True)
    assert set(made.dropped) == {"temperature", "tools", "store"}
    assert made.request.tools == ()


def test_instructions_and_text_are_messages() -> None:
    messages = asked(instructions="Be brief.", input="Hi 🦜").request.messages
    assert messages == (Message("system", "Be brief."), Message("user", "Hi 🦜"))


def test_a_history_of_items_is_a_history_of_messages() -> None:
    """Calls of one turn are one message, as every server demands that has calls at all."""
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b", "output": [{"x": 1}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": "And now?"},
    ]
    system, user, turn, first, second, refusal, last = asked(input=history).request.messages
    assert (system.role, user.text, last.text) == ("developer", "Weather?", "And now?")
    assert turn.text == "I look."
    assert [call.id for call in turn.tool_calls] == ["a", "b"]
    assert (first.tool_call_id, first.text) == ("a", "rain")
    assert (second.tool_call_id, second.text) == ("b", '[{"x":1}]')
    assert refusal.text == "No."


def test_what_the_back_end_knows_travels() -> None:
    made = asked(SOME, temperature=0.5, max_output_tokens=9, tools=[TOOL], stream=True)
    assert made.request.sampling.given() == {"temperature": 0.5, "max_tokens": 9}
    assert made.request.tools == (Tool(name="weather", parameters={"type": "object"}),)
    assert made.stream
    assert asked(SOME, tools=[TOOL], tool_choice="none").request.tools == ()


@pytest.mark.parametrize(
    ("members", "extra"),
    [
        ({"user": "u", "service_tier": "flex"}, {"user": "u", "service_tier": "flex"}),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, {}),
        ({"tool_choice": "required", "tools": [TOOL]}, {"tool_choice": "required"}),
        ({"tool_choice": "none", "tools": [TOOL]}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "function", "name": "weather"}, "tools": [TOOL]},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {}},
                }
            },
        ),
        (
            {"tools": [{**TOOL, "strict": True}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "parameters": {"type": "object"},
                            "strict": True,
                        },
                    }
                ]
            },
        ),
    ],
)
def test_an_upstream_of_chat_completions_is_told_in_its_words(
    members: dict[str, Any], extra: dict[str, Any]
) -> None:
    assert asked(OPENAI, **members).request.extra == extra


@pytest.mark.parametrize(
    "members",
    [
        {"text": {"format": {"type": "grammar"}}},
        {"text": {"colour": "red"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"tool_choice": {"type": "file_search"}},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_what_has_no_words_there_is_refused_there_too(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        asked(OPENAI, **members)


# -- events ----------------------------------------------------------------------------------------


def writer(**repeated: Any) -> ResponsesWriter:
    return ResponsesWriter("resp_1", "p/m", 17, repeated)


def streamed(*batches: list[Event]) -> list[Any]:
    return named_frames(written(writer(), *batches))


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text_comes_in_the_order_that_helpers_need() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    events = streamed([Text(" a")], [Text("\n"), Text("🦜")], [Finished(usage=usage)])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(11))
    assert [event["delta"] for event in events if "delta" in event] == [" a", "\n", "🦜"]
    assert events[0]["response"]["output"] == events[1]["response"]["output"] == []
    places = {
        (event["item_id"], event["output_index"], event["content_index"]) for event in events[3:9]
    }
    assert places == {("msg_100", 0, 0)}
    final = events[-1]["response"]
    assert final["status"] == "completed"
    assert final["output"] == [events[-2]["item"]]
    assert final["output"][0]["content"][0]["text"] == " a\n🦜"
    assert final["usage"]["total_tokens"] == 5
    assert (final["id"], final["model"], final["created_at"]) == ("resp_1", "p/m", 17)


def test_reasoning_and_calls_are_items_of_their_own() -> None:
    events = streamed(
        [Reasoning("hm ")],
        [Text("I look.")],
        [ToolCall(index=0, id="a", name="f", arguments='{"x"')],
        [ToolCall(index=0, arguments=":1}"), Finished(finish_reason="tool_calls")],
    )
    items = events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
    assert items[0] == {
        "id": "rs_100",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm "}],
    }
    assert items[2] == {
        "id": "fc_102",
        "type": "function_call",
        "status": "completed",
        "call_id": "a",
        "name": "f",
        "arguments": '{"x":1}',
    }
    opened = [event["output_index"] for event in events if event["type"].endswith("item.added")]
    closed = [event["output_index"] for event in events if event["type"].endswith("item.done")]
    assert opened == closed == [0, 1, 2]
    assert events[-1]["response"]["status"] == "completed"


def test_pieces_of_calls_that_come_in_turns_are_not_mixed_up() -> None:
    events = streamed(
        [ToolCall(index=0, id="a", name="f"), ToolCall(index=1, name="g", arguments="[")],
        [ToolCall(index=0, arguments="{}"), ToolCall(index=1, arguments="]"), Finished()],
    )
    items = events[-1]["response"]["output"]
    assert [(item["name"], item["arguments"]) for item in items] == [("f", "{}"), ("g", "[]")]
    assert [item["call_id"] for item in items] == ["a", "call_fc_101"]


def test_an_empty_answer_is_an_empty_message() -> None:
    events = streamed([Finished()])
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert "output_text.delta" not in kinds(events)


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        (None, "completed", None),
        ("stop", "completed", None),
        ("eos_token", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("MAX_TOKENS", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_an_answer_that_is_cut_short_is_incomplete(
    reason: str | None, status: str, details: object
) -> None:
    last = streamed([Text("a"), Finished(finish_reason=reason)])[-1]
    assert last["type"] == f"response.{status}"
    whole = json.loads(
        writer().whole([Reply(text="a", model="m", provider="p", finish_reason=reason)])
    )
    for response in (last["response"], whole):
        assert (response["status"], response["incomplete_details"]) == (status, details)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (None, None),
        (Usage(completion_tokens=2), None),
        (Usage(prompt_tokens=1, completion_tokens=2, estimated=True), True),
    ],
)
def test_usage_is_null_or_marked_where_nobody_counted(usage: Usage | None, told: object) -> None:
    found = streamed([Text("a"), Finished(usage=usage)])[-1]["response"]["usage"]
    assert (found and found["estimated"]) == told


def test_waiting_is_a_comment_and_takes_no_number() -> None:
    events = streamed([Waiting("queue", position=2)], [Text("a"), Finished()])
    assert events[2] == ": waiting queue position=2"
    numbers = [event["sequence_number"] for event in events if isinstance(event, dict)]
    assert numbers == list(range(len(numbers)))


def test_a_failure_keeps_what_had_come_and_is_an_error_for_every_client() -> None:
    made = writer()
    data = made.opening() + made.events([Text("half")], 0)
    *_, failed, error = named_frames(data + made.failed(Failure(502, "broke", code="model")))
    response = failed["response"]
    assert (failed["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"] == {"code": "model", "message": "broke"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"] == "half"
    assert error["error"]["message"] == error["message"] == "broke"


def test_a_whole_answer_has_the_members_that_the_schema_requires() -> None:
    calls = (ToolCallPart(id="c", name="f", arguments="{}"),)
    reply = Reply(text="a", model="m", provider="p", reasoning="hm", tool_calls=calls)
    body = json.loads(writer(instructions="Be brief.", temperature=0.5).whole([reply]))
    required = {"id", "object", "created_at", "status", "error", "incomplete_details", "model"}
    required |= {"instructions", "metadata", "output", "parallel_tool_calls", "temperature"}
    required |= {"tool_choice", "tools", "top_p", "usage"}
    assert required <= body.keys()
    assert (body["instructions"], body["temperature"]) == ("Be brief.", 0.5)
    assert [item["type"] for item in body["output"]] == ["reasoning", "message", "function_call"]


# -- over sockets ----------------------------------------------------------------------------------


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with (
        Sandbox(["openai", "chatui"]) as sandbox,
        running_gateway(sandbox.providers, GatewaySettings(estimate_usage=True)) as running,
    ):
        yield running


async def test_the_first_event_is_the_first_on_the_wire(gateway: Running) -> None:
    body = {"model": "openai_compatible/sandbox-model", "input": "One two", "stream": True}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as answer:
        events = named_frames(await answer.read())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert "estimated" not in events[-1]["response"]["usage"]


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_is_estimated_where_the_gateway_is_told_to(
    gateway: Running, stream: bool
) -> None:
    body = {"model": "chatui/Qwen/Qwen3-8B", "input": "One two", "stream": stream}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as answer:
        text = await answer.text()
    if stream:
        assert ": warning usage_estimated" in text
        text = text.strip().rpartition("data: ")[2]
        found = json.loads(text)["response"]["usage"]
    else:
        assert "usage_estimated" in answer.headers["warnings"]
        found = json.loads(text)["usage"]
    assert (found["input_tokens"], found["output_tokens"], found["estimated"]) == (6, 2, True)


async def test_a_refusal_has_openais_shape(gateway: Running) -> None:
    body = {"model": "chatui/Qwen/Qwen3-8B", "input": "x", "previous_response_id": "resp_1"}
    async with gateway.http.post(f"{gateway.url}/v1/responses", json=body) as answer:
        told = (await answer.json())["error"]
    assert (answer.status, told["param"]) == (400, "previous_response_id")
    assert "send the earlier turns" in told["message"]
