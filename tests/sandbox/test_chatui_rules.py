"""Rules of wire/h2o.md section 9 that the recordings do not show."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.chatui_state import MODELS, padded, superjson
from penstock.sandbox.script import End, Fixed, Message, Script
from tests.sandbox.speaking import Bell, Failing, until

Update = dict[str, object]
NO_OUTPUT = {
    "type": "status",
    "status": "error",
    "message": "No output was generated. Something went wrong.",
}
FINISHED = {"type": "status", "status": "finished"}


class Visitor:
    """A session with the server: keeps the cookie as any HTTP library does."""

    def __init__(self, session: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.session = session
        self.sandbox = sandbox
        self.url = sandbox.urls["chatui"]

    async def create(self, **more: str) -> tuple[str, str]:
        """Make a conversation; give its id and that of its first message."""
        body = {"model": MODELS[0], **more}
        async with self.session.post(self.url + "/conversation", json=body) as answer:
            made = await answer.json()
        tree = json.loads(made["conversation"])["json"]
        return made["conversationId"], tree["rootMessageId"]

    async def post(self, ident: str, parent: str | None, **more: object) -> aiohttp.ClientResponse:
        """Post a message and give the answer, unread."""
        data = {"inputs": "Say it", "is_retry": False, **more}
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("data", json.dumps(data if parent is None else {**data, "id": parent}))
        return await self.send(ident, form)

    async def send(self, ident: str, form: aiohttp.FormData) -> aiohttp.ClientResponse:
        """Post a form as a message."""
        place = f"{self.url}/conversation/{ident}"
        return await self.session.post(place, data=form, headers={"Origin": self.url})

    async def ask(self, ident: str, parent: str, **more: object) -> list[Update]:
        """Ask and give all updates but the keep-alives."""
        return updates(await (await self.post(ident, parent, **more)).read())

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        async with self.session.request(method, self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def tree(self, ident: str) -> list[dict[str, object]]:
        status, text = await self.get(f"/api/v2/conversations/{ident}")
        assert status == 200
        messages: list[dict[str, object]] = json.loads(text)["json"]["messages"]
        return messages

    async def log(self, ident: str, query: str = "", **headers: str) -> list[dict[str, str]]:
        """Read the log of a run to its end."""
        _, text = await self.get(f"/conversation/{ident}/stream{query}", **headers)
        blocks = [block.splitlines() for block in text.split("\n\n") if block]
        return [dict(_field(line) for line in block) for block in blocks]

    def running(self) -> int:
        runs = self.sandbox.state("chatui")["runs"]
        assert isinstance(runs, dict)
        return int(runs["running"])


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


@asynccontextmanager
async def visit(script: str | Script = "echo", **options: object) -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        Sandbox(("chatui",), script=script, options={"chatui": options}) as sandbox,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        yield Visitor(session, sandbox)


def updates(body: bytes) -> list[Update]:
    """Updates of a body but the keep-alives, tokens without their padding."""
    read: list[Update] = [json.loads(line) for line in body.splitlines() if line.strip()]
    kept = [one for one in read if one.get("status") != "keepAlive"]
    return [
        {**one, "token": str(one["token"]).rstrip("\0")} if "token" in one else one for one in kept
    ]


def tokens(read: list[Update]) -> list[object]:
    return [one["token"] for one in read if one["type"] == "stream"]


async def test_bytes_of_an_answer() -> None:
    async with visit(Fixed(["Hi", " \U0001f44b there, you all!"])) as visitor:
        body = await (await visitor.post(*await visitor.create())).read()
    lines = body.split(b"\n")
    assert lines[0] == b'{"type":"status","status":"started"}'
    assert lines[1] == b'{"type":"status","status":"keepAlive"}'
    assert b'{"type":"stream","token":"Hi' + rb"\u0000" * 14 + b'"}' in lines
    assert '{"type":"stream","token":" 👋 there, you all!"}'.encode() in lines
    final = lines.index(
        '{"type":"finalAnswer","text":"Hi 👋 there, you all!","interrupted":false}'.encode()
    )
    assert lines[final + 1] == b" " * 4096 + b'{"type":"status","status":"finished"}'
    assert lines[final + 2 :] == [b""]


def test_padding_counts_utf16_units() -> None:
    assert padded("👋a") == "👋a" + "\0" * 13
    assert padded("x" * 16) == "x" * 16
    assert padded("x" * 17) == "x" * 17


def test_superjson_notes_what_json_cannot_say() -> None:
    assert superjson({"a": [1]}) == '{"json":{"a":[1]}}'


async def test_the_second_turn_names_the_last_answer() -> None:
    bell = Bell()
    async with visit(bell) as visitor:
        ident, root = await visitor.create(preprompt="Be brief.")
        bell.rung.put_nowait("One")
        bell.rung.put_nowait(End())
        await visitor.ask(ident, root, inputs="First\r\nline")
        answer = (await visitor.tree(ident))[-1]
        bell.rung.put_nowait("Two")
        bell.rung.put_nowait(End())
        await visitor.ask(ident, str(answer["id"]), inputs="Second")
        tree = await visitor.tree(ident)
    assert [one["content"] for one in tree] == ["Be brief.", "First\nline", "One", "Second", "Two"]
    assert tree[-1]["ancestors"] == [one["id"] for one in tree[:-1]]
    assert bell.asked[1].messages == (
        Message("system", "Be brief."),
        Message("user", "First\nline"),
        Message("assistant", "One"),
        Message("user", "Second"),
    )


async def test_only_the_first_turn_has_a_title() -> None:
    async with visit() as visitor:
        ident, root = await visitor.create()
        first = await visitor.ask(ident, root)
        second = await visitor.ask(ident, str((await visitor.tree(ident))[-1]["id"]))
    assert {"type": "title", "title": "Say it"} in first
    assert "title" not in [one["type"] for one in second]


async def test_a_retry_stands_beside_what_it_repeats() -> None:
    async with visit() as visitor:
        ident, root = await visitor.create()
        await visitor.ask(ident, root)
        question, answer = (str(one["id"]) for one in (await visitor.tree(ident))[1:])
        await visitor.ask(ident, answer, is_retry=True)
        await visitor.ask(ident, question, is_retry=True, inputs="Other")
        tree = await visitor.tree(ident)
    assert [one["content"] for one in tree[1:]] == ["Say it", "Say it", "Say it", "Other", "Other"]
    assert tree[3]["ancestors"] == [root, question]
    assert tree[4]["ancestors"] == [root]


@pytest.mark.parametrize("parent", [None, "0c9d1c8e-5d4b-4f0e-9a55-3a1d2b7c6e10", "no-uuid"])
async def test_a_message_needs_a_parent_that_exists(parent: str | None) -> None:
    async with visit() as visitor:
        ident, _ = await visitor.create()
        answer = await visitor.post(ident, parent)
        told = await answer.json()
    assert answer.status == 500
    assert told["message"] == "An error occurred"
    assert str(uuid.UUID(told["errorId"])) == told["errorId"]


async def test_the_cookie_is_set_on_posts_only() -> None:
    async with visit() as visitor:
        ident, root = await visitor.create()
        answer = await visitor.post(ident, root)
        assert "Secure" not in answer.headers["Set-Cookie"]
        await answer.read()
        for method, path in (("GET", "/api/v2/models"), ("DELETE", f"/conversation/{ident}")):
            async with visitor.session.request(method, visitor.url + path) as other:
                assert "Set-Cookie" not in other.headers


async def test_a_foreign_origin_is_refused() -> None:
    async with visit() as visitor:
        ident, _ = await visitor.create()
        async with visitor.session.post(
            f"{visitor.url}/conversation/{ident}",
            data={"data": "{}"},
            headers={"Origin": "https://elsewhere.example"},
        ) as answer:
            assert answer.status == 403
            assert await answer.text() == "Invalid referer for POST request"
            assert "Set-Cookie" not in answer.headers


async def test_conversations_belong_to_their_cookie() -> None:
    async with visit() as visitor:
        ident, _ = await visitor.create()
        visitor.session.cookie_jar.clear()
        api = "/api/v2/conversations/"
        assert (await visitor.get(api + ident))[0] == 403
        assert (await visitor.get(api + ident, "DELETE"))[0] == 404
        assert (await visitor.get(api + "0" * 24))[0] == 404
        assert (await visitor.get(api + "zz"))[0] == 400
        assert (await visitor.get(api + "zz", "DELETE"))[0] == 400
        assert (await visitor.get("/conversation/" + ident, "DELETE"))[0] == 404
        assert (await visitor.get("/conversation/zz", "DELETE"))[0] == 500


async def test_deleting_by_the_api_and_listing() -> None:
    async with visit() as visitor:
        first, _ = await visitor.create()
        second, _ = await visitor.create()
        deleted = await visitor.get("/api/v2/conversations/" + first, "DELETE")
        assert deleted == (200, '{"json":{"success":true}}')
        _, text = await visitor.get("/api/v2/conversations?p=0")
        assert [one["id"] for one in json.loads(text)["json"]["conversations"]] == [second]
        assert json.loads((await visitor.get("/api/v2/conversations?p=1"))[1])["json"] == {
            "conversations": [],
            "hasMore": False,
        }
        assert visitor.sandbox.state("chatui")["conversations"] == {
            "created": [first, second],
            "deleted": [first],
            "left": [second],
        }


async def test_settings_are_kept() -> None:
    async with visit() as visitor:
        body = {"welcomeModalSeen": True, "activeModel": MODELS[1]}
        async with visitor.session.post(visitor.url + "/settings", json=body) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        settings = json.loads((await visitor.get("/api/v2/user/settings"))[1])
    assert settings["json"]["activeModel"] == MODELS[1]
    assert settings["meta"]["values"]["welcomeModalSeenAt"] == ["Date"]


async def test_an_answer_goes_on_when_its_reader_leaves_and_can_be_read_again() -> None:
    bell = Bell()
    async with visit(bell) as visitor:
        ident, root = await visitor.create()
        run = str(uuid.uuid4())
        answer = await visitor.post(ident, root, generationId=run)
        bell.rung.put_nowait("One")
        while b"One" not in await answer.content.readany():
            pass
        answer.close()
        await until(lambda: visitor.sandbox.state("chatui")["open_streams"] == 0)
        assert visitor.running() == 1
        again = asyncio.create_task(visitor.log(ident, f"?generationId={run}"))
        await until(lambda: visitor.sandbox.state("chatui")["open_streams"] == 1)
        for one in (" two", " three", End()):
            bell.rung.put_nowait(one)
        log = await again
        stored = (await visitor.tree(ident))[-1]
    assert stored["content"] == "One two three"
    assert stored["generationId"] == run
    assert log[-1] == {"event": "end", "data": '{"status":"completed"}'}
    assert {entry["event"] for entry in log[:-1]} == {"update"}
    assert [entry["id"] for entry in log[:-1]] == [str(n) for n in range(1, len(log))]
    assert "".join(map(str, tokens([json.loads(one["data"]) for one in log[:-1]]))) == (
        "One two three"
    )


async def test_the_log_merges_tokens_and_resumes_after_a_number() -> None:
    async with visit(Fixed(["a", " b", " c", " d"])) as visitor:
        ident, root = await visitor.create()
        await visitor.ask(ident, root)
        log = await visitor.log(ident)
        rest = await visitor.log(ident, "?fromSeq=3")
        resumed = await visitor.log(ident, "?fromSeq=1", **{"Last-Event-ID": "3"})
        gone = await visitor.log(ident, f"?generationId={uuid.uuid4()}")
        stored = (await visitor.tree(ident))[-1]
    assert [json.loads(entry["data"]) for entry in log] == [
        {"type": "status", "status": "started"},
        {"type": "stream", "token": "a b"},
        {"type": "title", "title": "Say it"},
        {"type": "stream", "token": " c d"},
        {"type": "finalAnswer", "text": "a b c d", "interrupted": False},
        FINISHED,
        {"status": "completed"},
    ]
    assert stored["materializedSeq"] == 6
    assert rest == resumed == log[3:]
    assert gone == [{"event": "end", "data": '{"status":"gone"}'}]


async def test_a_quiet_log_has_heartbeats() -> None:
    async with visit(Bell()) as visitor:
        ident, root = await visitor.create()
        answer = await visitor.post(ident, root)
        log = await visitor.session.get(f"{visitor.url}/conversation/{ident}/stream")
        body = b""
        while b": heartbeat\n\n" not in body:
            body += await log.content.readany()
        log.close()
        answer.close()


@pytest.mark.parametrize(
    ("stop", "text"),
    [(None, "One two"), ({"seenContentLength": 3}, "One"), ({"generationId": "other"}, None)],
)
async def test_stopping_ends_the_answer_in_order(stop: Update | None, text: str | None) -> None:
    bell = Bell()
    async with visit(bell) as visitor:
        ident, root = await visitor.create()
        answer = await visitor.post(ident, root)
        bell.rung.put_nowait("One")
        bell.rung.put_nowait(" two")
        body = b""
        while b" two" not in body:
            body += await answer.content.readany()
        place = f"{visitor.url}/conversation/{ident}/stop-generating"
        sent = None if stop is None else json.dumps(stop).encode()
        async with visitor.session.post(
            place, data=sent, headers={"Content-Type": "application/json"}
        ) as stopped:
            assert (stopped.status, await stopped.read()) == (200, b"")
        if text is None:
            assert visitor.running() == 1
            answer.close()
            return
        read = updates(body + await answer.read())
        log = await visitor.log(ident)
        stored = (await visitor.tree(ident))[-1]
    assert read[-2:] == [{"type": "finalAnswer", "text": text, "interrupted": True}, FINISHED]
    assert log[-1]["data"] == '{"status":"interrupted"}'
    assert (stored["content"], stored["interrupted"]) == (text, True)


@pytest.mark.parametrize(("status", "told"), [(None, "out of memory"), (500, "500 out of memory")])
async def test_a_second_failure_shows_the_half_text_twice(status: int | None, told: str) -> None:
    async with visit(Failing("Half", " text", status=status)) as visitor:
        ident, root = await visitor.create()
        read = await visitor.ask(ident, root)
        log = await visitor.log(ident)
        tree = await visitor.tree(ident)
    assert tokens(read) == ["Half", " text", "Half", " text"]
    error = {"type": "status", "status": "error", "message": told}
    assert read[-1] == (error if status is None else {**error, "statusCode": status})
    assert log[-1]["data"] == '{"status":"error"}'
    # A failed question stays stored, and a retry has to name the right parent.
    assert [one["from"] for one in tree] == ["system", "user", "assistant"]


async def test_text_beside_the_finish_reason_is_only_in_the_final_answer() -> None:
    async with visit(Fixed(["One", " two", " three"]), text_with_finish=True) as visitor:
        read = await visitor.ask(*await visitor.create())
    assert read[-2] == {"type": "finalAnswer", "text": "One two three", "interrupted": False}


async def test_another_finish_has_no_final_answer() -> None:
    async with visit(Fixed(["One", End("content_filter")])) as visitor:
        read = await visitor.ask(*await visitor.create())
    assert "finalAnswer" not in [one["type"] for one in read]
    assert read[-1] == FINISHED


async def test_white_space_only_is_an_empty_final_answer_and_an_error() -> None:
    async with visit(Fixed([" ", "\n"])) as visitor:
        read = await visitor.ask(*await visitor.create())
    assert tokens(read) == [" ", "\n"]
    assert read[-2:] == [{"type": "finalAnswer", "text": "", "interrupted": False}, NO_OUTPUT]


async def test_messages_a_minute_count_for_the_address_too() -> None:
    async with visit(messages_per_minute=2) as visitor:
        for _ in range(2):
            await visitor.ask(*await visitor.create())
        visitor.session.cookie_jar.clear()
        answer = await visitor.post(*await visitor.create())
        assert answer.status == 429
        assert await answer.json() == {
            "message": "You are sending too many messages. Try again later."
        }
        assert "Retry-After" not in answer.headers


async def test_the_other_limits() -> None:
    async with visit(conversations=1, messages=2, message_length=3) as visitor:
        ident, root = await visitor.create()
        too_long = await visitor.post(ident, root)
        assert (too_long.status, await too_long.json()) == (400, {"message": "Message too long."})
        await visitor.ask(ident, root, inputs="Hi")
        full = await visitor.post(ident, root, inputs="Hi")
        assert full.status == 429
        await visitor.create()
        async with visitor.session.post(
            visitor.url + "/conversation", json={"model": MODELS[0]}
        ) as answer:
            assert answer.status == 429


async def test_a_model_that_was_removed_is_410() -> None:
    async with visit(gone=[MODELS[0]]) as visitor:
        answer = await visitor.post(*await visitor.create())
        assert answer.status == 410


async def test_login_sends_away_or_refuses() -> None:
    async with visit(login=True) as visitor:
        url = visitor.url + "/conversation"
        async with visitor.session.post(url, json={}, allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["location"].startswith("https://login.example.org/")
        async with visitor.session.post(visitor.url + "/settings", json={}) as answer:
            assert (answer.status, (await answer.json())["type"]) == (200, "redirect")
        status, text = await visitor.get("/conversation/" + "0" * 24, "DELETE")
        assert (status, text) == (401, "You have to be logged in.")


def with_file(root: str, content: bytes, name: str) -> aiohttp.FormData:
    """A form with a file; its name is not percent-encoded, as browsers send it."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    form.add_field("data", json.dumps({"inputs": "Look", "id": root}))
    form.add_field("files", io.BytesIO(content), filename=name, content_type="image/png")
    return form


async def test_files_come_as_further_parts() -> None:
    async with visit() as visitor:
        ident, root = await visitor.create()
        answer = await visitor.send(ident, with_file(root, b"abc", "base64;cat.png"))
        await answer.read()
        files = (await visitor.tree(ident))[1]["files"]
        assert isinstance(files, list)
        assert (files[0]["name"], files[0]["mime"]) == ("cat.png", "image/png")


@pytest.mark.parametrize(
    ("size", "name", "status"),
    [(10 * 1024 * 1024 + 1, "base64;big.png", 413), (3, "cat.png", 500)],
)
async def test_files_that_are_refused(size: int, name: str, status: int) -> None:
    async with visit() as visitor:
        ident, root = await visitor.create()
        answer = await visitor.send(ident, with_file(root, b"x" * size, name))
        assert answer.status == status


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("other", "{}", 400),
        ("data", "no json", 500),
        ("data", '{"inputs":" "}', 500),
        ("data", '{"inputs":"a","generationId":"1"}', 500),
    ],
)
async def test_forms_that_say_nothing(field: str, value: str, status: int) -> None:
    async with visit() as visitor:
        ident, _ = await visitor.create()
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field(field, value)
        assert (await visitor.send(ident, form)).status == status
