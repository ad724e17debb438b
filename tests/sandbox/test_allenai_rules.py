"""Lines, turns, failures and lists of Ai2 Playground beyond the recordings (wire/allenai.md)."""

import asyncio
import json
import re
from collections.abc import Mapping

import aiohttp
import pytest

from penstock.sandbox.allenai import TOKEN
from penstock.sandbox.allenai.shapes import snippet
from penstock.sandbox.allenai.store import made_id
from penstock.sandbox.script import End, Fixed, Said, Thought
from tests.sandbox.playground import (
    ANN,
    BEN,
    DIALECTS,
    MODAL,
    NEW,
    NEW_PATH,
    OLD,
    OLD_PATH,
    Breaking,
    Heard,
    Slow,
    client,
    messages,
    turns,
)
from tests.sandbox.speaking import until


@pytest.mark.parametrize(("dialect", "path", "fields"), DIALECTS)
@pytest.mark.parametrize("script", ["multilingual", "code", "blanks", "huge"])
async def test_lines_are_ascii_and_give_the_whole_text(
    dialect: str, path: str, fields: Mapping[str, object], script: str
) -> None:
    async with client(script, dialect=dialect, cut=4096) as ask:
        answer = await ask.post(path, fields)
    assert answer.body.isascii()
    assert answer.body.endswith(b"\n")
    assert answer.said == answer.reply["content"] != ""
    assert answer.reply["final"] is True
    assert not answer.cut


@pytest.mark.parametrize(("dialect", "path", "fields"), DIALECTS)
async def test_opening_lines_come_before_the_first_token(
    dialect: str, path: str, fields: Mapping[str, object]
) -> None:
    slow = Slow()
    async with client(slow, dialect=dialect) as ask, ask.open(path, fields) as response:
        opening = [await response.content.readline()]
        if dialect == "threads":
            assert json.loads(opening[0])["type"] == "start"
            opening.append(await response.content.readline())
        assert b'"final": false' in opening[-1]
        slow.may_go_on.set()
        assert (await response.content.read()).endswith(b"\n")


def test_ids_alternate_letters_and_digits() -> None:
    assert re.fullmatch(r"msg_([A-Z][0-9]){5}", made_id())


async def test_keys_of_the_older_stream_have_an_order_and_all_else_is_sorted() -> None:
    async with client(dialect="message-stream") as ask:
        stream = await ask.post(OLD_PATH, OLD)
        stored = await ask.get(f"/v3/message/{stream.lines[0]['id']}")
    async with client() as ask:
        newer = await ask.post(NEW_PATH, NEW)
    assert list(stream.lines[0])[:4] == ["id", "content", "snippet", "creator"]
    assert list(stored.json) == sorted(stored.json)
    for line in newer.lines:
        assert list(line) == sorted(line)


# Turns, branches, failures (sections 3.3, 3.4, 3.6, 4.3, 4.4)


async def test_branches_of_the_older_version_are_independent() -> None:
    heard = Heard(Fixed(["ok"]))
    async with client(heard, dialect="message-stream") as ask:
        first, one = await turns(ask, OLD_PATH, OLD, "first", "one")
        parent = first.reply["id"]
        await ask.post(OLD_PATH, {**OLD, "content": "two", "parent": parent})
        await ask.post(OLD_PATH, {**OLD, "content": "more", "parent": one.reply["id"]})
        tree = await ask.get(f"/v3/message/{first.lines[0]['id']}")
    assert [said.content for said in heard.prompts[-1].messages] == [
        "first", "ok", "one", "ok", "more",
    ]  # fmt: skip
    children = tree.json["children"]
    assert isinstance(children, list)
    assert [child["content"] for child in children[0]["children"]] == ["one", "two"]


async def test_a_second_follow_up_detaches_the_first_in_the_newer_version() -> None:
    heard = Heard(Fixed(["ok"]))
    async with client(heard) as ask:
        first, one = await turns(ask, NEW_PATH, NEW, "first", "one")
        two = await ask.post(NEW_PATH, {**NEW, "content": "two", "parent": first.reply["id"]})
        more = await ask.post(NEW_PATH, {**NEW, "content": "more", "parent": one.reply["id"]})
        thread = await ask.get(f"/v4/threads/{first.lines[0]['message']}")
    assert [said.content for said in heard.prompts[-1].messages] == ["one", "ok", "more"]
    root = first.lines[0]["message"]
    assert two.lines[0]["message"] == two.lines[-1]["message"] == root
    assert more.lines[0]["message"] != root
    shown = [one["content"] for one in messages(thread.json)]
    assert shown == ["first", "ok", "two", "ok"]


@pytest.mark.parametrize(
    ("dialect", "path", "fields"),
    [("message-stream", OLD_PATH, MODAL), ("threads", NEW_PATH, NEW)],
)
async def test_a_broken_turn_leaves_no_text_but_its_reply_can_be_continued(
    dialect: str, path: str, fields: Mapping[str, object]
) -> None:
    breaking = Breaking()
    heard = Heard(breaking)
    async with client(heard, dialect=dialect) as ask:
        broken = await ask.post(path, fields)
        stored = await ask.get(f"/v3/message/{broken.reply['id']}")
        breaking.fails = False
        follow = await ask.post(path, {**fields, "parent": broken.reply["id"]})
    assert (broken.cut, broken.said) == (True, "partial")
    assert (stored.json["content"], stored.json["final"]) == ("", False)
    assert not follow.cut
    assert [one.content for one in heard.prompts[-1].messages] == ["Hi", "", "Hi"]


