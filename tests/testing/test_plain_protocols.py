"""Replay of servers that keep nothing: OpenAI-compatible ones, and TGI itself."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.testing.replay import replay_case
from penstock.testing.replay.case import Case
from penstock.testing.replay.plan import Chat, ListModels
from penstock.testing.replay.protocols import protocol_of
from tests.testing.recorded import case_of, exchange, frame

KEY = ("authorization", "Bearer sk-made-up-0001")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
EXPECTED = {"text": "Hello", "pieces": ["Hel", "lo"], "finish": "stop", "error": None}


def answered(*pieces: str) -> bytes:
    lines = [f'{{"choices":[{{"index":0,"delta":{{"content":"{one}"}}}}]}}' for one in pieces]
    lines.append('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def asked(body: dict[str, Any], path: str = "/deep/v1", **more: Any) -> Case:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True} | body
    more = {"answer": answered("Hel", "lo"), "content_type": "text/event-stream", **more}
    expected = more.pop("expected", EXPECTED)
    made = exchange("POST", f"{path}/chat/completions", body, headers=[KEY], **more)
    return case_of("openai_compatible", [made], expected)


def generated(parameters: dict[str, Any], **more: Any) -> Case:
    body = {"inputs": "Hi", "parameters": {"details": True, **parameters}}
    answer = frame("Hel") + frame("lo") + frame("</s>", whole="Hello", special=True)
    more = {"answer": answer, "content_type": "text/event-stream", "headers": [KEY], **more}
    expected = {"text": "Hello", "pieces": ["Hel", "lo"], "error": None}
    return case_of("tgi", [exchange("POST", "/generate_stream", body, **more)], expected)


def call_of(case: Case) -> Chat:
    protocol = protocol_of(case)
    assert protocol is not None
    (step,) = protocol.derive(case)
    assert isinstance(step.call, Chat)
    assert step.access.api_key == "sk-made-up-0001"
    return step.call


def test_a_question_is_read_back_with_all_that_goes_with_it() -> None:
    given = {"temperature": 0.5, "stop": "END", "tools": [TOOL], "logit_bias": {"1": 2}}
    call = call_of(asked(given))
    assert (call.model, call.messages[0].text, call.whole) == ("m", "Hi", False)
    assert (call.sampling.temperature, call.sampling.stop) == (0.5, ("END",))
    assert call.extra == {"logit_bias": {"1": 2}}
    assert [tool.name for tool in call.tools] == ["look"]
    assert call_of(asked({"stream": False})).whole


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"temperature": 0.5, "stop": "END", "max_tokens": 5},
        {"stop": ["END", "FIN"], "tools": [TOOL]},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "A"},
            ]
        },
        {"stream_options": {"include_usage": True}, "logit_bias": {"1": 2}},
    ],
)
async def test_recorded_questions_are_asked_again_as_they_were(given: dict[str, Any]) -> None:
    result = await replay_case(asked(given))
    assert (result.verdict, result.differences) == ("passed", ())
    assert result.text == "Hello"


async def test_a_whole_answer_is_asked_for_whole() -> None:
    body = b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'
    expected: dict[str, Any] = {**EXPECTED, "pieces": ["Hello"]}
    answer: dict[str, Any] = {
        "answer": body,
        "content_type": "application/json",
        "expected": expected,
    }
    result = await replay_case(asked({"stream": False}, **answer))
    assert (result.verdict, result.differences) == ("passed", ())


async def test_what_our_checks_refuse_is_asked_with_a_placeholder() -> None:
    refusal: dict[str, Any] = {"status": 400, "answer": {"error": {"message": "no"}}}
    error = {"kind": "bad_request", "status": 400}
    expected: dict[str, Any] = {"text": "", "pieces": [], "finish": None, "error": error}
    case = asked(
        {"messages": [], "tools": [{}]},
        **refusal,
        expected=expected,
        content_type="application/json",
    )
    assert call_of(case).messages[0].text == "Hello"
    assert call_of(case).tools == ()


async def test_a_changed_answer_fails() -> None:
    result = await replay_case(asked({}, answer=answered("Hel", "lp")))
    assert result.verdict == "failed"


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("openai_compatible", "/v1/models", {"data": [{"id": "m"}]}),
        ("tgi", "/info", {"model_id": "m"}),
    ],
)
async def test_a_list_of_models_alone_is_asked_for(
    provider: str, path: str, body: dict[str, Any]
) -> None:
    case = case_of(provider, [exchange("GET", path, answer=body)])
    protocol = protocol_of(case)
    assert protocol is not None
    assert [type(step.call) for step in protocol.derive(case)] == [ListModels]
    assert (await replay_case(case)).verdict == "passed"
    nothing = case_of(provider, [exchange("GET", "/elsewhere")])
    assert list(protocol.derive(nothing)) == []


async def test_the_router_is_asked_with_its_own_parameters() -> None:
    given = {"max_new_tokens": 5, "temperature": 0.5, "watermark": True}
    call = call_of(generated(given))
    assert (call.sampling.max_tokens, call.extra) == (5, {"watermark": True})
    result = await replay_case(generated(given))
    assert (result.verdict, result.differences) == ("passed", ())
    broken = generated({}, chunks=[frame("Hel")], closed="reset")
    assert (await replay_case(broken)).verdict == "failed"
