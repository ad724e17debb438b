"""What is posted, and what a refusal means (wire/allenai.md sections 2, 3.1, 3.7, 4.1, 4.5, 5)."""

from __future__ import annotations

import json
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from penstock.errors import BadRequestError, ConfigError, ModelNotFoundError, ProtocolError
from penstock.providers.allenai.conversation import Conversation
from penstock.providers.allenai.dialect import candidates, check_for, decoder_of, notices, nowhere
from penstock.providers.allenai.dialect.errors import is_gone, is_refusal, refusal
from penstock.providers.allenai.dialect.forms import (
    Post,
    check_dialect,
    delete_request,
    identity,
    list_request,
    models_request,
    post_request,
)
from penstock.providers.allenai.dialect.lists import models_of, roots_of
from penstock.providers.allenai.dialect.turns import Turn, turns_of
from penstock.providers.allenai.models import ALIASES, BASE_URL, HOSTS, MODELS, resolve
from penstock.types import ChatRequest, ImagePart, Message, Sampling, TextPart, Tool
from penstock.wire.request import HttpRequest

BASE = "https://ai2.example/prefix"
ME = identity("anna", None)
JSON = {"content-type": "application/json"}
TOOL = Tool("weather", "of a city", {"type": "object", "properties": {}})


def form(request: HttpRequest) -> list[tuple[str, str]]:
    """The fields of a posted form, in order."""
    content_type = dict(request.headers)["Content-Type"]
    if content_type == "application/x-www-form-urlencoded":
        return parse_qsl(request.body.decode(), keep_blank_values=True)
    parsed = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + request.body)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            bytes(part.get_payload(decode=True)).decode(),
        )
        for part in parsed.walk()
        if not part.is_multipart()
    ]


def posted(dialect: str, content: str = "Hi", **fields: Any) -> list[tuple[str, str]]:
    turn = fields.pop("turn", Turn(content=content))
    post = Post(model="m", turn=turn, host="inferd", **fields)
    return form(post_request(dialect, BASE, post, ME))


# -- forms -----------------------------------------------------------------------------------------


def test_each_dialect_posts_to_its_path() -> None:
    post = Post(model="m", turn=Turn(content="Hi"))
    urls = {dialect: post_request(dialect, BASE, post, ME).url for dialect in HAVE}
    assert urls == {
        "message-stream": f"{BASE}/v4/message/stream",
        "threads": f"{BASE}/v4/threads/",  # 2026-redirect-missing-slash
        "v5-chat": f"{BASE}/v5/threads/chat",
    }


HAVE = ("message-stream", "threads", "v5-chat")


def test_a_first_turn_in_each_dialect() -> None:
    model, content = ("model", "m"), ("content", "Hi")
    private, host = ("private", "true"), ("host", "inferd")
    assert posted("message-stream") == [model, host, content, private]
    assert posted("threads") == [model, content, private]
    assert posted("v5-chat") == [model, content, ("role", "user")]


def test_v5_posts_a_url_encoded_form_unless_there_are_files() -> None:
    plain = post_request("v5-chat", BASE, Post(model="m", turn=Turn(content="é&=")), ME)
    assert plain.stream
    assert ("content", "é&=") in form(plain)
    image = Turn(content="look", images=(ImagePart(b"\x89PNG", "image/png", "a.png"),))
    with_file = post_request("v5-chat", BASE, Post(model="m", turn=image), ME)
    assert dict(with_file.headers)["Content-Type"].startswith("multipart/form-data")


def test_rule_9_text_is_utf_8() -> None:
    text = "Привет 你好 é 👩‍👩‍👧\r\n \t"
    for dialect in HAVE:
        assert dict(posted(dialect, text))["content"] == text


def test_rule_16_names_and_file_names_are_quoted() -> None:
    image = ImagePart(b"\x89PNG\r\n--x", "image/png", 'a"\r\nb\N{SNOWMAN}.png')
    turn = Turn(content="look", images=(image, image))
    body = post_request("threads", BASE, Post(model="m", turn=turn), ME).body
    assert body.count('name="files"; filename="a%22%0D%0Ab\N{SNOWMAN}.png"'.encode()) == 2
    assert body.count(b"Content-Type: image/png\r\n\r\n\x89PNG\r\n--x\r\n") == 2


