"""Chat completions on the wire (openai-surface.md sections 1 to 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.errors import PenstockError, ProtocolError, TruncatedError
from penstock.types import Event, Finished, Reasoning, Started, Text, ToolCall, Usage
from penstock.wire.openai import ChatDecoder, decode_completion, response_error
from tests.wire.cuts import cuttings


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    body = {"id": "c1", "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def outcome(data: bytes) -> tuple[list[Event], PenstockError | None]:
    """The events and the failure, proved to be the same at every cutting."""
    results = []
    for pieces in cuttings(data):
        decoder = ChatDecoder("p")
        events = [event for piece in pieces for event in decoder.feed(piece)]
        events += decoder.eof()
        results.append((events, decoder.failure))
    events, failure = results[0]
    assert all((e, str(f)) == (events, str(failure)) for e, f in results)
    return events, failure


def test_an_answer_with_usage() -> None:
    data = chunk({"role": "assistant", "content": ""}) + chunk({"content": " Hi"})
    data += chunk({"content": "\n\n"}) + chunk(finish="length")
    data += b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n" + DONE
    assert outcome(data) == (
        [Started("c1", model="m"), Text(" Hi"), Text("\n\n"), Finished("length", Usage(1, 2, 3))],
        None,
    )


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_under_both_names(name: str) -> None:
    events, _ = outcome(chunk({name: "hm"}) + chunk({"content": "a", name: None}, "stop") + DONE)
    assert events[1:] == [Reasoning("hm"), Text("a"), Finished("stop")]


def test_tool_calls() -> None:
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    data = chunk({"tool_calls": [first]}) + chunk({"tool_calls": [more]})
    data += chunk({"tool_calls": [{"id": "t2"}]}, "tool_calls") + DONE
    events, _ = outcome(data)
    assert events[1:] == [
        ToolCall(0, "t1", "f"),
        ToolCall(0, arguments="{}"),
        ToolCall(0, "t2"),
        Finished("tool_calls"),
    ]


def test_a_refusal_is_text() -> None:
    events, _ = outcome(chunk({"refusal": "no"}, "stop") + DONE)
    assert events[1] == Text("no")


def test_other_choices_comments_and_empty_events_are_passed_over() -> None:
    other = b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n'
    data = b": ping\n\ndata:\n\n" + other + chunk({"content": "a"}, "stop") + DONE
    assert outcome(data)[0] == [Started("c1", model="m"), Text("a"), Finished("stop")]


@pytest.mark.parametrize("end", [b"", DONE[:-1], DONE[:-2], b"data: [DO"])
def test_a_finish_reason_makes_an_end_without_done_whole(end: bytes) -> None:
    events, failure = outcome(chunk({"content": "a"}, "stop") + end)
    assert (events[-1], failure) == (Finished("stop"), None)


def test_done_without_a_finish_reason_ends_with_none_known() -> None:
    assert outcome(chunk({"content": "a"}) + DONE)[0][-1] == Finished(None)
    assert outcome(chunk({"content": "a"}) + b"data: [DONE]")[0][-1] == Finished(None)


def test_an_end_with_neither_is_a_cut() -> None:
    events, failure = outcome(chunk({"content": "a"}) + b'data: {"choices"')
    assert events == [Started("c1", model="m"), Text("a")]
    assert isinstance(failure, TruncatedError)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ({"message": "too long", "code": "context_length_exceeded"}, "context_length", "too long"),
        ({"message": "slow down", "type": "rate_limit_error"}, "rate_limited", "slow down"),
        ({"message": "no", "code": 503}, "overloaded", "no"),
        ({"message": "odd"}, "model", "odd"),
        ("just text", "model", "just text"),
        ({}, "model", "no reason given"),
    ],
)
def test_an_error_in_the_stream(error: object, kind: str, words: str) -> None:
    data = chunk({"content": "a"}) + b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    events, failure = outcome(data + DONE)
    assert events == [Started("c1", model="m"), Text("a")]
    assert failure is not None
    assert (failure.kind, failure.detail, failure.status) == (kind, words, 200)


@pytest.mark.parametrize("frame", [b"{", b"[]", b'{"choices":7}', b"\xff", b"[" * 5000])
def test_a_frame_that_is_none_is_a_protocol_error(frame: bytes) -> None:
    decoder = ChatDecoder("p")
    assert decoder.feed(b"data: " + frame + b"\n\n") == []
    assert isinstance(decoder.failure, ProtocolError)


def test_a_whole_answer() -> None:
    message = {"role": "assistant", "content": " a ", "reasoning_content": "r"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": USAGE}).encode()
    assert decode_completion(body, "p") == [
        Started("c", model="m"),
        Reasoning("r"),
        Text(" a "),
        Finished("stop", Usage(1, 2, 3)),
    ]
    bare = b'{"choices":[{"finish_reason":"stop"}]}'
    assert decode_completion(bare, "p") == [Started(), Finished("stop")]


@pytest.mark.parametrize("body", [b"<html>", b'{"choices":[]}', b"{}"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_completion(body, "p")


def test_an_error_object_with_status_200() -> None:
    """faults.md row 33."""
    with pytest.raises(PenstockError, match="quota") as caught:
        decode_completion(b'{"error":{"message":"quota","code":"insufficient_quota"}}', "p")
    assert caught.value.kind == "payment"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "x", "code": "context_length_exceeded"}, "context_length"),
        (400, {"message": "maximum context length is 4096 tokens"}, "context_length"),
        (400, {"message": "x", "type": "invalid_request_error"}, "bad_request"),
        (401, {"message": "x", "code": "invalid_api_key"}, "auth"),
        (404, {"message": "The model `x` does not exist", "code": None}, "unknown_model"),
        (404, {"message": "x", "code": "model_not_found"}, "unknown_model"),
        (404, {"message": "x"}, "not_found"),
        (422, {"message": "x", "type": "invalid_request_error"}, "bad_request"),
        (429, {"message": "x", "type": "insufficient_quota"}, "payment"),
        (429, {"message": "x"}, "rate_limited"),
        (400, {"message": "x", "code": "content_filter"}, "moderation"),
        (500, {"message": "x", "type": "server_error"}, "server"),
        (503, {"message": "x", "type": "server_error"}, "overloaded"),
    ],
)
def test_refusals_by_status_and_code(status: int, error: dict[str, object], kind: str) -> None:
    body = json.dumps({"error": error}).encode()
    found = response_error(status, {}, body, provider="p", secrets=())
    assert (found.kind, found.status) == (kind, status)
    assert str(error["message"]) in str(found)


@pytest.mark.parametrize(("param", "kept"), [("tools[0]", "tools[0]"), (None, None), (7, None)])
def test_a_refusal_names_the_parameter_that_the_server_names(param: object, kept: object) -> None:
    body = json.dumps({"error": {"message": "x", "param": param}}).encode()
    assert response_error(400, {}, body, provider="p", secrets=()).param == kept
    assert response_error(500, {}, body, provider="p", secrets=()).param is None


def test_a_refusal_that_is_no_json() -> None:
    error = response_error(502, {}, b"<title>Bad</title>", provider="p", secrets=())
    assert (error.kind, error.detail) == ("server", "Bad")
