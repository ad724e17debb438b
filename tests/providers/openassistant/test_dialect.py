"""Open-Assistant's dialect, rule by rule (wire/openassistant.md; its section 12 has numbers)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import Kind, PenstockError, ProtocolError
from penstock.providers.openassistant.dialect.answers import (
    answer_error,
    read_chat,
    read_message,
    read_models,
    reported_error,
    state_error,
)
from penstock.providers.openassistant.dialect.stream import EventDecoder
from penstock.types import (
    Event,
    Finished,
    Text,
    Waiting,
)

CASSETTES = Path(__file__).parents[2] / "cassettes" / "openassistant"


def frame(kind: str, **fields: Any) -> bytes:
    return b"data: " + json.dumps({"event_type": kind, **fields}).encode() + b"\r\n\r\n"


def token(text: str) -> bytes:
    return frame("token", text=text)


def message(content: str | None) -> bytes:
    return frame("message", message={"id": "m", "state": "complete", "content": content})


def read_out(body: bytes, cut: int = 1 << 30) -> tuple[list[Event], EventDecoder]:
    decoder = EventDecoder()
    events: list[Event] = []
    for start in range(0, len(body), cut):
        events += decoder.feed(body[start : start + cut])
    events += decoder.eof()
    return events, decoder


def decode(*frames: bytes) -> tuple[list[str], Finished | None, PenstockError | None]:
    body = b"".join(frames)
    events, decoder = read_out(body)
    for cut in (1, 7):
        again, other = read_out(body, cut)
        assert again == events
        assert (other.failure is None) == (decoder.failure is None)
    end = events[-1] if events and isinstance(events[-1], Finished) else None
    return [event.text for event in events if isinstance(event, Text)], end, decoder.failure


def kind_of(error: PenstockError | None) -> Kind | None:
    return error.kind if error else None


def streams() -> list[Any]:
    found = []
    for path in sorted(CASSETTES.glob("*.json")):
        case = json.loads(path.read_text("utf-8"))
        bodies = [
            b"".join(base64.b64decode(chunk["b64"]) for chunk in exchange["response"]["chunks"])
            for exchange in case["exchanges"]
            if exchange["request"]["path"].endswith("/events")
        ]
        whole = [body for body in bodies if body]
        if whole and case["expected"]["finish"] != "cancelled":
            found.append(pytest.param(whole[-1], case["expected"], id=case["case"]))
    return found


@pytest.mark.parametrize(("body", "expected"), streams())
@pytest.mark.parametrize("cut", [1, 11, 1 << 30])
def test_recorded_streams_agree_with_what_was_expected(
    body: bytes, expected: dict[str, Any], cut: int
) -> None:
    events, decoder = read_out(body, cut)
    assert [e.text for e in events if isinstance(e, Text)] == expected["pieces"]
    if expected["error"]:
        assert kind_of(decoder.failure) == expected["error"]["kind"]
        assert decoder.failure is not None
        assert decoder.failure.detail == expected["error"]["message"]
    else:
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.finish_reason == expected["finish"]
        assert end.final_text == expected["final_content"]


# -- the stream ------------------------------------------------------------------------------------


def test_rule_1_an_error_event_raises_and_the_partial_text_stands_apart() -> None:
    pieces, end, failure = decode(token("par"), frame("error", error="CUDA out of memory"))
    assert pieces == ["par"]
    assert end is None
    assert kind_of(failure) == "model"
    assert failure is not None
    assert failure.status == 200


def test_rule_2_an_end_without_a_terminal_event_is_a_cut_answer() -> None:
    pieces, end, failure = decode(token("fourteen"), token(" words"))
    assert pieces == ["fourteen", " words"]
    assert end is None
    assert kind_of(failure) == "truncated"


def test_rule_12_the_old_heartbeat_is_no_event() -> None:
    ping = b"event: ping\r\ndata: 2026-11-21 00:22:40.357216\r\n\r\n"
    comment = b": ping - 2026-11-21 00:10:17.461777\r\n\r\n"
    pieces, end, _ = decode(token("a"), ping, token("b"), comment, message("ab"))
    assert pieces == ["a", "b"]
    assert end is not None


def test_rule_13_a_line_of_200_kilobytes_passes() -> None:
    long = "ж" * 40_000  # six bytes each in this JSON
    events, _ = read_out(token(long) + message(long))
    assert events[0] == Text(long)
    assert isinstance(events[1], Finished)
    assert events[1].warnings == ()


def test_rule_14_a_trailing_run_of_unknown_characters_is_repaired_from_the_final_message() -> None:
    pieces, end, _ = decode(token("Hi "), *[token("\ufffd")] * 3, token(""), message("Hi 👍"))
    assert pieces == ["Hi ", "👍"]
    assert end is not None
    assert end.final_text == "Hi 👍"
    assert end.warnings == ()


def test_rule_14_a_run_at_the_end_of_a_token_is_held_back_alone() -> None:
    pieces, end, _ = decode(token("Hi \ufffd"), token("\ufffd"), message("Hi é"))
    assert pieces == ["Hi ", "é"]
    assert end is not None
    assert end.warnings == ()


def test_rule_14_a_run_inside_the_answer_cannot_be_taken_back_and_is_marked() -> None:
    pieces, end, _ = decode(token("\ufffd"), token("\ufffd!"), token("?"), message("é!?"))
    assert pieces == ["\ufffd", "\ufffd!", "?"]
    assert end is not None
    assert end.final_text == "é!?"
    assert [notice.code for notice in end.warnings] == ["text_differs"]


def test_rule_14_what_is_held_back_is_handed_out_where_the_final_text_differs() -> None:
    pieces, end, _ = decode(token("Hello"), token("\ufffd"), message("Goodbye"))
    assert pieces == ["Hello", "\ufffd"]
    assert end is not None
    assert [notice.code for notice in end.warnings] == ["text_differs"]


def test_a_run_before_another_run_keeps_its_pieces() -> None:
    pieces, _, _ = decode(token("\ufffd"), token("a\ufffd"), token("b"), message("?"))
    assert pieces == ["\ufffd", "a", "\ufffd", "b"]


def test_what_is_held_back_is_partial_text_of_a_failed_answer() -> None:
    pieces, _, failure = decode(token("a"), token("\ufffd"), frame("error", error="no"))
    assert pieces == ["a", "\ufffd"]
    assert kind_of(failure) == "model"


def test_stripped_ends_of_the_final_text_are_told() -> None:
    """Section 6: llama configurations strip the content, which the stream does not."""
    pieces, end, _ = decode(token("text"), token("\n"), message("text"))
    assert pieces == ["text", "\n"]
    assert end is not None
    assert [notice.code for notice in end.warnings] == ["text_differs"]


def test_white_space_passes_and_empty_tokens_are_nothing() -> None:
    pieces, _, _ = decode(token(""), token(" "), token("\n\n"), token("\r\n"), message(" \n\n\r\n"))
    assert pieces == [" ", "\n\n", "\r\n"]


def test_a_reply_without_tokens_is_in_its_message() -> None:
    pieces, end, _ = decode(message("all of it"))
    assert pieces == ["all of it"]
    assert end is not None


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_reply_is_a_good_end(content: str | None) -> None:
    pieces, end, failure = decode(message(content))
    assert pieces == []
    assert end is not None
    assert end.final_text == ""
    assert failure is None


def test_halves_of_a_surrogate_pair_in_two_tokens_are_joined() -> None:
    first = b'data: {"event_type": "token", "text": "ok \\ud83d"}\r\n\r\n'
    second = b'data: {"event_type": "token", "text": "\\udc4d!"}\r\n\r\n'
    pieces, end, _ = decode(first, second, message("ok 👍!"))
    assert pieces == ["ok ", "👍!"]
    assert end is not None
    assert end.warnings == ()


def test_a_half_without_its_partner_does_no_harm() -> None:
    alone = b'data: {"event_type": "token", "text": "a\\ud83d"}\r\n\r\n'
    low = b'data: {"event_type": "token", "text": "\\udc4d"}\r\n\r\n'
    pieces, end, _ = decode(alone, token("b"), low, message("a?b?"))
    assert "".join(pieces) == "a\ufffdb\ufffd"
    assert end is not None
    final = b'data: {"event_type": "message", "message": {"content": "a\\ud83d"}}\r\n\r\n'
    pieces, end, _ = decode(alone, final)
    assert pieces == ["a", "\ufffd"]
    assert end is not None
    assert end.final_text == "a\ufffd"


def test_a_half_that_waits_at_an_error_is_handed_out_as_unknown() -> None:
    alone = b'data: {"event_type": "token", "text": "\\ud83d"}\r\n\r\n'
    pieces, _, _ = decode(alone, frame("error", error="no"))
    assert pieces == ["\ufffd"]


def test_pending_events_tell_the_place_in_the_queue_and_do_not_start_the_answer() -> None:
    decoder = EventDecoder()
    events = decoder.feed(frame("pending", queue_position=3, queue_size=5))
    assert events == [Waiting(reason="queue", position=3, size=5)]
    assert not decoder.started
    decoder.feed(token(""))
    assert decoder.started
    assert not decoder.final


def test_a_plugin_at_work_is_a_sign_of_life_and_no_text() -> None:
    decoder = EventDecoder()
    events = decoder.feed(
        frame("plugin_intermediate", current_plugin_action_taken="get_weather", message=None)
    )
    assert events == [Waiting(reason="running", detail="plugin: get_weather")]
    assert decoder.started


@pytest.mark.parametrize("unknown", ["safe_prompt", "of_tomorrow"])
def test_events_that_mean_nothing_to_us_are_skipped(unknown: str) -> None:
    pieces, end, _ = decode(frame(unknown, safe_prompt="x"), token("a"), message("a"))
    assert pieces == ["a"]
    assert end is not None


@pytest.mark.parametrize(
    "bad",
    [
        b"data: not json\r\n\r\n",
        b"data: []\r\n\r\n",
        b'data: {"event_type": "token"}\r\n\r\n',
        b'data: {"event_type": "token", "text": 5}\r\n\r\n',
        b'data: {"event_type": "message", "message": null}\r\n\r\n',
        b'data: {"event_type": "token", "text": "\\ud83d"\r\n\r\n',
        b'data: {"event_type": 5, "text": "\\ud83d"}\r\n\r\n',
    ],
)
def test_a_malformed_frame_breaks_the_protocol(bad: bytes) -> None:
    pieces, end, failure = decode(token("a"), bad)
    assert pieces == ["a"]
    assert end is None
    assert kind_of(failure) == "protocol"


def test_nothing_after_the_end_counts() -> None:
    pieces, end, failure = decode(message("a"), token("late"), frame("error", error="late"))
    assert pieces == ["a"]
    assert end is not None
    assert failure is None


def test_the_text_learned_by_other_means_completes_what_was_sent() -> None:
    decoder = EventDecoder()
    decoder.feed(token("Hi ") + token("\ufffd"))
    decoder.eof()
    events = decoder.complete("Hi 👍 there")
    assert events[0] == Text("👍 there")
    assert isinstance(events[1], Finished)
    assert decoder.done
    assert decoder.final


def test_a_reader_that_gives_up_takes_what_was_held_back() -> None:
    decoder = EventDecoder()
    decoder.feed(token("\ufffd"))
    assert decoder.flush() == [Text("\ufffd")]
    assert decoder.flush() == []


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "detail"),
    [
        ("Timeout", "timeout", "Timeout"),
        ("Aborted due to worker error.", "model", "Aborted due to worker error."),
        ('{"error": "NaN", "error_type": "generation"}', "model", "NaN"),
        ('{"error": "full", "error_type": "overloaded"}', "overloaded", "full"),
        ('{"error": "too long", "error_type": "validation"}', "bad_request", "too long"),
        ('{"error": "cut", "error_type": "incomplete_generation"}', "truncated", "cut"),
        ('{"other": 1}', "model", '{"other": 1}'),
        ("", "model", None),
    ],
)
def test_error_texts_of_the_stream(text: str, kind: Kind, detail: str | None) -> None:
    error = reported_error(text)
    assert (error.kind, error.detail, error.status) == (kind, detail, 200)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("aborted_by_worker", "model"),
        ("timeout", "timeout"),
        ("cancelled", "cancelled"),
        ("complete", None),
        ("in_progress", None),
    ],
)
def test_states_of_a_message_that_are_failures(state: str, kind: Kind | None) -> None:
    assert kind_of(state_error(state)) == kind


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (403, b"", "auth", "the session is missing"),  # rule 7
        (403, b'{"detail":"Not authenticated"}', "auth", "Not authenticated"),
        (401, b'{"detail":"Token expired"}', "auth", "Token expired"),
        (404, b"", "not_found", "switched off"),
        (404, b'{"detail":"Chat not found"}', "not_found", "Chat not found"),
        (400, b'{"message":"Parent message not found"}', "bad_request", "Parent message"),  # rule 8
        (413, b'{"message":"Message content exceeds max length"}', "too_large", "max length"),
        (413, b"Body exceeded 1mb limit", "too_large", "1mb"),
        (422, b'{"message":"Model gpt-4 not found"}', "unknown_model", "gpt-4"),
        (422, b'{"message":"Model a not in allowed models: b,c"}', "unknown_model", "b,c"),
        (503, b'{"message":"The server is currently busy."}', "overloaded", "busy"),
        (500, b"Internal Server Error", "server", "Internal Server Error"),
    ],
)
def test_rules_7_and_8_statuses_become_kinds_with_the_servers_words(
    status: int, body: bytes, kind: Kind, words: str
) -> None:
    error = answer_error(status, {}, body, model="m")
    assert error.kind == kind
    assert error.status == status
    assert words in str(error)


def test_rule_9_a_list_of_mistakes_is_one_sentence() -> None:
    body = (
        b'{"message":[{"loc":["body","sampling_parameters","temperature"],"msg":"not a float",'
        b'"type":"type_error.float"},{"loc":["body","content"],"msg":"field required"}]}'
    )
    error = answer_error(422, {}, body)
    assert error.kind == "bad_request"
    assert error.detail == "sampling_parameters.temperature: not a float; content: field required"


def test_a_500_to_an_order_says_that_it_is_probably_the_rate_limit() -> None:
    """Section 5: no header and no wait time; quick retries are useless."""
    error = answer_error(500, {}, b'{"message":"Something went wrong"}', ordering=True)
    assert error.kind == "server"
    assert not error.retryable
    assert "rate limit" in str(error)
    assert error.detail == "Something went wrong"


def test_a_credential_that_the_server_repeats_is_not_shown() -> None:
    error = answer_error(401, {}, b'{"detail":"bad abcdefgh"}', secrets=("abcdefgh",))
    assert "abcdefgh" not in str(error)


@pytest.mark.parametrize("read", [read_chat, read_message, read_models])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": 5}', b"{}"])
def test_answers_of_another_shape_break_the_protocol(read: Any, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(body)


def test_a_chat_tells_which_of_its_answers_are_unfinished() -> None:
    """oa-queue-full-503"""
    case = json.loads((CASSETTES / "oa-queue-full-503.json").read_text("utf-8"))
    chunks = case["exchanges"][3]["response"]["chunks"]
    chat = read_chat(b"".join(base64.b64decode(chunk["b64"]) for chunk in chunks))
    assert [(m.role, m.unfinished) for m in chat.messages] == [
        ("prompter", False),
        ("assistant", True),
    ]


def test_a_message() -> None:
    assert read_message(b'{"id":"m","state":"pending","unknown":1}').state == "pending"


def test_the_list_of_models() -> None:
    models = read_models(b'[{"name":"_lorem","description":null,"parameter_configs":[]}]')
    assert [model.id for model in models] == ["_lorem"]