def test_rule_12_options_go_out_by_their_names_and_on_the_grid() -> None:
    given = Sampling(temperature=0.1 + 0.2, top_p=1, max_tokens=5, stop=("a", "b"))
    old = posted("message-stream", sampling=given)[4:]
    numbers = [("temperature", "0.3"), ("top_p", "1"), ("max_tokens", "5")]
    assert old == [*numbers, ("stop", "a"), ("stop", "b")]
    new = dict(posted("threads", sampling=msgspec.structs.replace(given, temperature=0)))
    assert (new["temperature"], new["topP"], new["maxTokens"]) == ("0", "1", "5")


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_rule_12_what_is_off_the_grid_is_refused_here(name: str) -> None:
    """2025-err-top-p-step."""
    given = msgspec.convert({name: 0.915}, Sampling)
    with pytest.raises(BadRequestError, match=f"{name} must be a multiple of 0.01"):
        check_for("message-stream", ask(sampling=given), BASE, (), "allenai")
    check_for("threads", ask(sampling=given), BASE, (), "allenai")


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 1.5), ("temperature", -0.1), ("top_p", 0.0), ("max_tokens", 2049)],
)
def test_rule_12_ranges_of_2025_are_checked_here(name: str, value: float) -> None:
    """2025-err-temperature-range."""
    with pytest.raises(BadRequestError, match=f"{name} must be within"):
        check_for(
            "message-stream",
            ask(sampling=msgspec.convert({name: value}, Sampling)),
            BASE,
            (),
            "allenai",
        )


def test_tools_go_out_with_the_first_turn_only() -> None:
    """Section 4.1: tools only on the first message of a thread; later ones inherit them."""
    first = dict(posted("threads", tools=(TOOL,)))
    assert first["enableToolCalling"] == "true"
    assert json.loads(first["toolDefinitions"]) == [
        {
            "name": "weather",
            "description": "of a city",
            "parameters": {"type": "object", "properties": {}},
        }
    ]
    assert "toolDefinitions" not in dict(posted("threads", tools=(TOOL,), parent="msg_A1"))


def test_a_tool_result_names_its_call() -> None:
    """2026-user-tool-and-result."""
    turn = Turn(content="18C", role="tool_call_result", tool_call_id="call_w1")
    sent = dict(posted("threads", turn=turn, parent="msg_A1"))
    assert (sent["role"], sent["toolCallId"], sent["parent"]) == (
        "tool_call_result",
        "call_w1",
        "msg_A1",
    )


def test_raw_fields_win_and_lists_repeat_their_name() -> None:
    extra = {
        "max_tokens": 9,
        "selectedTools": ["a", "b"],
        "inputParts": [{"x": 1}, {"x": 2}],
        "extraParameters": [1, 2],
        "private": False,
        "n": None,
    }
    sent = posted("threads", "", sampling=Sampling(max_tokens=5), extra=extra)
    assert sent == [
        ("model", "m"),
        ("private", "false"),
        ("maxTokens", "9"),
        ("selectedTools", "a"),
        ("selectedTools", "b"),
        ("inputParts", '{"x":1}'),
        ("inputParts", '{"x":2}'),
        ("extraParameters", "[1,2]"),
    ]
    with pytest.raises(BadRequestError, match="extraParameters does not fit into JSON"):
        posted("threads", extra={"extraParameters": object()})


def test_rule_10_and_section_2_one_identity_never_two() -> None:
    assert dict(identity("anna", None)) == {"Accept": "*/*", "x-anonymous-user-id": "anna"}
    assert dict(identity("anna", "jwt")) == {"Accept": "*/*", "Authorization": "Bearer jwt"}


def test_other_calls() -> None:
    delete = delete_request(BASE, "msg_A1", ME)
    assert (delete.method, delete.url) == ("DELETE", f"{BASE}/v3/message/msg_A1")
    with pytest.raises(BadRequestError, match="conversation"):
        delete_request(BASE, "../x", ME)
    assert models_request("message-stream", BASE).url == f"{BASE}/v3/models"
    assert models_request("v5-chat", BASE).url == f"{BASE}/v4/models/"
    assert list_request("threads", BASE, "a b", ME).url == f"{BASE}/v4/threads/?limit=10"
    old = list_request("message-stream", BASE, "a b", ME)
    assert old.url == f"{BASE}/v3/messages?limit=10&creator=a+b"


# -- turns -----------------------------------------------------------------------------------------


def user(text: str, **fields: Any) -> Message:
    return Message("user", text, **fields)


def ask(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (user("q"),), **fields)


def going_on(*messages: Message) -> tuple[Turn, ...]:
    return turns_of(ask(*messages, conversation=Conversation(parent="msg_A1")))


def test_a_chat_without_a_thread_is_folded() -> None:
    (turn,) = turns_of(ask(Message("system", "Be brief"), user("a"), Message("assistant", "b")))
    assert turn.content == "System: Be brief\nUser: a\nAssistant: b\nAssistant:"
    assert turns_of(ask(user("  as it is\n")))[0].content == "  as it is\n"
    fresh = ask(user("a"), user("b"), conversation=Conversation())
    assert turns_of(fresh)[0].content == "User: a\nUser: b\nAssistant:"


