"""The 2023 chat-ui's protocol as pure code.

The rules are those of wire/h2o.md section 10; the recorded cases are in tests/cassettes/h2o.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.errors import PenstockError, ProtocolError
from penstock.providers.h2o.dialect.errors import answer_error, kind_of_failure
from penstock.providers.h2o.dialect.frames import (
    MAX_ANSWER,
    RouterDecoder,
    WholeDecoder,
    decoder_for,
)
from penstock.types import Event, Finished, Text, Usage
from penstock.wire.decoder import AnswerDecoder

CASES = sorted((Path(__file__).parents[2] / "cassettes" / "h2o").glob("*.json"))


def token(text: str, *, special: bool = False, whole: str | None = None, **more: object) -> bytes:
    frame = {
        "token": {"id": 1, "text": text, "logprob": -0.1, "special": special},
        "generated_text": whole,
        "details": None,
        **more,
    }
    return b"data:" + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n"


def read(
    data: bytes, *, size: int | None = None, decoder: AnswerDecoder | None = None
) -> tuple[list[str], Finished | None, PenstockError | None]:
    decoder = decoder or RouterDecoder("h2o")
    events: list[Event] = []
    step = size or max(len(data), 1)
    for start in range(0, len(data), step):
        events += decoder.feed(data[start : start + step])
    events += decoder.eof()
    ends = [event for event in events if isinstance(event, Finished)]
    assert (len(ends) == 1) == (decoder.failure is None)
    if ends and not ends[0].final_counts:  # the router's whole text has a test of its own
        ends = [msgspec.structs.replace(ends[0], final_text=None, final_counts=True)]
    pieces = [event.text for event in events if isinstance(event, Text)]
    return pieces, ends[0] if ends else None, decoder.failure


def test_the_whole_text_of_the_router_is_told_and_does_not_replace_the_pieces() -> None:
    decoder = RouterDecoder("h2o")
    events = decoder.feed(token(" a") + token("</s>", special=True, whole=" a"))
    assert events[-1] == Finished("stop", final_text=" a", final_counts=False)


def failed(data: bytes) -> PenstockError:
    failure = read(data)[2]
    assert failure is not None
    return failure


# -- recorded -----------------------------------------------------------------------------------


def exchanges() -> list[Any]:
    found = []
    for path in CASES:
        case = json.loads(path.read_text())
        index = case["expected"]["exchange"]
        if index is not None:
            found.append(pytest.param(case["exchanges"][index], case["expected"], id=path.stem))
    return found


@pytest.mark.parametrize(("exchange", "expected"), exchanges())
@pytest.mark.parametrize("size", [None, 1, 7, 4096], ids=["whole", "bytes", "sevens", "reads"])
def test_recorded(exchange: Any, expected: Any, size: int | None) -> None:
    response = exchange["response"]
    data = b"".join(base64.b64decode(chunk["b64"]) for chunk in response["chunks"])
    headers = {name.lower(): value for name, value in response["headers"]}
    if response["status"] != 200:
        error = answer_error(response["status"], headers, data, provider="h2o", model="m")
        assert (error.kind, error.status) == (expected["error"]["kind"], response["status"])
        assert error.detail == " ".join(expected["error"]["message"].split())
        return
    asked = json.loads(exchange["request"]["body"])
    stop = tuple(asked.get("parameters", {}).get("stop", ()))
    content_type = headers["content-type"].partition(";")[0]
    decoder = decoder_for(content_type, "h2o", stop=stop, full_text=False)
    pieces, end, failure = read(data, size=size, decoder=decoder)
    text = "".join(pieces)
    if expected["pieces"] is not None:
        assert pieces == expected["pieces"]
    else:
        assert hashlib.sha256(text.encode()).hexdigest() == expected["text_sha256"]
    if failure is None:
        assert end is not None
        assert end.finish_reason == expected["finish"]
    elif expected["error"] is None:  # the client left
        assert failure.kind == "truncated"
    else:
        assert failure.kind == expected["error"]["kind"]


# -- the stream ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("overloaded", "overloaded"),
        ("validation", "bad_request"),
        ("generation", "model"),
        ("incomplete_generation", "truncated"),
        ("unheard of", "model"),
        (None, "model"),
    ],
)
def test_rule_1_an_error_frame_has_no_token_and_keeps_the_reason(
    error_type: str | None, kind: str
) -> None:
    frame = {"error": "Request failed during generation: CUDA", "error_type": error_type}
    data = token(" a") + b"data:" + json.dumps(frame).encode() + b"\n\n"
    pieces, end, failure = read(data)
    assert (pieces, end) == ([" a"], None)
    assert failure is not None
    assert (failure.kind, failure.status) == (kind, 200)
    assert failure.detail == "Request failed during generation: CUDA"


def test_rule_1_an_error_that_is_no_text_is_an_error_all_the_same() -> None:
    assert failed(b'data:{"error":{"code":5},"error_type":"overloaded"}\n\n').kind == "overloaded"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1 and 2", "context_length"),
        ("`inputs` must have less than 1024 tokens. Given: 3000", "context_length"),
        ("`inputs` cannot be empty", "bad_request"),
        ("`truncate` must be strictly positive and less than 2048. Given: 1", "bad_request"),
        ("`max_new_tokens` must be strictly positive", "bad_request"),
    ],
)
def test_a_prompt_that_is_too_long_is_told_from_other_refusals(message: str, kind: str) -> None:
    assert kind_of_failure("validation", f"Input validation error: {message}") == kind


@pytest.mark.parametrize("tail", [b"", b"\n"], ids=["no line end", "no blank line"])
def test_rule_6_a_last_frame_without_its_line_end_is_whole(tail: bytes) -> None:
    data = token(" a") + token("</s>", special=True, whole=" a").rstrip(b"\n") + tail
    pieces, end, _ = read(data)
    assert pieces == [" a"]
    assert end == Finished("stop")


def test_rule_6_an_error_frame_without_its_line_end_is_told() -> None:
    assert failed(b'data:{"error":"Model is overloaded","error_type":"overloaded"}').kind == (
        "overloaded"
    )


def test_rule_7_a_line_of_203_kilobytes() -> None:
    long = "x" * 203_000
    pieces, _, _ = read(token(long) + token("", whole=long), size=4096)
    assert pieces == [long]


def test_rule_7_a_line_without_end_is_bounded() -> None:
    assert failed(b"data:" + b"x" * (2 << 20)).kind == "protocol"


def test_rules_8_and_22_the_prefix_is_removed_once() -> None:
    text = " data: a\ndata:b data:"
    assert read(token(text) + token("</s>", special=True, whole=text))[0] == [text]


def test_rule_9_only_lines_that_start_with_data_are_frames() -> None:
    noise = b": data: comment\n\nid: data\nevent: x\n\nmetadata: {}\n\n"
    assert read(noise + token(" a") + token("</s>", special=True, whole=" a"))[0] == [" a"]


@pytest.mark.parametrize("eos", ["<|endoftext|>", "</s>", "<|im_end|>"])
def test_rule_10_the_end_is_the_last_frame_whatever_its_token_is_called(eos: str) -> None:
    pieces, end, _ = read(token(" a") + token(eos, special=True, whole=" a"))
    assert (pieces, end) == ([" a"], Finished("stop"))


def test_rule_10_special_tokens_in_the_middle_are_dropped() -> None:
    data = token("<s>", special=True) + token(" a") + token("</s>", special=True)
    assert read(data + token(" b", whole=" a b"))[0] == [" a", " b"]


def test_rule_11_an_end_token_that_is_not_flagged_is_dropped_from_the_last_frame_only() -> None:
    text = " <|endoftext|>"
    data = token(" ") + token("<|endoftext|>") + token("<|endoftext|>", whole=text)
    assert read(data)[:2] == ([" ", "<|endoftext|>"], Finished("stop"))


def test_rule_11_the_router_may_say_that_the_last_token_is_the_end_token() -> None:
    details = {"finish_reason": "eos_token", "generated_tokens": 2, "seed": None}
    pieces, end, _ = read(token(" a") + token("###", whole=" a###", details=details))
    assert (pieces, end) == ([" a"], Finished("stop", Usage(completion_tokens=2)))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop"), ("new", "new")],
)
def test_rule_12_details_tell_finish_and_usage(reason: str, finish: str) -> None:
    details = {"finish_reason": reason, "generated_tokens": 7, "seed": 2**64 - 1}
    end = read(token("</s>", special=True, whole="", details=details))[1]
    assert end == Finished(finish, Usage(completion_tokens=7))


def test_rule_12_the_limit_met_by_the_end_token_is_called_length() -> None:
    details = {"finish_reason": "length", "generated_tokens": 2}
    pieces, end, _ = read(token(" a") + token("</s>", special=True, whole=" a", details=details))
    assert pieces == [" a"]
    assert end is not None
    assert end.finish_reason == "length"


@pytest.mark.parametrize(
    ("last", "stop", "finish"),
    [(" 7", (" 7",), "stop"), (" 7", ("7 ", "8"), "length"), (" 7", (), "length")],
)
def test_rule_12_without_details_the_last_token_and_the_stop_strings_tell(
    last: str, stop: tuple[str, ...], finish: str
) -> None:
    decoder = RouterDecoder("h2o", stop=stop)
    pieces, end, _ = read(token(" 6") + token(last, whole=f" 6{last}"), decoder=decoder)
    assert pieces == [" 6", last]  # the stop text stays in the answer
    assert end == Finished(finish)


def test_rule_12_details_without_a_reason_or_a_count_tell_nothing() -> None:
    end = read(token(" a", whole=" a", details={"seed": 1}))[1]
    assert end == Finished("length")


def test_the_end_without_a_token_does_not_tell_its_reason() -> None:
    assert read(token(" a") + b'data:{"generated_text":" a"}\n\n')[:2] == ([" a"], Finished(None))


@pytest.mark.parametrize(
    "tail",
    [b"", token(" b")[:-20], token(" b")[:-2], b"data:", b": keep-alive"],
    ids=["at a frame", "in a frame", "before the blank line", "empty", "in a comment"],
)
def test_rule_19_a_body_that_ends_without_a_last_frame_is_cut(tail: bytes) -> None:
    pieces, end, failure = read(token(" a") + tail)
    assert (pieces, end) == ([" a"], None)
    assert failure is not None
    assert failure.kind == "truncated"


def test_rule_19_an_empty_answer_ends_by_null_not_by_truth() -> None:
    assert read(token("</s>", special=True, whole=""))[:2] == ([], Finished("stop"))


def test_what_follows_the_last_frame_does_not_count() -> None:
    data = token(" a", whole=" a") + token(" b") + b"data:nonsense\n\n"
    assert read(data)[:2] == ([" a"], Finished("length"))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("prefix", [b"data:", b"data: "])
def test_rule_ok_framing_of_every_router(line_end: bytes, prefix: bytes) -> None:
    plain = b":\n\n" + token(" a") + b":\n\n" + token("</s>", special=True, whole=" a", index=3)
    data = plain.replace(b"data:", prefix).replace(b"\n", line_end)
    for size in (None, 1):
        assert read(data, size=size)[:2] == ([" a"], Finished("stop"))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_rule_ok_only_line_feeds_end_a_line(separator: str) -> None:
    text = f" a{separator}b"
    assert read(token(text) + token("", whole=text))[0] == [text]


def test_an_empty_token_is_no_piece() -> None:
    # A character of several tokens: empty until it is whole.
    data = token("") + token("\N{GRINNING FACE}") + token("", whole="\N{GRINNING FACE}")
    assert read(data)[0] == ["\N{GRINNING FACE}"]


@pytest.mark.parametrize(
    "frame",
    [b"{}", b"[]", b"nonsense", b'{"token":{"text":5}}', b'{"token":', b"[" * 5000, b'"\xff"'],
)
def test_a_frame_of_another_form_is_no_end(frame: bytes) -> None:
    assert failed(b"data:" + frame + b"\n\n").kind == "protocol"


def test_the_prompt_in_front_is_in_the_final_text_only_where_it_was_asked_for() -> None:
    data = token(" a", whole="Prompt a")
    asked = read(data, decoder=RouterDecoder("h2o", full_text=True))
    assert asked[:2] == ([" a"], Finished("length", final_text="Prompt a"))
    assert read(data)[1] == Finished("length")


# -- one JSON text ------------------------------------------------------------------------------


def whole(data: bytes) -> tuple[list[str], Finished | None, PenstockError | None]:
    return read(data, size=5, decoder=WholeDecoder("h2o"))


def test_an_answer_in_one_piece() -> None:
    assert whole(b'[{"generated_text":" Hi"}]')[:2] == ([" Hi"], Finished(None))
    details = b'{"finish_reason":"length","generated_tokens":3}'
    assert whole(b'{"generated_text":"","details":' + details + b"}")[:2] == (
        [],
        Finished("length", Usage(completion_tokens=3)),
    )
    assert whole(b'[{"generated_text":" Hi<|endoftext|>"}]')[0] == [" Hi"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "truncated"),
        (b" \n", "truncated"),
        (b"[]", "protocol"),
        (b"[{}]", "protocol"),
        (b'[{"generated', "protocol"),
        (b'{"error":"Model is overloaded","error_type":"overloaded"}', "overloaded"),
    ],
)
def test_an_answer_in_one_piece_that_is_none(body: bytes, kind: str) -> None:
    failure = whole(body)[2]
    assert failure is not None
    assert failure.kind == kind


def test_an_answer_in_one_piece_is_bounded() -> None:
    decoder = WholeDecoder("h2o")
    decoder.feed(b" " * MAX_ANSWER)
    assert decoder.failure is None
    decoder.feed(b" ")
    assert isinstance(decoder.failure, ProtocolError)


# -- refusals -----------------------------------------------------------------------------------


def refusal(status: int, body: bytes = b"", **headers: str) -> PenstockError:
    return answer_error(status, headers, body, provider="h2o", model="m")


@pytest.mark.parametrize(
    ("status", "body", "kind", "detail"),
    [
        (401, b'{"error":"You have to be logged in."}', "auth", "You have to be logged in."),
        (403, b"Invalid referer", "forbidden", "Invalid referer"),
        (405, b'{"error":"modal"}', "forbidden", "modal"),
        (410, b'{"message":"Model is gone"}', "unknown_model", "Model is gone"),
        (413, b"Invalid request body", "too_large", "Invalid request body"),
        (415, b"Expected request with `Content-Type`", "bad_request", None),
        (422, b"Failed to deserialize", "bad_request", "Failed to deserialize"),
        (422, b'{"error":"x `inputs` tokens","error_type":"validation"}', "context_length", None),
        (424, b"x", "model", "x"),
        (424, b'{"error":"x","error_type":"generation"}', "model", "x"),
        (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "overloaded", None),
        (429, b'{"message":"too many"}', "rate_limited", "too many"),
        (500, b'{"error":"x","error_type":"incomplete_generation"}', "truncated", "x"),
        (500, b'{"message":"Internal Error"}', "server", "Internal Error"),
        (502, b"<html><title>502 Bad Gateway</title>x</html>", "server", "502 Bad Gateway"),
    ],
)
def test_rule_2_each_status_is_an_error_with_its_words(
    status: int, body: bytes, kind: str, detail: str | None
) -> None:
    error = refusal(status, body)
    assert (error.kind, error.status, error.provider, error.model) == (kind, status, "h2o", "m")
    assert detail is None or error.detail == detail


def test_a_model_that_loads_says_how_long() -> None:
    assert refusal(503, b'{"error":"loading","estimated_time":20.0}').retry_after == 20
    named = answer_error(
        503, {"retry-after": "3"}, b'{"estimated_time":20}', provider="h2o", model=""
    )
    assert named.retry_after == 3


def test_a_redirect_to_a_login_is_told_from_any_other() -> None:
    assert refusal(302, location="https://h/login?x=1").kind == "auth"
    assert refusal(302, location="https://h/oauth/authorize").kind == "auth"
    assert refusal(301, location="https://h/conversation").kind == "redirect"
    assert refusal(302).kind == "redirect"


def test_a_refusal_does_not_echo_the_session() -> None:
    error = answer_error(
        400, {}, b"no session 5ecret-cookie", provider="h2o", model="", secrets=("5ecret-cookie",)
    )
    assert "5ecret" not in str(error) + (error.detail or "")


def test_every_rule_of_the_table_has_a_test() -> None:
    tests = Path(__file__).parent.glob("test_*.py")
    named = re.findall(r"def test_rules?_(\d+)(?:_and_(\d+))?", "".join(map(_text, tests)))
    assert {int(number) for pair in named for number in pair if number} >= set(range(1, 23))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
