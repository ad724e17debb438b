"""Today's chat-ui as pure code: wire/h2o.md section 9 and its recorded cases.

Section 9 has no numbered rules; each test says which of its facts it proves.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import BadRequestError, PenstockError, ProtocolError
from penstock.providers.chatui.dialect import requests
from penstock.providers.chatui.dialect.errors import answer_error, line_error
from penstock.providers.chatui.dialect.lines import LinesDecoder, difference
from penstock.providers.chatui.dialect.requests import Created, Question, question_of
from penstock.types import (
    ChatRequest,
    Event,
    Finished,
    ImagePart,
    Message,
    Notice,
    Reasoning,
    Text,
    TextPart,
)

BASE = "http://127.0.0.1:3000"
CASES = sorted((Path(__file__).parents[2] / "cassettes" / "chatui").glob("*.json"))
STARTED = '{"type":"status","status":"started"}'
ALIVE = '{"type":"status","status":"keepAlive"}'
FINISHED = " " * 4096 + '{"type":"status","status":"finished"}'


def line(kind: str, **more: object) -> str:
    return json.dumps({"type": kind, **more}, ensure_ascii=False)


def stream(*tokens: str) -> list[str]:
    return [line("stream", token=token.ljust(16, "\0")) for token in tokens]


def final(text: str, *, interrupted: bool = False) -> str:
    return line("finalAnswer", text=text, interrupted=interrupted)


def failure(message: str, **more: object) -> str:
    return line("status", status="error", message=message, **more)


def read(
    *lines: str, size: int | None = None, tail: str = "\n"
) -> tuple[list[str], Finished | None, PenstockError | None]:
    return read_bytes(("\n".join(lines) + tail).encode(), size)


def read_bytes(
    data: bytes, size: int | None = None
) -> tuple[list[str], Finished | None, PenstockError | None]:
    decoder = LinesDecoder("chatui")
    events: list[Event] = []
    step = size or max(len(data), 1)
    for start in range(0, len(data), step):
        events += decoder.feed(data[start : start + step])
    events += decoder.eof()
    ends = [event for event in events if isinstance(event, Finished)]
    assert (len(ends) == 1) == (decoder.failure is None)
    pieces = [event.text for event in events if isinstance(event, Text)]
    return pieces, ends[0] if ends else None, decoder.failure


def kind_of(*lines: str) -> str:
    error = read(*lines)[2]
    assert error is not None
    return error.kind


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
    if response["status"] != 200:
        creating = exchange["request"]["path"] == "/conversation"
        error = answer_error(
            response["status"],
            {},
            data,
            provider="chatui",
            step="create" if creating else "message",
        )
        assert (error.kind, error.status) == (expected["error"]["kind"], response["status"])
        assert error.detail == expected["error"]["message"]
        return
    pieces, end, failed = read_bytes(data, size)
    assert pieces == expected["pieces"]
    if failed is not None:
        assert failed.kind == expected["error"]["kind"]
        assert failed.detail == expected["error"]["message"]
        return
    assert end is not None
    assert (end.finish_reason, end.final_text) == (expected["finish"], expected["final_text"])
    differs = [notice.code for notice in end.warnings] == ["text_differs"]
    assert differs is expected.get("stream_mismatch", False)


# -- lines --------------------------------------------------------------------------------------


def test_nul_is_padding_and_an_empty_token_is_none() -> None:
    long = "a token of more than sixteen units"
    pieces, end, _ = read(*stream("Hi", "", long, "\0"), final(f"Hi{long}"), FINISHED)
    assert pieces == ["Hi", long]
    assert end == Finished("stop", final_text=f"Hi{long}")


def test_a_nul_of_the_model_is_no_difference() -> None:
    end = read(*stream("a\0b"), final("a\0b"), FINISHED)[1]
    assert end == Finished("stop", final_text="ab")


def test_blanks_stand_before_lines_and_line_ends_may_be_those_of_windows() -> None:
    lines = [STARTED, ALIVE, "", *stream("a"), final("a"), FINISHED]
    data = ("\r\n".join(lines) + "\r\n").encode()
    for size in (None, 1):
        assert read_bytes(data, size)[:2] == (["a"], Finished("stop", final_text="a"))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_title_metadata_and_what_is_not_known_may_stand_anywhere(place: int) -> None:
    lines = [*stream("a"), final("a"), ALIVE]
    lines[place:place] = [
        line("title", title="T"),
        line("routerMetadata", route="", model="", provider="p"),
        line("tool", name="x"),
        line("unheard of", token="not a stream token"),
    ]
    assert read(*lines, FINISHED)[:2] == (["a"], Finished("stop", final_text="a"))


def test_what_follows_the_last_line_does_not_count() -> None:
    lines = [*stream("a"), final("a"), FINISHED, failure("late"), "nonsense"]
    assert read(*lines)[:2] == (["a"], Finished("stop", final_text="a"))


def test_the_rest_of_the_final_text_is_sent() -> None:
    # The text beside the finish reason is never streamed.
    pieces, end, _ = read(*stream("The", " answer"), final("The answer is 42."), FINISHED)
    assert pieces == ["The", " answer", " is 42."]
    assert end == Finished("stop", final_text="The answer is 42.")
    assert read(final("All of it"), FINISHED)[0] == ["All of it"]


@pytest.mark.parametrize("space", [" \n\n", "\t", "\N{NO-BREAK SPACE}", "\ufeff \ufeff", "\x0b"])
def test_white_space_at_the_end_is_no_difference(space: str) -> None:
    pieces, end, _ = read(*stream("a", space), final("a"), FINISHED)
    assert pieces == ["a", space]
    assert end == Finished("stop", final_text="a")


@pytest.mark.parametrize(
    ("streamed", "text", "broken"),
    [
        (["The", " try"] * 2, "The try", 7),
        (["The second try is", "The second try is complete."], "The second try is complete.", 17),
        (["The second", "The second try"], "The second try is complete.", 10),
        (["ab", "ab\n"], "ab", 2),
    ],
)
def test_a_silent_re_run_is_said(streamed: list[str], text: str, broken: int) -> None:
    pieces, end, _ = read(*stream(*streamed), final(text), FINISHED)
    assert pieces == streamed
    assert end is not None
    assert end.final_text == text
    [notice] = end.warnings
    assert notice.code == "text_differs"
    assert f"the first {broken} characters" in notice.detail


@pytest.mark.parametrize(
    ("streamed", "text"),
    [
        ("something", "else"),
        ("something", "else that is longer"),
        ("something and more", "something"),
        ("something", ""),
        ("answer answer", "answer is"),
        ("The answer here. The answer there", "The answer is"),
    ],
)
def test_any_other_difference_is_said(streamed: str, text: str) -> None:
    end = read(*stream(streamed), final(text), FINISHED)[1]
    assert end is not None
    assert end.warnings == (Notice("text_differs", difference(streamed, text)),)
    assert "is not what was streamed" in end.warnings[0].detail


def test_a_re_run_that_fails_as_well_is_an_error() -> None:
    pieces, _, error = read(*stream("half", "half"), failure("boom", statusCode=500))
    assert pieces == ["half", "half"]
    assert error is not None
    assert (error.kind, error.status) == ("server", 200)


def test_stopped_is_cancelled_and_may_be_shorter_than_what_was_streamed() -> None:
    whole = read(*stream("a", "b"), final("ab", interrupted=True), FINISHED)[1]
    assert whole == Finished("cancelled", final_text="ab")
    shorter = read(*stream("a", "b"), final("a", interrupted=True), FINISHED)[1]
    assert shorter == Finished("cancelled", final_text="a")


def test_without_a_final_answer_the_finish_is_not_known() -> None:
    pieces, end, _ = read(*stream("a"), FINISHED)
    assert (pieces, end) == (["a"], Finished(None))


def test_white_space_alone_is_no_answer() -> None:
    lines = [*stream(" \n"), final(""), failure("No output was generated. Something went wrong.")]
    pieces, _, error = read(*lines)
    assert pieces == [" \n"]
    assert error is not None
    assert error.kind == "model"


def test_an_error_after_the_final_answer_counts() -> None:
    assert kind_of(*stream("a"), final("a"), failure("terminated")) == "model"


@pytest.mark.parametrize("tail", ["\n", ""])
@pytest.mark.parametrize(
    "last",
    [FINISHED, failure("terminated"), *stream("b"), FINISHED[:-5], '{"type":'],
    ids=["finished", "error", "token", "cut", "cut early"],
)
def test_the_last_line_may_lack_its_end(last: str, tail: str) -> None:
    pieces, end, error = read(*stream("a"), last, tail=tail)
    if last == FINISHED:
        assert (pieces, end) == (["a"], Finished(None))
        return
    assert error is not None
    if last == failure("terminated"):
        assert error.kind == "model"
    elif last in stream("b"):
        assert (pieces, error.kind) == (["a", "b"] if tail else ["a"], "truncated")
    else:
        assert (pieces, error.kind) == (["a"], "protocol" if tail else "truncated")


def test_a_body_that_ends_before_the_final_answer_is_cut() -> None:
    assert kind_of(STARTED, *stream("a"), ALIVE) == "truncated"
    assert kind_of("") == "truncated"
    assert kind_of(*stream(" "), final("")) == "truncated"


def test_after_the_final_answer_nothing_of_the_text_can_be_lost() -> None:
    assert read(*stream("a"), final("a"))[:2] == (["a"], Finished("stop", final_text="a"))
    decoder = LinesDecoder("chatui")
    decoder.feed(("\n".join(stream("a")) + "\n").encode())
    assert not decoder.whole
    decoder.feed((final("a") + "\n").encode())
    assert decoder.whole
    assert not decoder.done


@pytest.mark.parametrize(
    "bad", ["nonsense", "[]", "{}", '{"type":5}', '{"type":"stream","token":5}', "[" * 5000]
)
def test_a_line_of_another_form_is_told(bad: str) -> None:
    assert kind_of(*stream("a"), bad, FINISHED) == "protocol"


def test_lines_are_bounded() -> None:
    assert kind_of("x" * (2 << 20)) == "protocol"


def test_reasoning_inside_tokens_stays_text_and_lines_of_it_are_reasoning() -> None:
    tokens = ["<think>Let me", " think.", "</think>The"]
    assert read(*stream(*tokens), final("".join(tokens)), FINISHED)[0] == tokens
    decoder = LinesDecoder("chatui")
    lines = [
        line("reasoning", subtype="stream", token="Hm\0\0"),
        line("reasoning", subtype="status", status="thinking"),
    ]
    assert decoder.feed(("\n".join(lines) + "\n").encode()) == [Reasoning("Hm")]


# -- failures in the answer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "status", "kind"),
    [
        ("401 Incorrect API key provided", 401, "auth"),
        ("402 no credit", 402, "payment"),
        ("403 no", 403, "forbidden"),
        ("404 The model `x` does not exist", 404, "unknown_model"),
        ("404 nothing here", 404, "not_found"),
        ("400 model x not found", 400, "unknown_model"),
        ("400 bad value", 400, "bad_request"),
        ("400 This model's maximum context length is 4096 tokens.", 400, "context_length"),
        ("prompt is too long: 5000 tokens", None, "context_length"),
        ("429 Rate limit reached", 429, "rate_limited"),
        ("429 context window of your plan", 429, "rate_limited"),
        ("500 boom", 500, "server"),
        ("503 busy", 503, "overloaded"),
        ("504 slow", 504, "server"),
        ("terminated", None, "model"),
        ("No output was generated. Something went wrong.", None, "model"),
        ("odd", 42, "model"),
        ("", None, "model"),
    ],
)
def test_an_error_line_is_told_by_its_status_and_its_words(
    message: str, status: int | None, kind: str
) -> None:
    error = line_error(message, status, "chatui")
    assert (error.kind, error.status, error.detail) == (kind, 200, message or None)


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "step", "body", "kind"),
    [
        (400, "create", b'{"message":"Invalid request"}', "unknown_model"),
        (400, "message", b'{"message":"Message too long."}', "too_large"),
        (400, "message", b'{"message":"Invalid request"}', "bad_request"),
        (400, "other", b'{"message":"Message too long."}', "bad_request"),
        (401, "message", b'{"error":"You have to be logged in"}', "auth"),
        (403, "message", b"Non-JSON form requests need to have an origin", "forbidden"),
        (404, "message", b'{"message":"Conversation not found"}', "not_found"),
        (410, "message", b'{"message":"Model is gone"}', "unknown_model"),
        (413, "message", b"", "too_large"),
        (429, "create", b'{"message":"limit"}', "rate_limited"),
        (500, "message", b'{"message":"An error occurred","errorId":"x"}', "server"),
    ],
)
def test_each_refusal_has_its_kind(status: int, step: Any, body: bytes, kind: str) -> None:
    error = answer_error(status, {}, body, provider="chatui", model="m", step=step)
    assert (error.kind, error.status, error.model) == (kind, status, "m")


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("https://idp.example/authorize?client_id=x", "auth"),
        ("/login", "auth"),
        ("", "auth"),
        ("https://h/conversation", "redirect"),
    ],
)
def test_a_login_is_told_from_a_server_that_moved_to_https(location: str, kind: str) -> None:
    error = answer_error(
        302,
        {"location": location},
        b"",
        provider="chatui",
        step="create",
        url="http://h/conversation",
    )
    assert error.kind == kind
    assert answer_error(308, {"location": location}, b"", provider="chatui").kind == "redirect"


# -- requests -----------------------------------------------------------------------------------


def chat(*messages: tuple[Any, Any]) -> ChatRequest:
    return ChatRequest(
        model="m", messages=tuple(Message(role=role, content=content) for role, content in messages)
    )


def test_the_system_text_is_the_preprompt_and_a_chat_is_folded() -> None:
    made = chat(("system", "Be kind."), ("user", "A"), ("assistant", "B"), ("user", "C"))
    assert question_of(made, "chatui", going_on=False) == Question(
        "User: A\nAssistant: B\nUser: C\nAssistant:", "Be kind."
    )
    assert question_of(made, "chatui", going_on=True) == Question("C", "Be kind.")
    assert question_of(chat(("user", " A ")), "chatui", going_on=False) == Question(" A ")


def test_nothing_to_ask_is_refused() -> None:
    for made, going_on in (
        (chat(("system", "S")), False),
        (chat(("user", "")), False),
        (chat(("user", "A"), ("assistant", "B")), True),
    ):
        with pytest.raises(BadRequestError, match="nothing to ask"):
            question_of(made, "chatui", going_on=going_on)


def test_images_go_as_files_and_never_by_address() -> None:
    image = ImagePart(data=b"\x89PNG", media_type="image/png", name='a"b.png')
    made = chat(("user", (TextPart("What is it?"), image)))
    question = question_of(made, "chatui", going_on=False)
    assert question.images == (image,)
    sent = requests.message_request(BASE, "6b00", "root", question, "gen", {})
    assert b'name="files"; filename="base64;a%22b.png"\r\nContent-Type: image/png' in sent.body
    assert b"\r\n\r\niVBORw==\r\n" in sent.body
    with pytest.raises(BadRequestError, match="bytes or data URLs"):
        question_of(chat(("user", (ImagePart(url="https://h/a.png"),))), "chatui", going_on=False)
    assert question_of(chat(("user", (image,))), "chatui", going_on=False).inputs == ""


def test_a_conversation_is_opened_with_model_and_preprompt() -> None:
    sent = requests.create_request(BASE, "m", None, {})
    assert (sent.method, sent.url) == ("POST", f"{BASE}/conversation")
    assert json.loads(sent.body) == {"model": "m"}
    assert json.loads(requests.create_request(BASE, "m", "S", {}).body) == {
        "model": "m",
        "preprompt": "S",
    }


def test_the_first_parent_is_in_a_string_of_superjson() -> None:
    case = json.loads(next(path for path in CASES if path.stem == "chatui-first-turn").read_text())
    chunks = case["exchanges"][1]["response"]["chunks"]
    created = requests.decode_created(b"".join(base64.b64decode(chunk["b64"]) for chunk in chunks))
    assert created == Created("6b00e63d1e8869ece49896c1", "d05d986a-d458-4fca-9d7b-0c260c0de5c5")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"<html>",
        b'{"conversationId":"a"}',
        b'{"conversationId":"a","conversation":"nonsense"}',
        b'{"conversationId":"a","conversation":"{\\"json\\":[]}"}',
        b'{"conversationId":"a","conversation":"{\\"json\\":{}}"}',
        b'{"conversationId":"a","conversation":"{\\"json\\":{\\"rootMessageId\\":\\"\\"}}"}',
        b'{"conversationId":5,"conversation":"{\\"json\\":{\\"rootMessageId\\":\\"r\\"}}"}',
    ],
)
def test_a_conversation_without_its_first_message_is_none(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        requests.decode_created(body)


def test_a_message_is_a_form_with_the_recorded_data() -> None:
    sent = requests.message_request(
        f"{BASE}/prefix", "6b00", "root", Question("Zoë"), "gen", {"hf-chat": "c"}
    )
    assert (sent.method, sent.url) == ("POST", f"{BASE}/prefix/conversation/6b00")
    assert sent.stream
    headers = dict(sent.headers)
    assert headers["Origin"] == BASE
    assert headers["Cookie"] == "hf-chat=c"
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
    part = sent.body.split(b"\r\n\r\n")[1].split(b"\r\n")[0]
    assert json.loads(part) == {
        "inputs": "Zoë",
        "id": "root",
        "is_retry": False,
        "is_continue": False,
        "generationId": "gen",
        "selectedMcpServerNames": [],
        "selectedMcpServers": [],
        "timezone": "UTC",
    }


def test_text_that_utf_8_cannot_hold_is_refused() -> None:
    with pytest.raises(BadRequestError, match="JSON"):
        requests.message_request(BASE, "6b00", "root", Question("\ud800"), "gen", {})


def test_stop_names_the_generation_and_deletion_the_conversation() -> None:
    stop = requests.stop_request(BASE, "6b00", "gen", {})
    assert stop.url == f"{BASE}/conversation/6b00/stop-generating"
    assert json.loads(stop.body) == {"generationId": "gen"}
    deletion = requests.delete_request(BASE, "6b00", {})
    assert (deletion.method, deletion.url) == ("DELETE", f"{BASE}/conversation/6b00")


@pytest.mark.parametrize("ident", ["", "../x", "a/b", ".."])
def test_an_id_that_is_none_does_not_become_a_path(ident: str) -> None:
    for make in (requests.delete_request, requests.tree_request):
        with pytest.raises(BadRequestError, match="conversation"):
            make(BASE, ident, {})


def test_a_cookie_that_cannot_stand_in_a_header_is_refused() -> None:
    with pytest.raises(BadRequestError, match="cookies"):
        requests.create_request(BASE, "m", None, {"a": "b\nc"})


def tree(*messages: tuple[str, str, list[str]]) -> bytes:
    listed = [{"id": i, "from": f, "ancestors": a, "content": "x"} for i, f, a in messages]
    return json.dumps({"json": {"messages": listed}, "meta": {}}).encode()


def test_the_next_parent_is_the_newest_answer_below_ours() -> None:
    stored = tree(
        ("root", "system", []),
        ("q1", "user", ["root"]),
        ("a1", "assistant", ["root", "q1"]),
        ("q2", "user", ["root", "q1", "a1"]),
        ("a2", "assistant", ["root", "q1", "a1", "q2"]),
        ("q3", "user", ["root"]),
        ("a3", "assistant", ["root", "q3"]),
        ("q4", "user", ["root"]),
    )
    assert requests.decode_answer_id(stored, "a1") == "a2"
    assert requests.decode_answer_id(stored, "root") == "a3"
    assert requests.decode_answer_id(stored, None) == "a3"
    assert requests.decode_answer_id(stored, "q4") is None
    for body in (b"{}", b"<html>", b'{"json":{"messages":[{"from":"user"}]}}'):
        with pytest.raises(ProtocolError):
            requests.decode_answer_id(body, None)


def test_both_lists_of_models_are_read() -> None:
    case = json.loads(next(path for path in CASES if path.stem == "chatui-api-lists").read_text())
    for index, plain in ((0, False), (1, True)):
        exchange = case["exchanges"][index]
        sent = requests.models_request(BASE, {}, plain=plain)
        assert sent.url == BASE + exchange["request"]["path"]
        body = b"".join(base64.b64decode(chunk["b64"]) for chunk in exchange["response"]["chunks"])
        assert [model.id for model in requests.decode_models(body)] == [
            "h2oai/h2ogpt-4096-llama2-13b-chat",
            "Qwen/Qwen3-8B",
        ]
    hidden = b'[{"id":"a","unlisted":true},{"id":"b","multimodal":true,"supportsReasoning":true}]'
    [model] = requests.decode_models(hidden)
    assert (model.id, model.images, model.reasoning) == ("b", True, True)
    for body in (b"{}", b"<html>", b'{"json":[{}]}', b'{"json":null}'):
        with pytest.raises(ProtocolError):
            requests.decode_models(body)


def test_the_stored_messages_are_asked_for_by_the_newer_interface() -> None:
    sent = requests.tree_request(BASE, "6b00", {"hf-chat": "c"})
    assert (sent.method, sent.url) == ("GET", f"{BASE}/api/v2/conversations/6b00")
    assert not sent.follow  # a login page is not the messages