def test_in_a_thread_only_the_new_turn_travels() -> None:
    history = (user("a"), Message("assistant", "b"))
    assert going_on(*history, user(" c "))[0].content == " c "
    assert going_on(*history, user("c"), user("d"))[0].content == "c\nd"
    mixed = going_on(*history, Message("system", "s"), user("c"))
    assert mixed[0].content == "System: s\nUser: c\nAssistant:"
    with pytest.raises(BadRequestError, match="add a user message"):
        going_on(*history)


def test_images_travel_as_bytes() -> None:
    image = ImagePart(b"png", "image/png")
    parts = Message("user", (TextPart("look"), image))
    assert turns_of(ask(parts))[0].images == (image,)
    with pytest.raises(BadRequestError, match="fetches no URL"):
        turns_of(ask(Message("user", (TextPart("x"), ImagePart(url="https://a.example/b")))))


def test_an_empty_message_is_refused_unless_the_caller_sends_parts() -> None:
    with pytest.raises(BadRequestError, match="is empty"):
        turns_of(ask(user("")))
    assert turns_of(ask(user(""), extra={"inputParts": ["{}"]}))[0].content == ""


def test_tool_results_travel_one_by_one() -> None:
    def result(ident: str | None) -> Message:
        return Message("tool", "18", tool_call_id=ident)

    turns = going_on(user("q"), Message("assistant", ""), result("c1"), result("c2"))
    assert [turn.tool_call_id for turn in turns] == ["c1", "c2"]
    assert turns[0].as_message() == {"role": "tool", "content": "18"}
    assert Turn(content="q").as_message() == {"role": "user", "content": "q"}
    with pytest.raises(BadRequestError, match="tool_call_id"):
        going_on(result(None))
    with pytest.raises(BadRequestError, match="nothing else"):
        going_on(result("c1"), user("and?"))


# -- dialects --------------------------------------------------------------------------------------


def test_rule_15_the_order_in_which_dialects_are_tried() -> None:
    assert candidates("v5-chat", "threads", BASE) == ("v5-chat",)
    assert candidates(None, None, BASE) == ("message-stream", "threads")
    assert candidates(None, None, BASE_URL) == ("threads", "message-stream")
    assert candidates(None, "threads", BASE) == ("threads", "message-stream")
    assert candidates(None, "message-stream", BASE_URL) == ("message-stream", "threads")


def test_rule_15_only_a_json_404_says_that_a_path_is_gone() -> None:
    assert is_gone(404, JSON)
    assert not is_gone(404, {"content-type": "text/html"})
    assert not is_gone(404, {})
    assert not is_gone(400, JSON)
    assert is_refusal(403, {"content-type": "application/problem+json"})
    assert not is_refusal(403, {"content-type": "text/html"})
    assert not is_refusal(404, JSON)


def test_models_are_closed_for_the_vendors_old_path_only() -> None:
    with pytest.raises(ModelNotFoundError, match="tulu3-405b"):
        check_for("message-stream", msgspec.structs.replace(ask(), model="tulu"), BASE_URL, (), "a")
    for dialect, base, offered in (
        ("message-stream", BASE, ()),
        ("message-stream", BASE_URL, ("m",)),
        ("threads", BASE_URL, ()),
    ):
        check_for(dialect, ask(), base, offered, "allenai")


def test_what_a_dialect_cannot_do_is_refused() -> None:
    with pytest.raises(BadRequestError, match="tools"):
        check_for("message-stream", ask(tools=(TOOL,)), BASE, (), "allenai")
    with pytest.raises(BadRequestError, match="maxTokenz"):
        check_for("threads", ask(extra={"maxTokenz": 1}), BASE, (), "allenai")
    with pytest.raises(ConfigError, match="message-stream, threads, v5-chat"):
        check_dialect("v4")
    check_dialect(None)
    assert nowhere("allenai", "m", "http://x").kind == "not_found"


def test_a_temperature_of_zero_that_is_not_obeyed_is_said() -> None:
    """Section 4.1: shown as 0, but the model's default goes to the back end."""
    zero = ask(sampling=Sampling(temperature=0))
    assert [notice.code for notice in notices("threads", zero)] == ["parameter_dropped"]
    assert notices("message-stream", zero) == ()
    assert notices("threads", ask(sampling=Sampling(temperature=0.01))) == ()
    assert notices("threads", ask()) == ()


