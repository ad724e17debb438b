"""Requests and credentials of Open-Assistant: what is sent, what is refused before sending.

Rules have the numbers of wire/openassistant.md section 12.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from penstock.errors import BadRequestError
from penstock.providers.openassistant.dialect.credentials import (
    bearer_header,
    cookie_header,
    digest_of,
    trusted_header,
)
from penstock.providers.openassistant.dialect.question import Turn, turn_of
from penstock.providers.openassistant.dialect.routes import Native, Website, is_native_404
from penstock.types import ChatRequest, Conversation, Message, Sampling

PLAIN = "next-auth.session-token"
SECURE = f"__Secure-{PLAIN}"


# -- requests --------------------------------------------------------------------------------------


def asked(*messages: tuple[str, str], **fields: Any) -> Turn:
    request = ChatRequest(
        model="m",
        messages=tuple(Message(role=role, content=text) for role, text in messages),  # type: ignore[arg-type]
        **fields,
    )
    return turn_of(request, "m")


def test_rule_10_a_single_question_travels_bare() -> None:
    turn = asked(("user", "  What?\n"))
    assert turn == Turn(
        text="  What?\n",
        parent=None,
        order={"model_config_name": "m", "sampling_parameters": {}},
    )


def test_rule_10_system_text_is_apart() -> None:
    turn = asked(("system", "Be brief."), ("developer", "Be kind."), ("user", "Hi"))
    assert turn.text == "Hi"
    assert turn.order["system_prompt"] == "Be brief.\nBe kind."


def test_rule_10_earlier_turns_are_folded_only_where_there_is_no_chat() -> None:
    messages = (("user", "One"), ("assistant", "Two"), ("user", "Three"))
    assert asked(*messages).text == "User: One\nAssistant: Two\nUser: Three\nAssistant:"
    thread = Conversation(model="m", id="c", parent="p")
    turn = asked(*messages, conversation=thread)
    assert (turn.text, turn.parent) == ("Three", "p")


def test_several_new_messages_of_a_thread_are_joined() -> None:
    thread = Conversation(model="m", id="c", parent="p")
    turn = asked(("assistant", "x"), ("user", "a"), ("user", "b"), conversation=thread)
    assert turn.text == "a\nb"


@pytest.mark.parametrize("parent", [None, "p"])
def test_nothing_to_answer_is_refused(parent: str | None) -> None:
    thread = Conversation(model="m", id="c", parent=parent)
    with pytest.raises(BadRequestError, match="no user message"):
        asked(("system", "alone"), conversation=thread)


@pytest.mark.parametrize("text", ["a\0b", "a\ud83d"])
def test_text_that_the_server_cannot_store_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError):
        asked(("user", text))


def test_rule_11_names_are_the_servers_and_nothing_else_is_sent() -> None:
    turn = asked(("user", "x"), sampling=Sampling(max_tokens=5, top_k=50, temperature=0.35))
    assert turn.order["sampling_parameters"] == {
        "max_new_tokens": 5,
        "top_k": 50,
        "temperature": 0.35,
    }


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0},
        {"temperature": -5},
        {"temperature": 2.5},
        {"top_p": 0},
        {"top_p": 1},
        {"typical_p": 1.0},
        {"top_k": 0},
        {"top_k": 1.5},
        {"repetition_penalty": 0},
        {"repetition_penalty": 4},
        {"max_tokens": 0},
        {"max_tokens": 1025},
        {"seed": 1},
        {"stop": ("x",)},
    ],
)
def test_rule_11_ranges_are_checked_here_because_the_server_checks_none(
    values: dict[str, Any],
) -> None:
    with pytest.raises(BadRequestError) as caught:
        asked(("user", "x"), sampling=Sampling(**values))
    assert caught.value.param in values


def test_rule_11_raw_parameters_are_checked_as_well() -> None:
    turn = asked(("user", "x"), extra={"max_new_tokens": 7}, sampling=Sampling(max_tokens=5))
    assert turn.order["sampling_parameters"] == {"max_new_tokens": 7}
    with pytest.raises(BadRequestError):
        asked(("user", "x"), extra={"temperature": 0})
    with pytest.raises(BadRequestError, match="user_profile must be text"):
        asked(("user", "x"), extra={"user_profile": 5})


def test_further_fields_of_an_order() -> None:
    extra = {"system_prompt": "raw", "user_profile": "p", "plugins": [{"url": "u"}]}
    turn = asked(("system", "ours"), ("user", "x"), extra=extra)
    assert {name: turn.order[name] for name in extra} == extra


def test_requests_of_the_website() -> None:
    site = Website("http://s/p", (("Cookie", "c"),))
    for request, method, url in (
        (site.create_chat(), "POST", "http://s/p/api/chat"),
        (site.post_question("c", None, "x"), "POST", "http://s/p/api/chat/prompter_message"),
        (site.order_answer("c", "q", {}), "POST", "http://s/p/api/chat/assistant_message"),
        (site.events("c", "m"), "POST", "http://s/p/api/chat/events?chat_id=c&message_id=m"),
        (site.message("c", "m"), "GET", "http://s/p/api/chat/message?chat_id=c&message_id=m"),
        (site.chat("c d"), "GET", "http://s/p/api/chat?chat_id=c+d"),
        (site.delete("c"), "DELETE", "http://s/p/api/chat?chat_id=c"),
        (site.hide("c"), "PUT", "http://s/p/api/chat"),
        (site.models(), "GET", "http://s/p/api/chat/models"),
    ):
        assert (request.method, request.url) == (method, url)
        assert ("Cookie", "c") in request.headers
    asked_for = msgspec.json.decode(site.post_question("c", "p", "«x»").body)
    assert asked_for == {"chat_id": "c", "content": "«x»", "parent_id": "p"}
    ordered = msgspec.json.decode(site.order_answer("c", "q", {"model_config_name": "m"}).body)
    assert ordered == {"chat_id": "c", "parent_id": "q", "model_config_name": "m"}
    assert msgspec.json.decode(site.hide("c").body) == {"chat_id": "c", "hidden": True}


def test_requests_of_the_inference_server() -> None:
    server = Native("http://s", (("Authorization", "Bearer t"),))
    for request, method, url in (
        (server.create_chat(), "POST", "http://s/chats"),
        (server.post_question("c", None, "x"), "POST", "http://s/chats/c/prompter_message"),
        (server.order_answer("c", "q", {}), "POST", "http://s/chats/c/assistant_message"),
        (server.events("c", "m"), "GET", "http://s/chats/c/messages/m/events"),
        (server.message("c", "m"), "GET", "http://s/chats/c/messages/m"),
        (server.chat("c"), "GET", "http://s/chats/c"),
        (server.delete("c"), "DELETE", "http://s/chats/c"),
        (server.hide("c"), "PUT", "http://s/chats/c"),
        (server.models(), "GET", "http://s/configs/model_configs"),
        (server.register(), "POST", "http://s/auth/trusted"),
    ):
        assert (request.method, request.url) == (method, url)
        assert ("Authorization", "Bearer t") in request.headers
    assert server.create_chat().body == b"{}"  # without a body: 422 (section 10)
    assert msgspec.json.decode(server.order_answer("c", "q", {"a": 1}).body) == {
        "parent_id": "q",
        "a": 1,
    }


@pytest.mark.parametrize("chat", ["../admin", "a/b", "", ".."])
def test_an_id_that_is_none_does_not_become_a_path(chat: str) -> None:
    with pytest.raises(BadRequestError):
        Native("http://s").delete(chat)


def test_the_inference_server_is_known_by_its_404() -> None:
    assert is_native_404(404, b'{"detail":"Not Found"}')
    assert not is_native_404(404, b"")  # the website with its chat switched off
    assert not is_native_404(404, b'{"detail":"Chat not found"}')
    assert not is_native_404(405, b'{"detail":"Not Found"}')


# -- credentials -----------------------------------------------------------------------------------


def test_the_session_cookie_has_the_name_that_fits_the_address() -> None:
    assert cookie_header({PLAIN: "t"}, "http://s") == f"{PLAIN}=t"
    assert cookie_header({SECURE: "t"}, "https://s") == f"{SECURE}=t"


def test_behind_a_proxy_both_names_are_sent() -> None:
    assert cookie_header({SECURE: "t"}, "http://s") == f"{SECURE}=t; {PLAIN}=t"
    assert cookie_header({PLAIN: "t"}, "https://s") == f"{PLAIN}=t; {SECURE}=t"


def test_parts_of_a_session_are_sent_in_the_order_of_their_numbers() -> None:
    """Section 2: they are joined as they arrive. oa-session-variants"""
    parts = {f"{PLAIN}.10": "k", f"{PLAIN}.1": "b", "other": "o", f"{PLAIN}.0": "a"}
    sent = f"other=o; {PLAIN}.0=a; {PLAIN}.1=b; {PLAIN}.10=k"
    assert cookie_header(parts, "http://s") == sent
    assert cookie_header(parts, "https://s") == f"{sent}; {SECURE}=abk"


def test_a_cookie_named_session_is_taken_for_the_session() -> None:
    assert cookie_header({"session": "t"}, "http://s") == f"session=t; {PLAIN}=t"


def test_cookies_without_a_session_pass_as_they_are() -> None:
    assert cookie_header({"a": " 1, 2 "}, "http://s") == "a=1, 2"


@pytest.mark.parametrize("cookies", [{"a": "x; b=y"}, {"a": "x\r\n"}, {"a b": "x"}, {"a": "ж"}])
def test_what_cannot_stand_in_a_cookie_is_refused_unseen(cookies: dict[str, str]) -> None:
    cookies = {name: value.replace("x", "secret") for name, value in cookies.items()}
    if cookies == {"a": "secret\r\n"}:  # blanks around a value are no part of it
        assert cookie_header(cookies, "http://s") == "a=secret"
        return
    with pytest.raises(BadRequestError) as caught:
        cookie_header(cookies, "http://s")
    assert "secret" not in str(caught.value)


def test_bearer_tokens() -> None:
    assert bearer_header("t") == "Bearer t"
    assert bearer_header("Bearer t") == "Bearer t"
    with pytest.raises(BadRequestError):
        bearer_header("a\nb")


def test_a_trusted_client_names_all_five_fields() -> None:
    client = dict.fromkeys(("api_key", "client", "user_id", "provider_account_id", "username"), "x")
    sent = trusted_header({**client, "more": "y"})
    assert json.loads(base64.b64decode(sent)) == client
    assert trusted_header(sent) == sent
    for broken in ({**client, "user_id": ""}, {"api_key": "secret"}, 5):
        with pytest.raises(BadRequestError) as caught:
            trusted_header(broken)
        assert "secret" not in str(caught.value)


def test_an_account_is_named_without_its_secrets() -> None:
    assert digest_of("http://s", "a", "b") != digest_of("http://s", "ab")
    assert digest_of("http://s", "a") == digest_of("http://s", "a")
    assert "secret" not in digest_of("http://s", "secret")


def test_what_is_shown_of_a_dialect_holds_no_credential() -> None:
    for dialect in (Website, Native):
        assert "s3cret" not in repr(dialect("http://127.0.0.1", (("Cookie", "s3cret"),)))
