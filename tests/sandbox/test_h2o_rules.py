"""Rules of wire/h2o.md sections 2 to 6 that the recordings do not show."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.h2o_state import MODELS, Stored, parse_post, prompt_text, stored_text
from penstock.sandbox.script import Fixed, Message, Prompt, Script
from tests.sandbox.speaking import Bell, Failing, until

MODEL = MODELS[0].ident
ACCEPTED = {"ethicsModalAccepted": "true"}


class Visitor:
    """A session with the server: keeps the cookie as any HTTP library does."""

    def __init__(self, session: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.session = session
        self.sandbox = sandbox
        self.url = sandbox.urls["h2o"]

    async def accept(self, **form: str) -> aiohttp.ClientResponse:
        referer = {"Referer": self.url + "/"}
        async with self.session.post(
            self.url + "/settings", data={**ACCEPTED, **form}, headers=referer
        ) as answer:
            await answer.read()
            return answer

    async def create(self, model: str = MODEL) -> str:
        async with self.session.post(self.url + "/conversation", json={"model": model}) as answer:
            made: dict[str, str] = await answer.json()
            return made["conversationId"]

    async def ask(self, ident: str, text: str = "Say it", **more: object) -> aiohttp.ClientResponse:
        body = {"inputs": text, "options": {}, "parameters": {"max_new_tokens": 999}, **more}
        return await self.session.post(f"{self.url}/conversation/{ident}", json=body)

    async def status(self, method: str, path: str, **more: str) -> tuple[int, str]:
        async with self.session.request(method, self.url + path, headers=more) as answer:
            return answer.status, await answer.text()

    async def page(self, ident: str) -> str:
        return (await self.status("GET", f"/conversation/{ident}/__data.json"))[1]

    def running(self) -> int:
        runs = self.sandbox.state("h2o")["runs"]
        assert isinstance(runs, dict)
        return int(runs["running"])


@asynccontextmanager
async def visit(script: str | Script = "echo", **options: object) -> AsyncIterator[Visitor]:
    """A visitor who has not accepted anything yet."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        Sandbox(("h2o",), script=script, options={"h2o": options}) as sandbox,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        yield Visitor(session, sandbox)


def texts(body: bytes) -> list[str]:
    """Texts of the tokens of a stream."""
    frames = [json.loads(line[5:]) for line in body.split(b"\n") if line.startswith(b"data:")]
    return [frame["token"]["text"] for frame in frames]


async def test_the_cookie_comes_back_on_plain_http() -> None:
    async with visit() as visitor:
        first = await visitor.accept()
        cookie = first.headers["Set-Cookie"]
        assert "Secure" not in cookie
        assert "HttpOnly" in cookie
        value = first.cookies["hf-chat"].value
        async with visitor.session.delete(visitor.url + "/conversation/" + "0" * 24) as answer:
            assert answer.status == 404
            assert answer.cookies["hf-chat"].value == value


async def test_the_real_cookie_is_not_sent_back_over_http() -> None:
    async with visit(secure_cookie=True) as visitor:
        answer = await visitor.accept()
        assert "Secure; SameSite=None" in answer.headers["Set-Cookie"]
        status, text = await visitor.status("POST", "/conversation")
        assert (status, text) == (405, "You need to accept the welcome modal first")


async def test_early_refusals_set_no_cookie_and_take_the_askers_form() -> None:
    async with visit() as visitor:
        url = visitor.url + "/conversation"
        async with visitor.session.post(url, data=b"{}") as answer:
            assert answer.status == 405
            assert "Set-Cookie" not in answer.headers
            assert answer.headers["Content-Type"] == "text/plain"
        async with visitor.session.post(url, headers={"Accept": "application/json"}) as answer:
            assert await answer.json() == {"error": "You need to accept the welcome modal first"}


@pytest.mark.parametrize(
    ("referer", "status"),
    [("{url}/any", 200), ("https://{host}/", 200), ("https://elsewhere.example/", 403)],
)
async def test_form_posts_need_a_referer_of_the_own_origin(referer: str, status: int) -> None:
    async with visit() as visitor:
        host = visitor.url.removeprefix("http://")
        sent = {"Referer": referer.format(url=visitor.url, host=host)}
        async with visitor.session.post(
            visitor.url + "/settings", data=ACCEPTED, headers=sent
        ) as answer:
            assert answer.status == status
            if status == 403:
                assert await answer.text() == "Invalid referer for POST request"