@pytest.mark.parametrize(("dialect", "path", "fields"), DIALECTS)
async def test_a_reader_that_leaves_ends_the_answer(
    dialect: str, path: str, fields: Mapping[str, object]
) -> None:
    async with client(Slow("first"), dialect=dialect) as ask:
        async with ask.open(path, fields) as response:
            opening = json.loads(await response.content.readline())
            root = opening.get("id") or opening["message"]
            async with asyncio.timeout(5):
                while b'"first"' not in await response.content.readline():
                    pass
        await until(lambda: ask.server.open_streams == 0)
        state = ask.server.state()
        assert state["runs"] == {"started": 1, "finished": 0, "cancelled": 1, "running": 0}
        stored = await ask.get(f"/v3/message/{root}")
        deleted = await ask.ask("DELETE", f"/v3/message/{root}", ANN)
        state = ask.server.state()
    children = stored.json["children"]
    assert isinstance(children, list)
    assert (children[0]["content"], children[0]["final"]) == ("", False)
    assert deleted.body == b"null"
    assert state["conversations"] == {"created": [root], "deleted": [root], "left": []}


async def test_a_model_that_says_nothing_in_time_is_overloaded_in_the_older_version() -> None:
    async with client(Slow(), dialect="message-stream", first_token=0.05) as ask:
        answer = await ask.post(OLD_PATH, OLD)
    assert answer.lines[1]["reason"] == "model overloaded"
    assert (answer.reply["content"], answer.reply["finish_reason"]) == ("", "model overloaded")
    assert not answer.cut


async def test_a_pause_after_the_first_piece_is_no_overload() -> None:
    slow = Slow("first ")
    async with (
        client(slow, dialect="message-stream", first_token=0.02) as ask,
        ask.open(OLD_PATH, OLD) as response,
    ):
        async with asyncio.timeout(5):
            while b'"first "' not in await response.content.readline():
                pass
        await asyncio.sleep(0.06)
        slow.may_go_on.set()
        assert b'"first rest"' in await response.content.read()


@pytest.mark.parametrize("end", ["length", "unclosed stream", "aborted", "eos_token"])
async def test_the_older_version_names_the_finish_reason_of_its_grpc_host_only(end: str) -> None:
    async with client(Fixed(["text", End(end)]), dialect="message-stream") as ask:
        answer = await ask.post(OLD_PATH, OLD)
        modal = await ask.post(OLD_PATH, MODAL)
    reasons = [one["reason"] for one in answer.lines if "error" in one]
    assert reasons == ([] if end == "eos_token" else [end])
    assert (answer.reply["content"], answer.reply["finish_reason"]) == ("text", end)
    assert (modal.reply["finish_reason"], modal.lines[-2].get("content")) == (None, "text")


async def test_a_prompt_that_is_too_long_gets_no_text() -> None:
    async with client(dialect="message-stream", context=3) as ask:
        answer = await ask.post(OLD_PATH, {**OLD, "content": "one two three four"})
    assert [one["reason"] for one in answer.lines if "error" in one] == ["length"]
    assert (answer.said, answer.reply["finish_reason"]) == ("", "length")


@pytest.mark.parametrize("text", ["a\x00b", "a\ud83d"])
async def test_text_that_cannot_be_stored_breaks_the_stream_without_a_word(text: str) -> None:
    async with client(Fixed([text])) as ask:
        answer = await ask.post(NEW_PATH, NEW)
    assert (answer.cut, answer.said) == (True, text)
    assert not any("error" in one for one in answer.lines)


async def test_an_empty_answer_of_the_modal_host_breaks_the_stream() -> None:
    async with client("empty", dialect="message-stream") as ask:
        assert (await ask.post(OLD_PATH, MODAL)).cut
        assert not (await ask.post(OLD_PATH, OLD)).cut


async def test_half_characters_arrive_as_they_are() -> None:
    async with client(Fixed(["\ud83d", "\ude42"])) as ask:
        answer = await ask.post(NEW_PATH, NEW)
    assert b'"\\ud83d"' in answer.body
    assert b'"\\ude42"' in answer.body


async def test_thinking_is_kept_apart_from_the_answer() -> None:
    said: list[Said] = [Thought("Let me"), Thought(" see."), "42"]
    async with client(Fixed(said)) as ask:
        answer = await ask.post(NEW_PATH, {**NEW, "model": "Olmo-3-32B-Think"})
    kinds = [one.get("type") for one in answer.lines]
    assert kinds == ["start", None, "thinking", "thinking", "modelResponse", None, "end"]
    assert (answer.reply["content"], answer.reply["thinking"]) == ("42", "Let me see.")
    thread = messages(answer.lines[1])
    assert [one["role"] for one in thread] == ["system", "user", "assistant"]


