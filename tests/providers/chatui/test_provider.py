"""The provider for today's chat-ui on real sockets (wire/h2o.md section 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    ModelError,
    ModelNotFoundError,
    PenstockError,
    RateLimitError,
    StreamTimeoutError,
    TooLargeError,
    TruncatedError,
)
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.sandbox.script import ModelFailure
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    Timeouts,
)
from tests.providers.chatui.talk import (
    ID,
    JSONL,
    MESSAGE,
    MODEL,
    asked,
    ending,
    line,
    provider,
    request,
    routed,
    sandboxed,
    token,
)
from tests.providers.stage import (
    Answer,
    Held,
    calls,
    said,
    stage,
)

# -- a turn -------------------------------------------------------------------------------------


async def test_a_turn_opens_asks_and_deletes() -> None:
    script = Held("Hello", " there")
    async with sandboxed(script) as (sandbox, _, chatui):
        made = ChatRequest(
            model=MODEL,
            messages=(Message(role="system", content="S"), Message(role="user", content="Hi")),
        )
        answer = AnswerStream(lambda: chatui.stream(made), provider="chatui", model=MODEL)
        reply = await answer.reply()
        assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
        assert (reply.warnings, reply.conversation) == ((), None)
        assert answer.started is not None
        ident = answer.started.conversation_id
        # The answer's own id is asked for only where a conversation goes on.
        assert calls(sandbox, "chatui") == [
            "POST /conversation 200",
            f"POST /conversation/{ident} 200",
            f"DELETE /conversation/{ident} 200",
        ]
    [prompt] = [prompt for prompt in script.prompts if prompt.question == "Hi"]
    assert [(m.role, m.content) for m in prompt.messages] == [("system", "S"), ("user", "Hi")]


async def test_text_beside_the_finish_reason_is_sent() -> None:
    async with sandboxed(Held("Hello", " there"), text_with_finish=True) as (_, _, chatui):
        answer = asked(chatui)
        assert [piece async for piece in answer.text()] == ["Hello", " there"]


async def test_a_silent_re_run_is_told_and_the_final_text_is_right() -> None:
    async with stage() as server, Session() as session:
        again = [token("The"), token(" try"), token("The"), token(" try is"), ending("The try is")]
        routed(server, Answer(200, again, JSONL))
        answer = asked(provider(session, server.url))
        reply = await answer.reply()
        assert reply.text == "The try is"
        assert answer.partial == "The tryThe try is"
        assert [notice.code for notice in reply.warnings] == ["text_differs"]


async def test_the_servers_first_model_is_the_default() -> None:
    async with sandboxed() as (sandbox, _, chatui):
        for _ in range(2):
            answer = asked(chatui, model="")
            await answer.reply()
            assert answer.started is not None
            assert answer.started.model == MODEL
        assert calls(sandbox, "chatui").count("GET /api/v2/models 200") == 1
    async with stage() as server, Session() as session:
        server.on("GET", "/api/v2/models", said(200, {"json": []}))
        with pytest.raises(BadRequestError, match="no model"):
            await asked(provider(session, server.url), model="").reply()
        named = provider(session, server.url, models=("m/x",))
        routed(server, Answer(200, [ending("a")], JSONL))
        await asked(named, model="").reply()
        assert server.requests("POST", "/conversation")[0].json == {"model": "m/x"}


async def test_models_of_both_interfaces() -> None:
    async with sandboxed(models=("m/a", "m/b")) as (_, _, chatui):
        assert [model.id for model in await chatui.models()] == ["m/a", "m/b"]
    async with stage() as server, Session() as session:
        server.on("GET", "/api/models", said(200, [{"id": "m/c"}]))
        assert [model.id for model in await provider(session, server.url).models()] == ["m/c"]
        server.on("GET", "/api/v2/models", Answer(302, headers={"location": "/login"}))
        with pytest.raises(AuthError):
            await provider(session, server.url).models()


async def test_images_travel_as_files() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [ending("a")], JSONL))
        image = ImagePart(data=b"\x89PNG", media_type="image/png", name="a.png")
        made = ChatRequest(
            model=MODEL,
            messages=(Message(role="user", content=(TextPart("What?"), image)),),
        )
        chatui = provider(session, server.url)
        await AnswerStream(lambda: chatui.stream(made), provider="chatui", model="").reply()
        sent = server.requests("POST", MESSAGE)[0]
        assert b'filename="base64;a.png"' in sent.body
        assert sent.headers["origin"] == server.url


async def test_what_cannot_be_honoured_is_refused_before_anything_is_sent() -> None:
    async with stage() as server, Session() as session:
        chatui = provider(session, server.url)
        for made in (
            request("Hi", sampling=Sampling(temperature=0.5)),
            request("Hi", sampling=Sampling(max_tokens=5)),
            request("Hi", extra={"temperature": 1}),
            request("Hi", conversation=ChatUIConversation(id=ID, model="m/other")),
            request(""),
        ):
            with pytest.raises(BadRequestError):
                async with chatui.stream(made):
                    pass
        assert server.calls == []


def test_configuration_that_is_none_is_refused() -> None:
    session = Session()
    with pytest.raises(ConfigError, match="base_url"):
        provider(session, None)
    with pytest.raises(ConfigError, match="chat-ui"):
        provider(session, "http://h", dialect="v9")
    with pytest.raises(BadRequestError, match="not a parameter"):
        provider(session, "http://h", options={"x": 1})
    assert provider(session, "http://h", dialect="chat-ui").name == "chatui"


# -- session ------------------------------------------------------------------------------------


async def test_a_secure_cookie_is_carried_over_plain_http() -> None:
    async with sandboxed(secure_cookie=True) as (_, _, chatui):
        assert (await asked(chatui).reply()).text == "Hi"


async def test_each_call_has_a_session_of_its_own() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [ending("a")], JSONL))
        chatui = provider(session, server.url, cookies={"gate": "open"}, headers={"X-Team": "t"})
        await asked(chatui).reply()
        one, two, three = server.seen
        assert one.headers["cookie"] == "gate=open"
        for seen in (two, three):
            assert seen.headers["cookie"] == (
                "gate=open; hf-chat=00000000-0000-4000-8000-000000000000"
            )
        assert {seen.headers["x-team"] for seen in server.seen} == {"t"}


async def test_a_login_is_told_and_nothing_is_left() -> None:
    async with sandboxed(login=True) as (sandbox, _, chatui):
        with pytest.raises(AuthError):
            await asked(chatui).reply()
        assert calls(sandbox, "chatui") == ["POST /conversation 302"]


async def test_a_server_that_moved_to_https_is_told_as_that() -> None:
    async with stage() as server, Session() as session:
        place = server.url.replace("http://", "https://") + "/conversation"
        server.on("POST", "/conversation", Answer(302, headers={"location": place}))
        with pytest.raises(PenstockError) as caught:
            await asked(provider(session, server.url)).reply()
        assert caught.value.kind == "redirect"


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "deleted"),
    [
        ({"models": ("m/other",)}, ModelNotFoundError, 0),
        ({"gone": (MODEL,)}, ModelNotFoundError, 1),
        ({"message_length": 1}, TooLargeError, 1),
    ],
)
async def test_a_refused_message_is_told_and_its_conversation_deleted(
    options: dict[str, Any], error: type[PenstockError], deleted: int
) -> None:
    async with sandboxed(**options) as (sandbox, _, chatui):
        with pytest.raises(error):
            await asked(chatui).reply()
        made = calls(sandbox, "chatui")
        assert len([call for call in made if call.startswith("DELETE")]) == deleted
        assert not [call for call in made if "stop-generating" in call]


async def test_the_limit_of_messages_is_told() -> None:
    async with sandboxed(messages_per_minute=1) as (_, _, chatui):
        await asked(chatui).reply()
        with pytest.raises(RateLimitError):
            await asked(chatui).reply()


async def test_a_failure_in_the_answer_deletes_and_keeps_the_text() -> None:
    async with stage() as server, Session() as session:
        broken = line("status", status="error", message="terminated")
        routed(server, Answer(200, [token("a"), broken], JSONL))
        with pytest.raises(ModelError, match="terminated") as caught:
            await asked(provider(session, server.url)).reply()
        assert (caught.value.partial, caught.value.status) == ("a", 200)
        assert server.calls[-2:] == [f"POST {MESSAGE}", f"DELETE {MESSAGE}"]
    async with sandboxed(Held(ModelFailure("429 slow down", 429))) as (_, _, chatui):
        with pytest.raises(RateLimitError):
            await asked(chatui).reply()


@pytest.mark.parametrize("closed", ["clean", "reset"])
async def test_an_answer_that_breaks_off_is_no_answer(closed: str) -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a"), token("lost")[:-9]], JSONL, closed=closed))
        with pytest.raises(TruncatedError) as caught:
            await asked(provider(session, server.url)).reply()
        assert (caught.value.partial, caught.value.status) == ("a", 200)
        assert server.calls[-1] == f"DELETE {MESSAGE}"
        stopped = f"POST {MESSAGE}/stop-generating" in server.calls
        assert stopped is (closed == "reset")


async def test_a_connection_that_breaks_after_the_final_answer_has_broken_nothing() -> None:
    async with stage() as server, Session() as session:
        final = line("finalAnswer", text="a", interrupted=False)
        routed(server, Answer(200, [token("a"), final], JSONL, closed="reset"))
        reply = await asked(provider(session, server.url)).reply()
        assert (reply.text, reply.finish_reason) == ("a", "stop")


async def test_keep_alives_are_no_content() -> None:
    async with sandboxed(Held("a", asyncio.Event())) as (sandbox, session, _):
        url = sandbox.urls["chatui"]
        chatui = provider(session, url, timeouts=Timeouts(idle=0.25))
        with pytest.raises(StreamTimeoutError) as caught:
            await asked(chatui).reply()
        assert (caught.value.phase, caught.value.partial) == ("idle", "a")


async def test_a_cleanup_that_fails_is_noted_and_changes_nothing() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [ending("a")], JSONL))
        server.on("DELETE", MESSAGE, said(500, {"message": "An error occurred"}))
        assert (await asked(provider(session, server.url)).reply()).text == "a"
        assert session.outbox.failed == [f"chatui: delete conversation {ID}"]


async def test_a_stop_that_fails_does_not_keep_the_deletion_back() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a"), asyncio.Event()], JSONL))
        server.on("POST", f"{MESSAGE}/stop-generating", Answer(closed="reset"))
        async with asked(provider(session, server.url)) as answer:
            await answer.next_batch()
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.outbox.failed == []
