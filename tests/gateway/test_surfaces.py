"""Chat completions as pure functions: bodies to questions, events to chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.errors import BadRequestError
from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.body import read_object
from penstock.gateway.surfaces.chat import ChatWriter, joined_usage, reason_of, usage_of
from penstock.gateway.surfaces.chat_body import ask_chat, read_chat
from penstock.gateway.surfaces.surface import Asked, comment
from penstock.types import (
    Capabilities,
    Event,
    Finished,
    ImagePart,
    Notice,
    Reasoning,
    Reply,
    Started,
    Text,
    Tool,
    ToolCall,
    ToolCallPart,
    Usage,
    Waiting,
)
from tests.gateway.framed import written

QUESTION = [{"role": "user", "content": "Hello"}]
NOTHING = Capabilities()
SOME = Capabilities(sampling={"temperature": (0, 2), "max_tokens": None}, tools=True)
ANYTHING = Capabilities(
    sampling=dict.fromkeys(("temperature", "top_p", "seed", "stop", "max_tokens")),
    tools=True,
    images=True,
    extra=None,
    chat_completions=True,
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def asked(able: Capabilities = NOTHING, *, lenient: bool = False, **members: Any) -> Asked:
    given = {"model": "p/m", "messages": QUESTION, **members}
    return ask_chat(read_chat(given, 10), given, able, lenient=lenient)


def refused(able: Capabilities = NOTHING, **members: Any) -> str | None:
    with pytest.raises(BadRequestError) as caught:
        asked(able, **members)
    assert caught.value.param is None or caught.value.param in str(caught.value)
    return caught.value.param


def frames(data: bytes) -> list[Any]:
    """The events of a stream; comments as they are."""
    assert data.endswith(b"\n\n")
    made: list[Any] = []
    for part in data.decode().split("\n\n")[:-1]:
        head, _, rest = part.partition(": ")
        assert "\n" not in part
        made.append(json.loads(rest) if rest.startswith("{") else part)
        assert head in ("data", "")
    return made


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\ud800 and more"}',
        b'{"a": 1e400}',
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 6000 + b"}",
        b'{"a": 1} {}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 200_000,
    ],
)
def test_what_is_no_proper_object_is_refused_and_never_fails_otherwise(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_object(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": "\\ud83e"}', "half of a surrogate pair"),
        (b'{"a": "\\udd9c \\ud83e\\udd9c"}', "half of a surrogate pair"),
        (b'{"a": "\\ud83e and \\udd9c"}', "half of a surrogate pair"),
        (b'{"a": "\\ud83e\\udd9c', "truncated"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 200_000, "too deeply"),
        (b'{"a": 1e400}', "out of range"),
    ],
)
def test_the_reason_is_the_true_one(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason):
        read_object(body)


def test_strange_but_proper_json_is_read() -> None:
    assert read_object(b'{"a": 1, "a": 2}') == {"a": 2}
    assert (
        read_object(b'{"a": 123456789012345678901234567890}')["a"] == 123456789012345678901234567890
    )
    assert read_object('{"a": "\\ud83e\\udd9c é 日本"}'.encode())["a"] == "🦜 é 日本"
    assert read_object(b' \n{"a": null}\t') == {"a": None}
    deep = b'{"a":' * 64 + b"1" + b"}" * 64
    assert read_object(deep)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["text"]}, "messages[0]"),
        ({"messages": [{}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": 3}]}, "messages"),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": {"id": 1}}]},
            "messages",
        ),
        ({"messages": QUESTION * 11}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stop": ["a", 3]}, "stop[1]"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
    ],
)
def test_a_wrong_member_is_refused_by_its_name(members: dict[str, Any], param: str) -> None:
    assert refused(ANYTHING, **members) == param


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_member_is_refused_by_its_name(name: str) -> None:
    given: dict[str, Any] = {"model": "p/m", "messages": QUESTION}
    del given[name]
    with pytest.raises(BadRequestError) as caught:
        read_chat(given, 10)
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"temperature": 1.0}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"seed": 3}, "seed"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"max_completion_tokens": 5}, "max_completion_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"whatever": 1}, "whatever"),
    ],
)
def test_what_a_back_end_cannot_honour_is_refused_or_left_out_and_said(
    members: dict[str, Any], param: str
) -> None:
    assert refused(**members) == param
    left = asked(lenient=True, **members)
    assert left.dropped == (param,)
    assert left.request.sampling.given() == {}
    assert left.request.tools == ()
    assert left.request.extra == {}


@pytest.mark.parametrize(
    "members",
    [
        {"temperature": None, "seed": None, "stop": None, "tools": None, "n": None},
        {"whatever": None, "response_format": None, "logprobs": None, "audio": None},
        {"logprobs": False, "top_logprobs": 0, "modalities": ["text"], "functions": []},
        {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0},
        {"user": "u-1", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"tools": [TOOL], "tool_choice": "none"},
        {"response_format": {"type": "text"}, "logit_bias": {}},
        {"stream": False, "stream_options": {"include_usage": True}},
        {"stream_options": {"include_obfuscation": True}},
    ],
)
def test_what_changes_nothing_is_let_pass_everywhere(members: dict[str, Any]) -> None:
    made = asked(**members)
    assert made.dropped == ()
    assert made.request == asked().request


def test_no_such_sampling_is_let_pass_where_the_range_cannot_say_it() -> None:
    open_range = Capabilities(sampling={"top_p": (0.01, 0.99)})
    assert asked(open_range, top_p=1).request.sampling.given() == {}
    assert asked(open_range, top_p=0.5).request.sampling.given() == {"top_p": 0.5}
    # Any other value out of range is refused by the back end's own check, with its range.
    assert asked(open_range, top_p=2).request.sampling.given() == {"top_p": 2}


def test_what_a_back_end_knows_travels() -> None:
    made = asked(SOME, temperature=0.5, max_completion_tokens=7, tools=[TOOL], stop="x")
    assert made.request.sampling.given() == {"temperature": 0.5, "max_tokens": 7}
    assert made.request.tools == (Tool(name="weather", parameters={"type": "object"}),)
    assert made.stops == ("x",)  # cut here
    assert asked(SOME, max_tokens=5, max_completion_tokens=5).request.sampling.max_tokens == 5


def test_an_upstream_of_the_same_protocol_gets_everything_else_as_it_came() -> None:
    members: dict[str, Any] = {
        "response_format": {"type": "json_object"},
        "whatever": [1],
        "user": "u",
        "none": None,
    }
    made = asked(ANYTHING, stop=["a", "b"], n=2, stream=True, tools=[TOOL], **members)
    assert made.request.sampling.stop == ("a", "b")
    assert made.stops == ()
    assert (made.copies, made.stream) == (2, True)
    kept = {"response_format", "whatever", "user", "messages", "tools"}
    assert set(made.request.extra) == kept
    assert refused(ANYTHING, logprobs=True) == "logprobs"


def test_roles_parts_and_tool_messages_are_understood() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a "}] * 2},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ],
        },
    ]
    first, second, third, fourth, last = asked(messages=history).request.messages
    assert (first.role, first.text) == ("developer", "Be brief.")
    assert (second.name, second.text) == ("Ann", "a a ")
    assert third.tool_calls == (ToolCallPart(id="c1", name="f", arguments="{}"),)
    assert (fourth.role, fourth.tool_call_id, fourth.text) == ("tool", "c1", "42")
    assert last.images == (ImagePart(data=b"hi", media_type="image/png", name="image.png"),)


# -- chunks ----------------------------------------------------------------------------------------


def writer(**options: Any) -> ChatWriter:
    return ChatWriter("chatcmpl-1", "p/m", 17, **{"usage": False, **options})


def streamed(made: ChatWriter, *batches: list[Event], choice: int = 0) -> list[Any]:
    """The frames of a stream whose last batch ends with its end."""
    return frames(written(made, *batches, choice=choice))


def deltas(events: list[Any]) -> list[Any]:
    return [event["choices"][0]["delta"] for event in events if isinstance(event, dict)]


AWKWARD = [
    " lead",
    "",
    '"quoted"\\',
    "\n\n",
    "\r\ndata: x\n\n",
    "\u2028\u0085\0\x1b",
    "日本 🦜",
    "\u200d",
]


@pytest.mark.parametrize("together", [True, False])
def test_pieces_are_kept_to_the_character(together: bool) -> None:
    pieces: list[Event] = [Text(piece) for piece in AWKWARD]
    batches = [pieces] if together else [[piece] for piece in pieces]
    events = streamed(writer(), *batches, [Finished()])
    assert events[-1] == "data: [DONE]"
    role, *said, last = deltas(events[:-1])
    assert role == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in said] == AWKWARD
    assert last == {}


def test_every_chunk_has_what_clients_assert() -> None:
    *events, done = streamed(writer(), [Text("a")], [Text("b"), Finished(finish_reason="length")])
    assert done == "data: [DONE]"
    for event in events:
        assert event.keys() == {"id", "object", "created", "model", "choices"}
        assert event["object"] == "chat.completion.chunk"
        assert (event["id"], event["created"], event["model"]) == ("chatcmpl-1", 17, "p/m")
        assert event["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons == [None, None, None, "length"]


def test_an_empty_answer_is_a_role_and_an_end() -> None:
    assert deltas(streamed(writer(), [Finished()])[:-1]) == [
        {"role": "assistant", "content": ""},
        {},
    ]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (None, None),
        (Usage(prompt_tokens=3), None),
        (Usage(completion_tokens=3), None),
        (Usage(total_tokens=3), None),
        (
            Usage(prompt_tokens=3, completion_tokens=0),
            {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
        ),
        (
            Usage(prompt_tokens=3, completion_tokens=4, total_tokens=9),
            {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9},
        ),
        (
            Usage(prompt_tokens=3, completion_tokens=4, estimated=True),
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 7,
                "estimated": True,
            },
        ),
    ],
)
def test_usage_is_told_as_far_as_it_is_known(usage: Usage | None, told: object) -> None:
    assert usage_of(usage) == told
    *others, last, done = streamed(writer(usage=True), [Text("a"), Finished(usage=usage)])
    assert all(event["usage"] is None for event in others)
    assert (last["choices"], last["usage"], done) == ([], told, "data: [DONE]")
    body = json.loads(writer().whole([Reply(text="a", model="m", provider="p", usage=usage)]))
    assert body["usage"] == told


@pytest.mark.parametrize(
    ("usages", "joined"),
    [
        ([None], None),
        ([Usage(prompt_tokens=1, completion_tokens=2, total_tokens=5)], (1, 2, False)),
        ([Usage(prompt_tokens=1, completion_tokens=2)] * 2, (2, 4, False)),
        ([Usage(prompt_tokens=1, completion_tokens=2), None], None),
        ([Usage(prompt_tokens=1, completion_tokens=2), Usage(completion_tokens=2)], None),
        (
            [
                Usage(prompt_tokens=1, completion_tokens=2),
                Usage(prompt_tokens=1, completion_tokens=2, estimated=True),
            ],
            (2, 4, True),
        ),
    ],
)
def test_the_usage_of_several_choices(usages: list[Usage | None], joined: object) -> None:
    made = joined_usage(usages)
    found = made and (made.prompt_tokens, made.completion_tokens, made.estimated)
    assert found == joined


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, "stop"),
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("MAX_TOKENS", "length"),
        ("max_tokens", "length"),
        ("SAFETY", "content_filter"),
        ("tool_use", "tool_calls"),
        ("something else", "stop"),
    ],
)
def test_finish_reasons_are_openais_own(reason: str | None, told: str) -> None:
    assert reason_of(reason) == told


def test_tool_calls_name_themselves_once_whatever_the_back_end_sends() -> None:
    """Ids repeated, a name that comes later, no id at all (openai-surface.md section 2)."""
    events: list[Event] = [
        ToolCall(index=0, id="c0", name="f"),
        ToolCall(index=0, id="c0", name="f", arguments='{"a"'),
        ToolCall(index=0, arguments=":1}"),
        ToolCall(index=1, arguments=""),
        ToolCall(index=1, name="g", arguments="{}"),
        Finished(finish_reason=None),
    ]
    *made, last, _ = streamed(writer(), events)
    calls = [delta["tool_calls"][0] for delta in deltas(made) if "tool_calls" in delta]
    assert calls == [
        {"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
        {"index": 1, "id": "call_0_1_1", "type": "function", "function": {"arguments": ""}},
        {"index": 1, "function": {"name": "g", "arguments": "{}"}},
    ]
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_whole_tool_calls_have_no_text_and_an_id() -> None:
    calls = (ToolCallPart(id="", name="f", arguments="{}"), ToolCallPart(id="c", name="g"))
    reply = Reply(text="", model="m", provider="p", tool_calls=calls, finish_reason=None)
    choice = json.loads(writer().whole([reply]))["choices"][0]
    assert choice["message"]["content"] is None
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["call_0_0_1", "c"]
    assert choice["finish_reason"] == "tool_calls"


def test_reasoning_has_a_member_of_its_own() -> None:
    events = streamed(writer(), [Reasoning("hm "), Text("yes"), Finished()])
    assert deltas(events[:-1])[1:3] == [{"reasoning_content": "hm "}, {"content": "yes"}]
    reply = Reply(text="yes", model="m", provider="p", reasoning="hm ")
    message = json.loads(writer().whole([reply]))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm ", "yes")


def test_a_whole_answer_has_the_members_that_the_schema_requires() -> None:
    body = json.loads(writer().whole([Reply(text="", model="m", provider="p")]))
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_several_choices_are_told_apart() -> None:
    made = writer(copies=2)
    data = made.opening() + made.events([Text("b")], 1) + made.events([Text("a")], 0)
    data += made.finished(Finished(), 1) + made.finished(Finished(finish_reason="length"), 0)
    places = [
        (event["choices"][0]["index"], event["choices"][0]["finish_reason"])
        for event in frames(data)
    ]
    assert places == [(0, None), (1, None), (1, None), (0, None), (1, "stop"), (0, "length")]


def test_an_error_after_the_first_byte_has_all_members_and_no_end_mark() -> None:
    data = writer().failed(Failure(502, 'out of "memory"\n', code="model"))
    assert frames(data) == [
        {
            "error": {
                "message": 'out of "memory"\n',
                "type": "server_error",
                "param": None,
                "code": "model",
            }
        }
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Waiting("queue", position=3, size=10), ": waiting queue position=3 size=10"),
        (Waiting("queue", position=0, size=0), ": waiting queue size=0"),
        (Waiting("cold_start"), ": waiting cold_start"),
        (
            Waiting("loading", detail='40 %\nof "x"\r\n\r\ndata: {}'),
            ": waiting loading detail=\"40 % of 'x' data: {}\"",
        ),
    ],
)
def test_waiting_is_one_line_of_comment_whatever_the_vendor_says(event: Waiting, line: str) -> None:
    assert comment(event) == f"{line}\n\n".encode()
    made = writer()
    made.opening()
    assert frames(made.events([Started(id="x"), event], 0)) == [line]


def test_warnings_are_comments_before_the_end() -> None:
    end = Finished(warnings=(Notice("text_differs", "a\nb"),))
    *_, note, last, done = streamed(writer(), [Text("a"), end])
    assert (note, done) == (": warning text_differs a b", "data: [DONE]")
    assert last["choices"][0]["finish_reason"] == "stop"
