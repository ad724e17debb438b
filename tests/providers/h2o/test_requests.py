"""What the 2023 chat-ui is sent; the rules are those of wire/h2o.md section 10."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from penstock.errors import BadRequestError, ProtocolError
from penstock.providers.h2o.dialect import app, router
from penstock.providers.h2o.dialect.parameters import parameters_of
from penstock.providers.h2o.dialect.turn import Ids, Turn, router_turn_of, turn_of
from penstock.providers.h2o.models import (
    ALIASES,
    DEFAULT_PARAMETERS,
    FALCON_40B,
    MODELS,
    ROUTER_PARAMETERS,
)
from penstock.types import ChatRequest, Message, Sampling

BASE = "http://127.0.0.1:8000"


CASES = sorted((Path(__file__).parents[2] / "cassettes" / "h2o").glob("*.json"))


IDS = Ids("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")


def request(
    *messages: tuple[Any, str], sampling: Sampling | None = None, **extra: Any
) -> ChatRequest:
    return ChatRequest(
        model="",
        messages=tuple(Message(role=role, content=text) for role, text in messages),
        sampling=sampling or Sampling(),
        extra=extra,
    )


def turn(*messages: tuple[Any, str], going_on: bool = False, **extra: Any) -> Turn:
    return turn_of(request(*messages, **extra), FALCON_40B, IDS, "h2o", going_on=going_on)


# -- requests -----------------------------------------------------------------------------------


def test_rules_13_and_14_short_names_lead_to_full_ids() -> None:
    assert set(ALIASES) == {"falcon-40b", "falcon-7b", "llama-13b"}
    assert tuple(ALIASES.values()) == MODELS


def test_rules_15_and_18_settings_name_the_model_and_share_nothing() -> None:
    sent = app.settings_request(BASE, FALCON_40B, {})
    assert dict(parse_qsl(sent.body.decode())) == {
        "ethicsModalAccepted": "true",
        "activeModel": FALCON_40B,
    }
    assert sent.url == f"{BASE}/settings"
    assert ("Content-Type", "application/x-www-form-urlencoded") in sent.headers


def test_settings_name_their_origin_with_either_scheme() -> None:
    for base, own, other in (
        (BASE, "http://127.0.0.1:8000/", "https://127.0.0.1:8000/"),
        ("https://h/prefix", "https://h/", "http://h/"),
    ):
        assert ("Referer", own) in app.settings_request(base, "m", {}).headers
        sent = app.settings_request(base, "m", {}, other_scheme=True)
        assert ("Referer", other) in sent.headers


def test_a_referer_that_got_lost_is_not_a_foreign_one() -> None:
    assert app.is_foreign_referer(403, b"Invalid referer for POST request")
    assert not app.is_foreign_referer(403, b"Non-JSON form requests need to have a referer")
    assert not app.is_foreign_referer(401, b"")


@pytest.mark.parametrize(
    ("status", "location", "done"),
    [(200, "", True), (303, "https://h/r/x", True), (303, "/login", False), (401, "", False)],
)
def test_settings_are_done_by_200_or_by_303(status: int, location: str, done: bool) -> None:
    assert app.settings_done(status, location) is done


def test_rule_20_cookies_are_carried_by_hand() -> None:
    for sent in (
        app.settings_request(BASE, "m", {"hf-chat": "c", "b": "d"}),
        app.create_request(BASE, "m", {"hf-chat": "c", "b": "d"}),
        app.message_request(BASE, "abc", turn(("user", "Hi")), {"hf-chat": "c", "b": "d"}),
        app.stop_request(BASE, "abc", {"hf-chat": "c", "b": "d"}),
        app.delete_request(BASE, "abc", {"hf-chat": "c", "b": "d"}),
        app.models_request(BASE, {"hf-chat": "c", "b": "d"}),
    ):
        assert ("Cookie", "hf-chat=c; b=d") in sent.headers
        # Any Accept that prefers no JSON turns errors into pages (section 2).
        assert ("Accept", "*/*") in sent.headers
    assert not [name for name, _ in app.create_request(BASE, "m", {}).headers if name == "Cookie"]
    with pytest.raises(BadRequestError, match="cookies"):
        app.create_request(BASE, "m", {"hf-chat": "c\r\nX: y"})


def test_a_conversation_is_opened_with_the_full_id() -> None:
    sent = app.create_request(BASE, FALCON_40B, {})
    assert (sent.method, sent.url) == ("POST", f"{BASE}/conversation")
    assert json.loads(sent.body) == {"model": FALCON_40B}
    assert app.created_id(b'{"conversationId":"6b00"}') == "6b00"
    for body in (b"{}", b'{"conversationId":""}', b'{"conversationId":5}', b"[]", b"<html>"):
        with pytest.raises(ProtocolError):
            app.created_id(body)


def test_a_message_has_the_recorded_form() -> None:
    sent = app.message_request(BASE, "6b00", turn(("user", " Hi\n")), {})
    assert (sent.method, sent.url) == ("POST", f"{BASE}/conversation/6b00")
    assert sent.stream
    assert ("Content-Type", "application/json") in sent.headers
    assert json.loads(sent.body) == {
        "inputs": " Hi\n",
        "parameters": {**DEFAULT_PARAMETERS, "details": True},
        "stream": True,
        "options": {
            "id": IDS.question,
            "response_id": IDS.answer,
            "is_retry": False,
            "use_cache": False,
            "web_search_id": "",
        },
    }


def test_rule_5_stop_and_deletion_have_their_routes() -> None:
    assert app.stop_request(BASE, "6b00", {}).url == f"{BASE}/conversation/6b00/stop-generating"
    deletion = app.delete_request(BASE, "6b00", {})
    assert (deletion.method, deletion.url) == ("DELETE", f"{BASE}/conversation/6b00")


@pytest.mark.parametrize("ident", ["", "../x", "a/b", "a b", ".", "a?b", "é"])
def test_an_id_that_is_none_does_not_become_a_path(ident: str) -> None:
    for make in (app.stop_request, app.delete_request):
        with pytest.raises(BadRequestError, match="conversation"):
            make(BASE, ident, {})


def test_rule_16_a_chat_is_folded_only_where_there_is_no_conversation() -> None:
    chat = (("system", "Be kind."), ("user", "A"), ("assistant", "B"), ("user", "C"))
    assert turn(*chat).inputs == "System: Be kind.\nUser: A\nAssistant: B\nUser: C\nAssistant:"
    assert turn(("user", "A")).inputs == "A"
    assert turn(*chat, going_on=True).inputs == "C"
    assert turn(("system", "Be kind."), ("user", "C"), going_on=True).inputs == "C"


@pytest.mark.parametrize("going_on", [True, False])
def test_nothing_to_ask_is_refused_here(going_on: bool) -> None:
    with pytest.raises(BadRequestError, match="nothing to ask"):
        turn(("user", " \n "), going_on=going_on)
    if going_on:
        with pytest.raises(BadRequestError, match="nothing to ask"):
            turn(("user", "A"), ("assistant", "B"), going_on=True)


def test_a_question_in_a_conversation_takes_the_place_of_a_cut_one() -> None:
    assert turn(("user", "A"), going_on=True).is_retry
    assert not turn(("user", "A")).is_retry
    assert not turn(("user", "A"), going_on=True, is_retry=False).is_retry
    first = turn(("user", "A"))
    assert (first.stop, first.full_text) == ((), False)
    asked = turn(("user", "A"), stop=["x"], return_full_text=True)
    assert (asked.stop, asked.full_text) == (("x",), True)


def test_message_options_can_be_given() -> None:
    own = "33333333-3333-4333-8333-33333333333A"
    given = turn(("user", "A"), id=own, response_id=own, is_retry=True, web_search_id="w")
    assert (given.id, given.response_id, given.is_retry, given.web_search_id) == (
        own,
        own,
        True,
        "w",
    )
    wrong: list[tuple[str, Any]] = [
        ("id", "x"),
        ("response_id", 5),
        ("is_retry", "yes"),
        ("web_search_id", 5),
    ]
    for name, value in wrong:
        with pytest.raises(BadRequestError, match=name):
            turn(("user", "A"), **{name: value})


# -- parameters ---------------------------------------------------------------------------------


def parameters(sampling: Sampling | None = None, **extra: Any) -> dict[str, Any]:
    return parameters_of(
        sampling or Sampling(), extra, DEFAULT_PARAMETERS, ROUTER_PARAMETERS, "h2o"
    )


def test_rule_12_details_are_asked_for() -> None:
    assert parameters()["details"] is True
    assert parameters(details=False)["details"] is False


def test_parameters_go_by_the_routers_names() -> None:
    given = parameters(
        Sampling(temperature=0.7, max_tokens=5, top_k=3, stop=("a", "b"), seed=2**64 - 1)
    )
    assert given == {
        **DEFAULT_PARAMETERS,
        "details": True,
        "temperature": 0.7,
        "max_new_tokens": 5,
        "top_k": 3,
        "stop": ["a", "b"],
        "seed": 2**64 - 1,
    }


def test_raw_parameters_win_and_none_takes_a_default_away() -> None:
    given = parameters(Sampling(temperature=0.7), temperature=0.1, truncate=None, stop="x")
    assert given["temperature"] == 0.1
    assert given["stop"] == ["x"]
    assert "truncate" not in given
    assert "id" not in parameters(id="not a parameter of the router")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", -1.0),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("temperature", True),
        ("repetition_penalty", 0.0),
        ("top_p", 0),
        ("top_p", 1.0),
        ("typical_p", 1),
        ("top_k", 0),
        ("top_k", 2.5),
        ("max_new_tokens", "abc"),
        ("max_new_tokens", 0),
        ("max_new_tokens", True),
        ("truncate", -5),
        ("seed", -1),
        ("seed", 2**64),
        ("do_sample", "yes"),
        ("return_full_text", 1),
        ("watermark", 0),
        ("stop", ["a", ""]),
        ("stop", [5]),
    ],
)
def test_rule_17_a_value_that_the_router_would_refuse_is_refused_here(
    name: str, value: Any
) -> None:
    with pytest.raises(BadRequestError, match=f"{name} must be") as caught:
        parameters(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_p", 0.999), ("typical_p", 0.2), ("temperature", 5), ("seed", 0), ("watermark", True)],
)
def test_values_within_range_pass(name: str, value: Any) -> None:
    assert parameters(**{name: value})[name] == value


# -- the router by itself, and lists ------------------------------------------------------------


def test_the_router_gets_prompt_and_parameters() -> None:
    asked = router_turn_of(request(("user", "Hi"), sampling=Sampling(max_tokens=7)), "tgi")
    sent = router.generate_request("http://h:1/p", asked, None)
    assert sent.url == "http://h:1/p/generate_stream"
    assert json.loads(sent.body) == {
        "inputs": "Hi",
        "parameters": {"max_new_tokens": 7, "return_full_text": False, "details": True},
    }
    assert not [name for name, _ in sent.headers if name == "Authorization"]


def test_the_routers_key_is_a_bearer() -> None:
    asked = router_turn_of(request(("user", "Hi")), "tgi")
    sent = router.generate_request("http://h:1", asked, "hf_key")
    assert ("Authorization", "Bearer hf_key") in sent.headers
    assert ("Authorization", "Bearer hf_key") in router.info_request("http://h:1", "hf_key").headers
    with pytest.raises(BadRequestError, match="api_key"):
        router.info_request("http://h:1", "a\nb")


def test_the_router_names_its_model() -> None:
    assert router.decode_info(b'{"model_id":"m/x","version":"2"}').id == "m/x"
    for body in (b"{}", b"<html>", b'{"model_id":5}'):
        with pytest.raises(ProtocolError):
            router.decode_info(body)


def test_the_apps_models_are_in_its_page_data() -> None:
    case = json.loads(next(path for path in CASES if path.stem == "h2o-retry").read_text())
    page = case["exchanges"][4]["response"]["chunks"]
    models = app.decode_models(b"".join(base64.b64decode(chunk["b64"]) for chunk in page))
    assert [model.id for model in models] == list(MODELS)
    assert [model.description for model in models] == ["40b", "7b", "13b"]
    assert {short: model.id for model in models for short in model.aliases} == ALIASES


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"nodes":null}',
        b'{"nodes":[null,{"type":"skip"},{"type":"data","data":[]}]}',
        b'{"nodes":[{"type":"data","data":[{"models":9}]}]}',
        b'{"nodes":[{"type":"data","data":[{"models":1},[0]]}]}',
        b'{"nodes":[{"type":"data","data":[{"other":1}]}]}',
        b'{"nodes":[5]}',
    ],
)
def test_page_data_of_another_form_lists_nothing(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="models"):
        app.decode_models(body)
