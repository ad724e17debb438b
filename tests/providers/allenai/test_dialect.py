"""The stream formats of the Playground, rule by rule (wire/allenai.md section 7)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.providers.allenai.dialect import decoder_of
from penstock.types import Notice, Started, ToolCall
from tests.providers.allenai.lines import (
    REPLY,
    ROOT,
    Outcome,
    chunk,
    line,
    message,
    old_error,
    old_object,
    opening,
    outcome,
    said,
    thread,
    typed,
)

CASES = sorted((Path(__file__).parents[2] / "cassettes" / "allenai").glob("*.json"))
DIALECT_OF = {"/v4/message/stream": "message-stream", "/v4/threads/": "threads"}
OLD_END = old_object("ok", final=True, finish="stop")


def streams(path: Path) -> list[tuple[str, bytes, bool, dict[str, Any]]]:
    """Dialect, body, whether it ended in order, and what is expected, of each streamed answer."""
    case = json.loads(path.read_bytes())
    turns = case["expected"].get("turns") or [case["expected"]]
    found = []
    for exchange, expected in zip(case["exchanges"], turns, strict=True):
        response = exchange["response"]
        dialect = DIALECT_OF.get(exchange["request"]["path"])
        if dialect and response["status"] == 200 and exchange["request"]["method"] == "POST":
            body = b"".join(base64.b64decode(part["b64"]) for part in response["chunks"])
            found.append((dialect, body, response["closed"] == "clean", expected))
    return found


RECORDED = [(path.stem, *stream) for path in CASES for stream in streams(path)]


@pytest.mark.parametrize("size", [0, 1, 7, 4096])
@pytest.mark.parametrize(
    ("name", "dialect", "body", "clean", "expected"), RECORDED, ids=[one[0] for one in RECORDED]
)
def test_recorded_streams_whole_byte_by_byte_and_cut(
    name: str, dialect: str, body: bytes, clean: bool, expected: dict[str, Any], size: int
) -> None:
    got = outcome(dialect, body, size, clean=clean)
    if "text_sha256" not in expected:
        assert got.text == (expected["text"] or "")
        assert list(got.pieces) == [piece for piece in expected["pieces"] or () if piece]
    assert got.thinking == expected.get("thinking", "")
    assert (got.started[-1].id if got.started else None) == expected["next_parent"]
    error = expected["error"]
    if error is None:
        assert got.finished is not None
        assert got.finished.finish_reason == expected["finish"]
        assert got.finished.warnings == ()
    elif error["kind"] == "truncated":
        assert got.finished is None
        assert got.failure is None
    else:
        assert got.failure is not None
        assert (got.failure.kind, got.failure.status) == (error["kind"], error["status"])


def test_a_recorded_stream_is_judged_by_its_bytes() -> None:
    """A changed expectation must fail: the comparison above can."""
    name, dialect, body, clean, expected = RECORDED[0]
    with pytest.raises(AssertionError):
        test_recorded_streams_whole_byte_by_byte_and_cut(
            name, dialect, body, clean, {**expected, "text": "something else"}, 0
        )


# -- the rules of section 7 ----------------------------------------------------------------------


def test_rule_1_whitespace_pieces_pass() -> None:
    pieces = ("def", " ", "\n", "\t", "  ", "\n\n")
    old = old_object() + b"".join(map(chunk, pieces)) + old_object("".join(pieces), final=True)
    new = opening() + b"".join(map(said, pieces)) + thread() + typed("end")
    assert outcome("message-stream", old).pieces == pieces
    assert outcome("threads", new).pieces == pieces


def test_rule_1_empty_pieces_are_no_pieces() -> None:
    new = opening() + said("") + said("a") + said("", "thinking") + typed("end")
    assert outcome("threads", new).pieces == ("a",)
    assert outcome("message-stream", old_object() + chunk("") + chunk(None) + OLD_END).pieces == ()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("grpc inference failed", "model"),
        ("unclosed stream", "model"),
        ("aborted", "model"),
        ("finalization failure", "model"),
        ("something new", "model"),
        ("model overloaded", "overloaded"),
    ],
)
def test_rule_2_error_lines_of_2025_fail_the_turn_at_its_end(reason: str, kind: str) -> None:
    begun = old_object() + chunk("half") + old_error(reason)
    got = outcome("message-stream", begun + chunk(" more") + OLD_END)
    assert got.text == "half more"
    assert got.finished is None
    assert got.failure is not None
    assert got.failure.kind == kind
    waiting = outcome("message-stream", begun, clean=False)
    assert waiting.failure is None  # the final object still follows
    assert waiting.reported is not None
    ended = outcome("message-stream", begun)
    assert ended.failure is ended.reported


@pytest.mark.parametrize(
    ("reason", "kind", "retryable"),
    [
        ("Unknown error", "model", True),
        ("Model http error", "model", True),
        ("tool error", "model", True),
        ("value error", "model", False),
        ("length", "context_length", False),
        ("", "model", True),
    ],
)
def test_rule_2_error_lines_of_2026_end_the_stream(reason: str, kind: str, retryable: bool) -> None:
    got = outcome("threads", opening() + said("half") + old_error(reason), clean=False)
    assert got.text == "half"
    assert got.failure is not None
    assert (got.failure.kind, got.failure.retryable) == (kind, retryable)


def test_rule_2_a_typed_error_of_2026_goes_on_to_the_end() -> None:
    """2026-unknown-tool-error-chunk: the text is lost on the server, so this is a failure."""
    error = typed("error", errorCode="toolCallError", errorDescription="no tool 'x'")
    begun = opening() + said("Hmm") + error
    assert outcome("threads", begun, clean=False).failure is None
    for data in (begun + thread() + typed("end"), begun):
        got = outcome("threads", data)
        assert got.failure is not None
        assert (got.failure.kind, got.failure.detail) == ("model", "no tool 'x'")


@pytest.mark.parametrize("finish", ["stop", "content_filter", "of the server's own"])
def test_rule_3_finish_values_pass(finish: str) -> None:
    got = outcome(
        "message-stream", old_object() + chunk("ok") + old_object("ok", final=True, finish=finish)
    )
    assert got.finished is not None
    assert got.finished.finish_reason == finish
    new = thread(message(ROOT, "user"), message(finishReason=finish))
    later = outcome("threads", opening() + new + typed("end"))
    assert later.finished is not None
    assert later.finished.finish_reason == finish


def test_rule_3_length_after_text_is_a_finish_and_without_text_an_error() -> None:
    end = old_object("a", final=True, finish="length")
    got = outcome("message-stream", old_object() + chunk("a") + old_error("length") + end)
    assert got.finished is not None
    assert got.finished.finish_reason == "length"
    empty = outcome("message-stream", old_object() + old_error("length") + end)
    assert empty.failure is not None
    assert empty.failure.kind == "context_length"


@pytest.mark.parametrize("finish", ["unclosed stream", "aborted", "model overloaded"])
def test_rule_3_a_failing_finish_without_its_error_line_is_a_failure(finish: str) -> None:
    end = old_object("a", final=True, finish=finish)
    got = outcome("message-stream", old_object() + chunk("a") + end)
    assert got.failure is not None
    assert got.finished is None


def test_rule_3_a_finish_of_null_is_stop() -> None:
    """2025-finish-null-modal: the Modal host never says why."""
    got = outcome("message-stream", old_object() + chunk("ok") + old_object("ok", final=True))
    assert got.finished is not None
    assert got.finished.finish_reason == "stop"


@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        ("message-stream", old_object() + old_object("", final=True, finish="stop")),
        ("threads", opening() + typed("end")),
        ("threads", typed("start") + typed("end")),
        ("v5-chat", typed("start") + thread(kind="finalThread") + typed("end")),
    ],
)
def test_rule_4_an_answer_without_text_is_an_answer(dialect: str, data: bytes) -> None:
    got = outcome(dialect, data)
    assert got.text == ""
    assert got.finished is not None
    assert got.finished.finish_reason == "stop"


def test_rule_5_the_reply_is_found_at_any_depth() -> None:
    got = outcome("message-stream", old_object(system=True) + chunk("ok") + OLD_END)
    assert got.started == (Started(REPLY, ROOT, "tulu3-405b"),)
    system = message("msg_S1S1S1S1S1", "system"), message(ROOT, "user"), message()
    later = outcome("threads", typed("start", "msg_S1S1S1S1S1") + thread(*system) + typed("end"))
    assert later.started == (Started(REPLY, "msg_S1S1S1S1S1", "Olmo"),)


def test_rule_5_the_root_of_a_follow_up_is_the_threads_first_message() -> None:
    first = "msg_Z9Z9Z9Z9Z9"
    old = outcome("message-stream", old_object(root=first) + chunk("ok") + OLD_END)
    assert old.started[0].conversation_id == first
    new = outcome("threads", typed("start", first) + thread() + typed("end", first))
    assert new.started[0].conversation_id == first


@pytest.mark.parametrize("letters", [150_000, 1_000_000])
def test_rule_8_lines_of_a_megabyte_pass(letters: int) -> None:
    text = "x" * letters
    data = opening() + said(text) + thread(message(ROOT, "user"), message(content=text))
    assert outcome("threads", data + typed("end"), 65536).text == text


def test_rule_8_a_line_without_end_is_refused() -> None:
    got = outcome("threads", opening() + b'{"content": "' + b"x" * (5 << 20), 65536)
    assert got.failure is not None
    assert got.failure.kind == "protocol"


@pytest.mark.parametrize("dialect", ["message-stream", "threads", "v5-chat"])
def test_rule_13_a_body_without_its_end_mark_is_cut(dialect: str) -> None:
    begun = old_object() + chunk("a") if dialect == "message-stream" else opening() + said("a")
    for tail in (b"", b'{"mess', b'{"type": "modelResponse", "content": "b"}'):
        got = outcome(dialect, begun + tail)
        assert got.text == "a"
        assert got.failure is not None
        assert got.failure.kind == "truncated"


def test_rule_13_an_end_mark_without_its_line_end_is_an_end_mark() -> None:
    assert outcome("threads", opening() + typed("end").rstrip()).finished is not None
    old = old_object() + chunk("ok") + OLD_END.rstrip()
    assert outcome("message-stream", old).finished is not None


@pytest.mark.parametrize(
    "bad",
    [
        b'{"content": "a"\n',
        b"<html>\n",
        b'"text"\n',
        b'{"content": "\xff", "type": "modelResponse"}\n',
        b'{"content": 7, "type": "modelResponse"}\n',
        b'{"messages": [' + b"[" * 5000 + b"\n",
    ],
)
@pytest.mark.parametrize("dialect", ["message-stream", "threads"])
def test_rule_14_what_cannot_be_read_is_an_error(dialect: str, bad: bytes) -> None:
    begun = old_object() + chunk("a") if dialect == "message-stream" else opening() + said("a")
    got = outcome(dialect, begun + bad + typed("end"))
    assert got.text == "a"
    assert got.failure is not None
    assert got.failure.kind == "protocol"


# -- further rules -------------------------------------------------------------------------------


def test_only_lf_ends_a_line() -> None:
    """Further rule "only LF": raw UTF-8 of v5 may hold every other separator."""
    text = "a\u2028b\u2029c\x85d\re"
    raw = json.dumps({"type": "modelResponse", "message": REPLY, "content": text})
    data = raw.encode().decode("unicode_escape").replace("\r", "\\r").encode() + b"\n"
    for size in (0, 1):
        assert outcome("v5-chat", data + typed("end"), size).text == text


def test_unknown_lines_and_fields_are_passed_over() -> None:
    """Further rule "unknown lines and fields"."""
    noise = (
        line({"type": "future", "message": {"deep": [1]}, "content": 3})
        + line({"type": "later"})
        + line({"hello": 1})
        + line({"type": None, "hello": 1})
        + line({"message": 3, "hello": 1})
        + b"\r\n\n"
    )
    new = outcome("threads", opening() + noise + said("a") + noise + typed("end"))
    assert (new.text, new.failure) == ("a", None)
    old = old_object() + line({"note": 1}) + line({"reason": []}) + chunk("ok") + OLD_END
    assert outcome("message-stream", old).finished is not None


def test_lines_are_known_by_keys_never_by_text() -> None:
    """Further rule "keys, not position"; test_further_rules.py has the places."""
    looks = '{"type": "end"}\n{"error": "boom", "reason": "stop"}'
    assert outcome("threads", opening() + said(looks) + typed("end")).text == looks


def test_nothing_after_the_end_counts() -> None:
    got = outcome("threads", opening() + said("a") + typed("end") + b"not json\n" + said("b"))
    assert (got.text, got.failure) == ("a", None)


def test_a_stored_message_is_no_answer() -> None:
    """2025-role-assistant-json-reply: one object, no stream, no line end."""
    got = outcome("message-stream", OLD_END.rstrip())
    assert got.finished is not None
    assert got.finished.finish_reason is None
    assert got.started == ()


def test_an_opening_that_comes_twice_starts_once() -> None:
    got = outcome("message-stream", old_object() * 2 + chunk("ok") + OLD_END)
    assert len(got.started) == 1


def test_a_final_text_that_differs_is_said() -> None:
    data = old_object() + chunk("one") + old_object("two", final=True, finish="stop")
    got = outcome("message-stream", data)
    assert got.finished is not None
    assert [notice.code for notice in got.finished.warnings] == ["text_differs"]


# -- characters cut in two (section 4.4) -----------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("kind", ["modelResponse", "thinking"])
def test_halves_of_a_character_are_joined(kind: str, size: int) -> None:
    data = opening() + said("a\ud83d", kind) + said("\ude42b\ud83d\ude42", kind) + typed("end")
    got = outcome("threads", data, size)
    assert (got.text or got.thinking) == "a🙂b🙂"
    assert got.finished is not None


def test_halves_are_joined_in_each_channel_of_its_own() -> None:
    pieces = [("\ud83d", "modelResponse"), ("\ud83d", "thinking"), ("\ude42", "modelResponse")]
    data = opening() + b"".join(said(*piece) for piece in pieces) + said("\ude42", "thinking")
    got = outcome("threads", data + typed("end"))
    assert (got.text, got.thinking) == ("🙂", "🙂")


def test_a_half_alone_is_shown_as_no_character() -> None:
    pieces = said("\ude42a\ud83d") + said("\ud83db\ud83d") + said("\ud83d", "thinking")
    for end in (typed("end"), b"", old_error("Unknown error")):
        got = outcome("threads", opening() + pieces + end)
        assert (got.text, got.thinking) == ("�a��b�", "�")


def test_halves_of_2025_are_joined_too() -> None:
    data = old_object() + chunk("\ud83d") + chunk("\ude42")
    got = outcome("message-stream", data + old_object("🙂", final=True))
    assert got.text == "🙂"
    assert got.finished is not None
    assert got.finished.warnings == ()


def test_a_thread_object_with_a_half_is_read() -> None:
    half = message(content="\ud83d", toolCalls=[{"toolName": "x", "args": {}}])
    got = outcome("threads", opening() + thread(message(ROOT, "user"), half) + typed("end"))
    assert got.finished is not None


# -- tools, branches, v5 -------------------------------------------------------------------------


def test_tool_calls_are_joined_by_their_id() -> None:
    def call(args: object, ident: str, name: str = "") -> bytes:
        fields = {"toolCallId": ident, "toolName": name, "args": args, "toolSource": None}
        return typed("toolCall", REPLY, **fields)

    data = opening() + call("", "c1", "weather") + call('{"ci', "c1") + call('{"n": 1}', "c2", "n")
    data += call('ty": 1}', "c1") + call("", "c2") + call({"city": "Ü"}, "c3", "whole")
    asked = message(toolCalls=[{"toolName": "weather"}])
    got = outcome("threads", data + thread(message(ROOT, "user"), asked) + typed("end"))
    assert got.calls == (
        ToolCall(0, "c1", "weather", ""),
        ToolCall(0, arguments='{"ci'),
        ToolCall(1, "c2", "n", '{"n": 1}'),
        ToolCall(0, arguments='ty": 1}'),
        ToolCall(2, "c3", "whole", '{"city":"Ü"}'),
    )
    assert got.finished is not None
    assert got.finished.finish_reason == "tool_calls"


def test_an_answer_is_still_waited_for_after_one_of_two_tool_results() -> None:
    result = message("msg_T1T1T1T1T1", "tool_call_result", toolCalls=[{"toolName": "a"}])
    got = outcome("threads", typed("start") + thread(result) + typed("end"))
    assert got.started == (Started("msg_T1T1T1T1T1", ROOT, "Olmo"),)
    assert got.finished is not None
    assert got.finished.finish_reason == "tool_calls"


def test_each_round_of_a_server_tool_names_its_own_reply() -> None:
    """2026-internal-tool: a next turn goes on from the last of them."""
    again = thread(message(ROOT, "user"), message(), message("msg_C3C3C3C3C3"))
    got = outcome("threads", opening() + said("a") + again + said("b") + typed("end"))
    assert [event.id for event in got.started] == [REPLY, "msg_C3C3C3C3C3"]
    assert got.text == "ab"


def test_an_empty_thread_object_says_nothing() -> None:
    data = line({"id": ROOT, "messages": []}) + opening() + typed("end")
    assert [event.id for event in outcome("threads", data).started] == [REPLY]


def test_a_thread_object_without_a_start_line_still_names_the_root() -> None:
    assert outcome("threads", thread() + typed("end")).started[0].conversation_id == ROOT


def test_a_root_that_changed_means_lost_history() -> None:
    """Section 4.3: the only sign of a branch is another root in ``start``."""
    same = outcome("threads", opening() + typed("end"), root=ROOT)
    other = outcome("threads", opening() + typed("end"), root="msg_O0O0O0O0O0")
    assert same.finished is not None
    assert same.finished.warnings == ()
    assert other.finished is not None
    assert [notice.code for notice in other.finished.warnings] == ["history_lost"]


def test_tools_that_the_thread_does_not_have_are_said() -> None:
    held = message(toolDefinitions=[{"name": "a", "toolSource": "user_defined"}])
    data = opening() + thread(message(ROOT, "user"), held) + typed("end")
    got = outcome("threads", data, tools=("a", "b"))
    assert got.finished is not None
    (notice,) = got.finished.warnings
    assert isinstance(notice, Notice)
    assert notice.code == "parameter_dropped"
    assert notice.detail.endswith("; b came later")
    kept = outcome("threads", data, tools=("a",))
    assert kept.finished is not None
    assert kept.finished.warnings == ()


def v5(*lines: bytes) -> Outcome:
    start = typed("start") + thread(message(ROOT, "user", content="q"), kind="startThread")
    return outcome("v5-chat", start + b"".join(lines))


def test_v5_the_first_piece_comes_inside_its_message() -> None:
    first = thread(message(content="Hel", thinking=None), kind="addMessage")
    thought = thread(message("msg_C3C3C3C3C3", thinking="hm"), kind="addMessage")
    end = thread(message(ROOT, "user"), message(), kind="finalThread") + typed("end")
    got = v5(first, said("lo"), thought, said(" more", "thinking"), end)
    assert (got.text, got.thinking) == ("Hello", "hm more")
    assert got.finished is not None


def test_v5_messages_of_the_request_and_tool_results_are_no_text() -> None:
    asked = thread(message(ROOT, "user", content="q"), kind="addMessage")
    result = thread(message("msg_T1T1T1T1T1", "tool_call_result", content="18"), kind="addMessage")
    got = v5(asked, result, thread(message(content="warm"), kind="addMessage"), typed("end"))
    assert got.text == "warm"
    assert got.started[-1].id == REPLY


def test_v5_errors_are_told_at_the_end_unless_the_model_recovered() -> None:
    error = typed("error", REPLY, errorCode="otherError", errorDescription="boom")
    final = thread(kind="finalThread") + typed("end")
    failed = v5(thread(message(content="a"), kind="addMessage"), error, final)
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.detail, failed.text) == ("model", "boom", "a")
    went_on = v5(error, thread(message(content="b"), kind="addMessage"), final)
    assert went_on.failure is None
    assert went_on.text == "b"


def test_v5_a_message_without_messages_is_passed_over() -> None:
    assert v5(typed("addMessage"), typed("end")).finished is not None


def test_error_lines_hide_addresses() -> None:
    """Section 3.4: the gRPC text leaks back-end addresses."""
    text = 'Unknown Error at ipv4:10.0.0.7:443 http://in.side/x?k=1 [fe80::1]:80 db.local:5432 "x"'
    for reason, shown in (("Unknown error", 'at … … … … "x"'), ("grpc inference failed", "")):
        decoder = decoder_of("threads")
        decoder.feed(opening() + old_error(reason, text))
        assert decoder.failure is not None
        assert decoder.failure.detail == (shown or reason)
        assert "10.0.0.7" not in str(decoder.failure)
