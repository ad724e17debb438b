"""v5-chat of Ai2 Playground, as read (wire/allenai.md section 5)."""

from collections.abc import Mapping

import pytest

from penstock.sandbox.script import Fixed, Said, Thought
from tests.sandbox.playground import ANN, NEW, Breaking, client, messages

V5_PATH = "/v5/threads/chat"
V5: Mapping[str, object] = {**NEW, "role": "user"}


async def test_the_first_piece_comes_inside_the_message_that_is_added() -> None:
    said: list[Said] = ["При", "вет"]
    async with client(Fixed(said), v5=True) as ask:
        answer = await ask.form(V5_PATH, V5)
        below = {**V5, "parent": messages(answer.lines[-2])[-1]["id"]}
        follow = await ask.form(V5_PATH, below)
    kinds = [one["type"] for one in answer.lines]
    assert kinds == [
        "start", "startThread", "addMessage", "modelResponse", "finalThread", "end",
    ]  # fmt: skip
    assert messages(answer.lines[2])[0]["content"] == "При"
    assert messages(answer.lines[-2])[-1]["content"] == "Привет"
    assert "вет".encode() in answer.body
    assert b'", "' not in answer.body
    assert follow.lines[1]["type"] == "addMessage"


async def test_thoughts_of_v5_follow_the_same_rule() -> None:
    said: list[Said] = [Thought("Let"), Thought(" me"), "42"]
    async with client(Fixed(said), v5=True) as ask:
        answer = await ask.form(V5_PATH, V5)
    assert messages(answer.lines[2])[0]["thinking"] == "Let"
    assert [one["type"] for one in answer.lines[3:5]] == ["thinking", "modelResponse"]
    assert messages(answer.lines[-2])[-1]["thinking"] == "Let me"


async def test_failures_of_v5_are_typed_and_the_stream_still_ends() -> None:
    async with client(Breaking(), v5=True) as ask:
        answer = await ask.form(V5_PATH, V5)
    assert [one["type"] for one in answer.lines[-3:]] == ["error", "finalThread", "end"]
    assert answer.lines[-3]["errorCode"] == "otherError"
    assert not answer.cut


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        (NEW, ANN, 422),
        ({**V5, "captchaToken": None}, ANN, 422),
        ({**V5, "parent": "msg_A1A1A1A1A1"}, ANN, 422),
        ({**V5, "model": "gpt-4"}, ANN, 400),
        (V5, {}, 401),
    ],
)
async def test_refusals_of_v5_are_problems(
    fields: Mapping[str, object], headers: Mapping[str, str], status: int
) -> None:
    async with client(v5=True) as ask:
        answer = await ask.post(V5_PATH, fields, headers)
    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert answer.json["status"] == status
    assert ("errors" in answer.json) == (status == 422)


async def test_v5_takes_urlencoded_forms_and_wants_a_captcha_token_where_switched_on() -> None:
    async with client(v5=True, captcha=True) as ask:
        without = await ask.ask("POST", V5_PATH, ANN, data=dict(V5))
        good = await ask.ask("POST", V5_PATH, ANN, data={**V5, "captchaToken": "good"})
    assert (without.status, good.status) == (422, 200)


async def test_threads_of_v5_are_never_private_so_a_follow_up_may_not_say_so() -> None:
    async with client(v5=True) as ask:
        first = await ask.form(V5_PATH, {**V5, "private": "true"})
        reply = messages(first.lines[-2])[-1]
        follow = await ask.form(V5_PATH, {**V5, "private": "true", "parent": reply["id"]})
    assert reply["private"] is False
    assert follow.status == 422
