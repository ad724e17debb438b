"""Messages in, text out (framework.md section 6)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock.errors import BadRequestError
from penstock.prompts import (
    data_url,
    filter_none,
    fold,
    format_prompt,
    get_last_user_message,
    new_turn,
    parse_messages,
    split_system,
)
from penstock.types import ImagePart, Message, TextPart, ToolCallPart

PNG = b"\x89PNG\r\n\x1a\nrest"


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_one_question_is_one_user_message() -> None:
    assert parse_messages("hi") == (Message("user", "hi"),)
    assert parse_messages([Message("user", "a")]) == (Message("user", "a"),)


def test_openai_messages_are_read_and_not_changed() -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    given: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        user([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "t1"},
    ]
    before = repr(given)
    assert parse_messages(given) == (
        Message("system", "s"),
        Message("user", (TextPart("look"), ImagePart(PNG, "image/png", "image.png"))),
        Message("assistant", "", tool_calls=(ToolCallPart("t1", "f", "{}"),)),
        Message("tool", "42", tool_call_id="t1"),
    )
    assert repr(given) == before


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "question or a list"),
        (7, "question or a list"),
        ([7], r"messages\[0\] must be a mapping"),
        ([{"content": "x"}], r"messages\[0\]\.role must be one of"),
        ([{"role": "robot", "content": "x"}], "robot"),
        ([user("a"), {"role": "user"}], r"messages\[1\]\.content"),
        ([user(None)], r"messages\[0\]\.content"),
        ([user([7])], r"content\[0\]"),
        ([user([{"type": "video"}])], r"content\[0\]"),
        ([user([{"type": "image_url", "image_url": {"url": "http://x/y.png"}}])], "data URL"),
        (
            [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}])],
            "broken",
        ),
        ([{"role": "user", "content": "x", "name": 7}], "name must be a string"),
        ([{"role": "assistant", "tool_calls": [{}]}], "tool_calls"),
    ],
)
def test_what_are_no_messages_is_refused_with_its_place(messages: Any, words: str) -> None:
    with pytest.raises(BadRequestError, match=words) as caught:
        parse_messages(messages)
    assert caught.value.param == "messages"


def test_https_images_are_passed_on_and_data_urls_decoded() -> None:
    (message,) = parse_messages([user([{"type": "image_url", "image_url": "https://x/y.png"}])])
    assert message.images == (ImagePart(url="https://x/y.png"),)
    assert data_url(message.images[0]) == "https://x/y.png"
    (message,) = parse_messages([user([{"type": "input_image", "image_url": "data:,a%20b"}])])
    assert message.images[0].data == b"a b"
    assert data_url(ImagePart(b"x", "image/png")) == "data:image/png;base64,eA=="


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xffx", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFFxxxxWEBPx", "image/webp"),
        (b"%PDF-1", "application/pdf"),
        (b"text", "application/octet-stream"),
    ],
)
def test_media_goes_with_the_last_user_message(data: bytes, media_type: str) -> None:
    messages = [user("one"), {"role": "assistant", "content": "a"}, user("two")]
    parsed = parse_messages(messages, [(data, "a.bin")])
    assert parsed[0].images == ()
    assert parsed[2].images == (ImagePart(data, media_type, "a.bin"),)
    assert parsed[2].text == "two"


def test_media_needs_bytes_a_name_and_a_user_message() -> None:
    with pytest.raises(BadRequestError, match="user message"):
        parse_messages([{"role": "system", "content": "s"}], [(b"x", "n")])
    with pytest.raises(BadRequestError, match="file name"):
        parse_messages("hi", [b"x"])  # type: ignore[list-item]
    parts = [user([{"type": "text", "text": "a"}])]
    assert parse_messages(parts, [(b"x", "n")])[0].text == "a"


def test_format_prompt() -> None:
    chat = [{"role": "system", "content": "s"}, user("a"), {"role": "assistant", "content": " b"}]
    assert format_prompt(chat) == "System: s\nUser: a\nAssistant:  b\nAssistant:"
    assert format_prompt([user(" one ")]) == " one "
    assert format_prompt([user("one")], add_special_tokens=True) == "User: one\nAssistant:"
    assert format_prompt([user([{"type": "text", "text": "x"}])]) == "x"
    image = {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}
    parts = [{"type": "text", "text": "x"}, image, {"type": "text", "text": "y"}]
    assert format_prompt([user(parts)]) == "xy"
    assert get_last_user_message([user(parts)]) == "xy"
    with pytest.raises(ValueError, match="no messages"):
        format_prompt([])
    with pytest.raises(ValueError, match="no messages"):
        fold([])


def test_get_last_user_message() -> None:
    chat = [user("a"), {"role": "assistant", "content": "b"}, user(" c "), user("d\n")]
    before = repr(chat)
    assert get_last_user_message(chat) == "c\nd"
    assert repr(chat) == before
    assert get_last_user_message([{"role": "assistant", "content": "b"}]) == ""
    assert get_last_user_message([]) == ""


def test_the_turn_that_travels_follows_the_last_assistant_message() -> None:
    chat = parse_messages([user("a"), {"role": "assistant", "content": "b"}, user("c")])
    assert new_turn(chat) == chat[2:]
    assert new_turn(chat[:1]) == chat[:1]
    assert new_turn(chat[:2]) == ()


def test_system_texts_are_taken_out() -> None:
    chat = parse_messages(
        [{"role": "system", "content": "s"}, user("a"), {"role": "developer", "content": "d"}]
    )
    assert split_system(chat) == ("s\nd", (Message("user", "a"),))
    assert split_system(chat[1:2]) == (None, (Message("user", "a"),))


def test_filter_none_keeps_what_is_empty() -> None:
    assert filter_none(a=None, b=0, c="", d=False, e=[]) == {"b": 0, "c": "", "d": False, "e": []}
