"""Which protocol a recording speaks, and which of its exchanges are one conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.testing.record.origins import local_url, may_name, upstream_url
from penstock.testing.record.threads import recognise, threads_of
from penstock.testing.replay.case import Case
from tests.testing.recorded import CASSETTES, case_of, cassette, exchange

ONE, TWO = ("cookie", "hf-chat=one"), ("cookie", "hf-chat=two")


def found(provider: str | None, *raw: dict[str, Any]) -> list[tuple[int, ...]]:
    exchanges = dict(enumerate(case_of("h2o", raw).exchanges, 1))
    return [thread.members for thread in threads_of(exchanges, provider)]


def recorded() -> list[Case]:
    return [cassette(path.stem) for path in sorted(CASSETTES.rglob("*.json"))]


# Their requests are those of both chat-uis, or of a login alone, or of no chat at all.
AMBIGUOUS = ("chatui-health", "chatui-2023", "oa-auth", "oa-login", "h2o-delete", "h2o-conv")


def test_every_recorded_case_is_recognised_or_not_told_for_another() -> None:
    wrong = []
    for case in recorded():
        told = recognise(case.exchanges)
        provider = "cog" if case.dialect == "cog" else case.provider
        if told is not None and told != provider and not case.case.startswith(AMBIGUOUS):
            wrong.append((case.case, told))
    assert wrong == []


def test_every_protocol_is_recognised() -> None:
    told = {recognise(case.exchanges) for case in recorded()}
    assert {"allenai", "openassistant", "h2o", "chatui", "replicate", "cog"} <= told
    asked = [exchange("POST", "/openai/v1/chat/completions", {})]
    assert recognise(case_of("x", asked).exchanges) == "openai_compatible"
    assert recognise(case_of("x", [exchange("POST", "/generate_stream", {})]).exchanges) == "tgi"
    assert recognise(case_of("x", [exchange("GET", "/")]).exchanges) is None


def test_two_conversations_of_one_session_are_two_threads_that_both_begin_with_it() -> None:
    settings = exchange("POST", "/settings", b"", headers=[ONE])
    first = exchange("POST", "/conversation", {}, answer={"conversationId": "a"}, headers=[ONE])
    second = exchange("POST", "/conversation", {}, answer={"conversationId": "b"}, headers=[ONE])
    threads = found(
        "h2o",
        settings,
        first,
        second,
        exchange("POST", "/conversation/a", {}, headers=[ONE]),
        exchange("POST", "/conversation/b", {}, headers=[ONE]),
        exchange("DELETE", "/conversation/a", headers=[ONE]),
    )
    assert threads == [(1, 2, 4, 6), (1, 3, 5)]


def test_a_session_is_known_by_the_cookie_it_is_given() -> None:
    given = {"status": 200, "headers": [("set-cookie", "hf-chat=two; Path=/")]}
    threads = found(
        "h2o",
        exchange("POST", "/settings", b"") | {"response": given},
        exchange("POST", "/conversation", {}, answer={"conversationId": "a"}, headers=[ONE]),
        exchange("POST", "/conversation", {}, answer={"conversationId": "b"}, headers=[TWO]),
    )
    assert threads == [(2,), (1, 3)]


def test_a_thread_of_the_playground_goes_on_from_its_messages() -> None:
    def posted(root: str, reply: str, parent: str | None = None) -> dict[str, Any]:
        lines = json.dumps({"id": root, "root": root}) + "\n" + json.dumps({"message": reply})
        body = {"content": "x"} | ({"parent": parent} if parent else {})
        return exchange("POST", "/v4/message/stream", body, answer=lines.encode())

    threads = found(
        "allenai",
        posted("msg_a", "msg_a1"),
        posted("msg_b", "msg_b1"),
        posted("msg_a2", "msg_a3", parent="msg_a1"),
        exchange("DELETE", "/v3/message/msg_b"),
    )
    assert threads == [(1, 3), (2, 4)]


def test_a_chat_of_open_assistant_is_known_in_path_query_and_body() -> None:
    threads = found(
        "openassistant",
        exchange("GET", "/api/chat/models"),
        exchange("POST", "/api/chat", {}, answer={"id": "c1"}),
        exchange("POST", "/chats", {}, answer={"id": "c2"}),
        exchange("POST", "/api/chat/prompter_message", {"chat_id": "c1"}),
        exchange("GET", "/api/chat/events", query="chat_id=c1&message_id=m"),
        exchange("POST", "/chats/c2/prompter_message", {}),
        exchange("DELETE", "/api/chat", query="chat_id=c1"),
        exchange("POST", "/api/chat", {}, status=401),
    )
    assert threads == [(1, 2, 4, 5, 7), (1, 3, 6), (1, 8)]


def test_a_prediction_is_known_by_its_id_and_by_its_stream() -> None:
    urls = {"stream": "https://stream.example.org/v1/streams/s1"}
    threads = found(
        "replicate",
        exchange("GET", "/v1/models/a/b"),
        exchange("POST", "/v1/predictions", {}, answer={"id": "p1", "urls": urls}),
        exchange("POST", "/v1/predictions", {}, answer={"id": "p2"}),
        exchange("GET", "/v1/streams/s1", host="stream.example.org"),
        exchange("POST", "/v1/predictions/p2/cancel"),
        exchange("POST", "/v1/predictions", {}, status=402),
    )
    assert threads == [(1, 2, 4), (1, 3, 5), (1, 6)]


def test_a_prediction_of_cog_is_named_in_the_events_of_its_answer() -> None:
    events = b'event: start\ndata: {"id":"p1","status":"processing"}\n\n'
    created = exchange("POST", "/predictions", {}, answer=events, content_type="text/event-stream")
    assert found("cog", created, exchange("POST", "/predictions/p1/cancel")) == [(1, 2)]


@pytest.mark.parametrize("provider", ["openai_compatible", "tgi"])
def test_questions_that_leave_nothing_behind_stand_alone(provider: str) -> None:
    ask = exchange("POST", "/v1/chat/completions", {})
    assert found(provider, exchange("GET", "/v1/models"), ask, ask) == [(1, 2), (1, 3)]


def test_an_unknown_protocol_is_parted_by_callers() -> None:
    mine, yours = ("authorization", "Bearer mine"), ("authorization", "Bearer yours")
    threads = found(
        None,
        exchange("GET", "/a", headers=[mine]),
        exchange("GET", "/b", headers=[yours]),
        exchange("GET", "/c", headers=[mine]),
        exchange("GET", "/d"),
    )
    assert threads == [(1, 3), (2,), (4,)]


def test_preparation_that_nothing_follows_is_kept() -> None:
    assert found("openassistant", exchange("GET", "/api/chat/models")) == [(1,)]


@pytest.mark.parametrize(
    ("origin", "upstream", "also", "may"),
    [
        ("https://stream.replicate.com", "https://api.replicate.com", (), True),
        ("https://replicate.com", "https://api.replicate.com", (), False),
        ("http://stream.replicate.com", "https://api.replicate.com", (), False),
        ("http://127.0.0.1:2", "http://127.0.0.1:1", (), True),
        ("https://files.example.org", "https://api.example.org", (), False),
        ("https://files.example.org", "https://api.example.org", ("files.example.org",), True),
    ],
)
def test_which_named_addresses_are_recorded(
    origin: str, upstream: str, also: tuple[str, ...], may: bool
) -> None:
    assert may_name(origin, upstream, also) is may


def test_addresses_are_exchanged_whole_or_not_at_all() -> None:
    local = {"https://h.example.org": "http://127.0.0.1:7"}
    assert local_url("http://h.example.org/a?b=1", local) == "http://127.0.0.1:7/a?b=1"
    assert local_url("/a", local) == "/a"
    assert local_url("https://h.example.org.evil/a", local) == "https://h.example.org.evil/a"
    assert upstream_url("http://127.0.0.1:7/a", local) == "https://h.example.org/a"
    assert upstream_url("http://127.0.0.1:77/a", local) == "http://127.0.0.1:77/a"