def test_rules_6_and_7_hosts_and_aliases_stand_in_one_place() -> None:
    assert set(ALIASES.values()) == set(MODELS)
    assert set(MODELS) < set(HOSTS)
    assert {model for model in MODELS if HOSTS[model] == "inferd"} == {"tulu3-405b"}
    assert [resolve(name) for name in ("", "tulu-3-405b", "new")] == [
        "tulu3-405b",
        "tulu3-405b",
        "new",
    ]


def test_decoders_by_dialect() -> None:
    names = {dialect: type(decoder_of(dialect)).__name__ for dialect in HAVE}
    assert names == {
        "message-stream": "MessageStreamDecoder",
        "threads": "ThreadsDecoder",
        "v5-chat": "V5ChatDecoder",
    }


# -- refusals --------------------------------------------------------------------------------------


def refused(status: int, body: object, **headers: str) -> tuple[str, str | None]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = refusal(
        status, headers or JSON, data, provider="allenai", model="m", secrets=("secret-jwt",)
    )
    assert error.status == status
    return error.kind, error.detail


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("inappropriate_prompt", "moderation"),
        ("inappropriate_prompt_text", "moderation"),
        ("inappropriate_prompt_file", "moderation"),
        ("invalid_captcha", "captcha"),
        ("failed_captcha_assessment", "captcha"),
        ("Invalid model/host combination x/y", "unknown_model"),
        ("Invalid model x", "unknown_model"),
        ("Unsupported file types in input", "bad_request"),
    ],
)
def test_rule_15_a_400_says_its_kind_in_words(message: str, kind: str) -> None:
    assert refused(400, {"error": {"code": 400, "message": message}}) == (kind, message)
    problem = {"type": "x", "title": "Bad", "status": 422, "detail": message}
    assert refused(422, problem, **{"content-type": "application/problem+json"})[0] == kind


def test_further_rules_validation_messages_are_shown_not_the_dump() -> None:
    """Further rule "validation messages"."""
    errors = [
        {"loc": ["temperature"], "msg": "too hot", "type": "t", "url": "u"},
        {"loc": [], "msg": "Value error, Parent message x not found", "type": "v"},
        {"loc": ["a"], "msg": "", "type": "v"},
        "noise",
    ]
    body = {"error": {"code": 400, "message": "2 validation errors", "validation_errors": errors}}
    kind, detail = refused(400, body)
    assert (kind, detail) == ("bad_request", "temperature: too hot; Parent message x not found")
    v5 = {"title": "Invalid", "errors": [{"loc": ["body", "role"], "msg": "required"}]}
    assert refused(422, v5) == ("bad_request", "role: required")
    assert refused(422, {"title": "Invalid", "errors": []}) == ("bad_request", "Invalid")


def test_rule_15_a_missing_captcha_token_is_a_captcha_demand() -> None:
    errors = [{"loc": ["captchaToken"], "msg": "Field required"}]
    body = {"error": {"code": 400, "message": "dump", "validation_errors": errors}}
    assert refused(400, body) == ("captcha", "captchaToken: Field required")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "auth"),
        (403, "forbidden"),
        (404, "not_found"),
        (413, "too_large"),
        (429, "rate_limited"),
        (500, "server"),
        (502, "server"),
        (503, "server"),
        (504, "server"),
    ],
)
def test_further_rules_gateway_pages_are_html(status: int, kind: str) -> None:
    """Further rule "gateway pages"."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    assert refused(status, page, **{"content-type": "text/html"}) == (kind, "502 Bad Gateway")
    assert refused(status, {"error": {"code": status, "message": "no secret-jwt"}}) == (
        kind,
        "no ***",
    )


def test_a_body_without_words_still_makes_an_error() -> None:
    assert refused(400, {"error": 7}) == ("bad_request", None)
    assert refused(500, b"") == ("server", None)


# -- lists -----------------------------------------------------------------------------------------


def test_lists_are_read_or_refused() -> None:
    listed = [{"id": "a", "host": "modal", "accepts_files": True, "can_think": True, "name": "A"}]
    (model,) = models_of(json.dumps(listed).encode())
    info = model.info()
    assert (model.host, info.id, info.images, info.reasoning, info.limits) == (
        "modal",
        "a",
        True,
        True,
        {},
    )
    limits = {"temperature_lower": 0.0, "temperature_upper": 1.0}
    (later,) = models_of(json.dumps([{"id": "b", **limits}]).encode())
    assert later.info().limits == {"temperature": (0.0, 1.0)}
    assert roots_of(b'{"threads": [{"id": "a"}], "meta": {}}') == ("a",)
    assert roots_of(b'{"messages": [{"id": "b", "children": null}]}') == ("b",)
    for read in (models_of, roots_of):
        with pytest.raises(ProtocolError):
            read(b"<html>")