async def test_a_system_message_of_ones_own_is_answered_at_once_and_kept() -> None:
    heard = Heard(Fixed(["ok"]))
    fields = {"model": "OLMo-2-1124-13B-Instruct", "host": "modal", "content": "Be short."}
    async with client(heard, dialect="message-stream") as ask:
        answer = await ask.post(OLD_PATH, {**fields, "role": "system"})
        await ask.post(OLD_PATH, {**fields, "content": "Hi", "parent": answer.reply["id"]})
    roles = [[one.role for one in prompt.messages] for prompt in heard.prompts]
    assert roles == [["system"], ["system", "assistant", "user"]]


@pytest.mark.parametrize("role", ["assistant", "system"])
async def test_other_roles_break_the_newer_version(role: str) -> None:
    async with client() as ask:
        assert (await ask.post(NEW_PATH, {**NEW, "role": role})).status == 500
        call = {"role": "tool_call_result", "parent": "msg_A1A1A1A1A1"}
        assert (await ask.post(NEW_PATH, {**NEW, **call})).status == 400
        unknown = {**call, "toolCallId": "call_1"}
        assert (await ask.post(NEW_PATH, {**NEW, **unknown})).status == 500


async def test_original_and_template_must_exist() -> None:
    async with client(dialect="message-stream") as ask:
        (first,) = await turns(ask, OLD_PATH, OLD, "first")
        parent = first.reply["id"]
        fields = {**OLD, "parent": parent}
        same = await ask.post(OLD_PATH, {**fields, "original": parent})
        lost = await ask.post(OLD_PATH, {**fields, "original": "msg_A1A1A1A1A1"})
        template = await ask.post(OLD_PATH, {**fields, "template": "t"})
    assert same.status == 400
    assert lost.message == 'original "msg_A1A1A1A1A1" not found'
    assert template.message == 'template "t" not found'


# Other calls (sections 3.8, 4.6)


async def test_private_messages_are_read_by_their_owner_but_threads_by_anybody() -> None:
    async with client() as ask:
        answer = await ask.post(NEW_PATH, NEW)
        root = answer.lines[0]["message"]
        assert (await ask.get(f"/v3/message/{root}", BEN)).status == 403
        assert (await ask.get(f"/v4/threads/{root}", BEN)).status == 200
        assert (await ask.get(f"/v4/threads/{root}", {})).status == 401


async def test_only_the_owner_deletes_and_only_whole_threads() -> None:
    async with client() as ask:
        answer = await ask.post(NEW_PATH, NEW)
        root = answer.lines[0]["message"]
        statuses = [
            (await ask.ask("DELETE", f"/v3/message/{ident}", who)).status
            for ident, who in (
                (root, BEN),
                (answer.reply["id"], ANN),
                (root, {}),
                (root, ANN),
                (root, ANN),
            )
        ]
    assert statuses == [403, 403, 401, 200, 404]


async def test_a_thread_deleted_while_it_is_answered_ends_broken() -> None:
    for dialect, path, fields in DIALECTS:
        slow = Slow("first")
        async with client(slow, dialect=dialect) as ask, ask.open(path, fields) as response:
            opening = json.loads(await response.content.readline())
            root = opening.get("id") or opening["message"]
            assert (await ask.ask("DELETE", f"/v3/message/{root}", ANN)).status == 200
            slow.may_go_on.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()


async def test_lists_are_paged_and_show_only_ones_own() -> None:
    async with client(dialect="message-stream") as ask:
        for number in range(3):
            await ask.post(OLD_PATH, {**OLD, "content": f"text {number}"})
        await ask.post(OLD_PATH, OLD, BEN)
        answer = await ask.get("/v3/messages?limit=1&offset=1")
        others = await ask.get("/v3/messages?creator=ben")
        bad = await ask.get("/v3/messages?limit=x")
    assert [one["content"] for one in messages(answer.json)] == ["text 1"]
    assert answer.json["meta"] == {"limit": 1, "offset": 1, "sort": None, "total": 3}
    assert messages(others.json) == []
    assert bad.status == 400
    async with client() as ask:
        await ask.post(NEW_PATH, NEW)
        listed = await ask.get("/v4/threads/")
        assert listed.json["meta"] == {"limit": 10, "offset": 0, "sort": None, "total": 1}


async def test_small_calls() -> None:
    async with client(dialect="message-stream") as ask:
        assert (await ask.get("/health", {})).status == 204
        told = await ask.get("/v3/whoami")
        known = await ask.get("/v3/whoami", {"Authorization": f"Bearer {TOKEN}"})
    assert told.json == {"client": "ann", "hasAcceptedTermsAndConditions": False, "id": None}
    assert known.json["id"] == "auth0|sandbox"


def test_a_snippet_is_the_first_words_without_markup() -> None:
    assert snippet("a <b>bold</b>\n word") == "a bold word"
    words = " ".join(map(str, range(17)))
    assert snippet(words) == " ".join(map(str, range(16))) + "\N{HORIZONTAL ELLIPSIS}"