async def test_settings_take_any_text_for_true() -> None:
    async def shares(visitor: Visitor) -> object:
        data = json.loads((await visitor.status("GET", "/__data.json"))[1])["nodes"][0]["data"]
        return data[data[data[0]["settings"]]["shareConversationsWithModelAuthors"]]

    async with visit() as visitor:
        await visitor.accept(shareConversationsWithModelAuthors="false")
        assert await shares(visitor) is True
        await visitor.accept()
        assert await shares(visitor) is False


@pytest.mark.parametrize(
    ("accept", "kind"), [("*/*", "application/json"), ("text/html", "text/html; charset=utf-8")]
)
async def test_bad_settings_are_500(accept: str, kind: str) -> None:
    async with visit() as visitor:
        sent = {"Referer": visitor.url + "/", "Accept": accept}
        async with visitor.session.post(
            visitor.url + "/settings", data={"activeModel": "falcon-40b"}, headers=sent
        ) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (500, kind)
        async with visitor.session.post(visitor.url + "/settings", json=ACCEPTED) as answer:
            assert answer.status == 500


async def test_bodies_over_the_adapters_limit_are_413() -> None:
    async with visit(modal=False) as visitor:
        ident = await visitor.create()
        async with await visitor.ask(ident, "x" * (512 * 1024)) as answer:
            assert answer.status == 413
            assert await answer.text() == "Invalid request body"
            assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": " \n", "options": {}},
        {"inputs": "a"},
        {"options": {}},
        {"inputs": "a", "options": {"id": "no-uuid"}},
        {"inputs": "a", "options": {"response_id": "1"}},
        {"inputs": "a", "options": {"is_retry": "yes"}},
    ],
)
async def test_every_breach_of_the_schema_is_500(body: dict[str, object]) -> None:
    async with visit(modal=False) as visitor:
        url = f"{visitor.url}/conversation/{await visitor.create()}"
        async with visitor.session.post(url, json=body) as answer:
            assert answer.status == 500
            assert await answer.text() == '{"message":"Internal Error"}'


async def test_the_content_type_is_passed_on() -> None:
    async with visit(modal=False) as visitor:
        url = f"{visitor.url}/conversation/{await visitor.create()}"
        body = json.dumps({"inputs": "a", "options": {}}).encode()
        sent = {"Content-Type": "text/plain", "Referer": visitor.url}
        async with visitor.session.post(url, data=body, headers=sent) as answer:
            assert answer.status == 415
        async with visitor.session.post(
            url, data=body, skip_auto_headers=("Content-Type",)
        ) as answer:
            assert answer.status == 500


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/conversation", 302),
        ("PUT", "/conversation/" + "0" * 24, 405),
        ("DELETE", "/conversation/" + "0" * 24, 404),
        ("DELETE", "/conversation/zz", 500),
        ("POST", "/conversation/" + "0" * 24 + "/stop-generating", 404),
        ("GET", "/conversation/" + "0" * 24 + "/__data.json", 200),
    ],
)
async def test_other_calls(method: str, path: str, status: int) -> None:
    async with visit(modal=False) as visitor:
        url = visitor.url + path
        async with visitor.session.request(method, url, allow_redirects=False) as answer:
            assert answer.status == status


async def test_a_model_that_was_removed_is_410() -> None:
    async with visit(modal=False, gone=[MODEL]) as visitor:
        answer = await visitor.ask(await visitor.create())
        assert answer.status == 410
        assert await answer.json() == {"message": "Model not available anymore"}


def test_the_prompt_is_built_with_markers() -> None:
    history = [
        Stored("user", "Hello, my name is Zoë", "1"),
        Stored("assistant", " Hello! ...", "2"),
        Stored("user", "What is my name?", "3"),
    ]
    assert prompt_text(history, MODELS[0]) == (
        "<|prompt|>Hello, my name is Zoë<|endoftext|><|answer|> Hello! ...<|endoftext|>"
        "<|prompt|>What is my name?<|endoftext|><|answer|>"
    )
    assert prompt_text(history, MODELS[2], words=2).endswith("name?</s><|answer|>")
    assert "<|prompt|>" not in prompt_text(history, MODELS[2], words=2)


def test_stored_answers_lose_end_marks_and_trailing_blanks_only() -> None:
    assert stored_text(" a <|endoftext|>", ()) == " a"
    assert stored_text(" a STOP", ("STOP",)) == " a"


def test_what_the_app_reads_of_a_message() -> None:
    post = parse_post(b'{"inputs":"  a ","options":{"web_search_id":"","x":1},"stream":true}')
    assert post is not None
    assert post.inputs == "a"


async def test_history_is_the_servers_and_the_text_the_scripts() -> None:
    bell = Bell()
    async with visit(bell, modal=False) as visitor:
        ident = await visitor.create()
        for question in ("One?", "Two?"):
            bell.rung.put_nowait(" Yes. ")
            async with await visitor.ask(
                ident, question, parameters={"max_new_tokens": 1}
            ) as answer:
                await answer.read()
    assert bell.asked[1] == Prompt(
        messages=(Message("user", "One?"), Message("assistant", " Yes."), Message("user", "Two?")),
        model=MODEL,
        max_tokens=1,
    )


async def test_an_answer_is_stored_although_its_reader_left() -> None:
    bell = Bell()
    async with visit(bell, modal=False) as visitor:
        ident = await visitor.create()
        answer = await visitor.ask(ident, parameters={"max_new_tokens": 2})
        bell.rung.put_nowait(" first")
        await answer.content.readany()
        answer.close()
        await until(lambda: visitor.sandbox.state("h2o")["open_streams"] == 0)
        assert visitor.running() == 1
        bell.rung.put_nowait(" second")
        await until(lambda: visitor.running() == 0)
        assert '" first second"' in await visitor.page(ident)


async def test_stop_generating_cuts_the_line_and_keeps_the_part() -> None:
    bell = Bell()
    async with visit(bell, modal=False) as visitor:
        ident = await visitor.create()
        for number in range(2):
            async with await visitor.ask(ident, parameters={"max_new_tokens": 2}) as answer:
                bell.rung.put_nowait(f" part{number}")
                seen = await answer.content.readany()
                stopped = await visitor.status("POST", f"/conversation/{ident}/stop-generating")
                assert stopped == (200, "")
                assert b'"generated_text":null' in seen
                if number == 0:
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await answer.read()
                    assert '" part0"' in await visitor.page(ident)
                else:
                    # The marker of the first stop still lives, a second changes nothing.
                    bell.rung.put_nowait(" end")
                    assert texts(await answer.read()) == [" end"]


async def test_deleting_does_not_end_the_stream() -> None:
    bell = Bell()
    async with visit(bell, modal=False) as visitor:
        ident = await visitor.create()
        async with await visitor.ask(ident, parameters={"max_new_tokens": 2}) as answer:
            bell.rung.put_nowait(" a")
            await answer.content.readany()
            assert await visitor.status("DELETE", f"/conversation/{ident}") == (200, "")
            bell.rung.put_nowait(" b")
            assert texts(await answer.read()) == [" b"]
        assert visitor.sandbox.state("h2o")["conversations"] == {
            "created": [ident],
            "deleted": [ident],
            "left": [],
        }


async def test_a_failed_turn_leaves_no_trace() -> None:
    async with visit(Failing(" half", reason="shard died"), modal=False) as visitor:
        ident = await visitor.create()
        async with await visitor.ask(ident, "Hidden question") as answer:
            body = await answer.read()
        assert body.endswith(
            b'data:{"error":"Request failed during generation: shard died",'
            b'"error_type":"generation"}\n\n'
        )
        page = await visitor.page(ident)
    assert "half" not in page
    assert "Hidden question" not in page


async def test_network_writes_can_cut_anywhere() -> None:
    async with visit(Fixed([" Grüße"]), modal=False, cut=5) as visitor:
        answer = await visitor.ask(await visitor.create())
        chunks = [chunk async for chunk, _ in answer.content.iter_chunks()]
    assert max(map(len, chunks)) == 5
    assert texts(b"".join(chunks)) == [" Grüße", "<|endoftext|>"]
