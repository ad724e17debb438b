"""The provider for today's chat-ui on real sockets (wire/h2o.md section 9)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    ForbiddenError,
    ModelError,
    ModelNotFoundError,
    NetworkError,
    NotFoundError,
    PenstockError,
    RateLimitError,
    StreamTimeoutError,
    TooLargeError,
    TruncatedError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.providers.chatui.provider import create
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    ImagePart,
    Message,
    Sampling,
    Text,
    TextPart,
    Timeouts,
)
from tests.providers.stage import (
    Answer,
    Held,
    Stage,
    calls,
    cancelled,
    left,
    running,
    said,
    stage,
    until,
)

ID = "6b00e63d1e8869ece49896c1"
MESSAGE = f"/conversation/{ID}"
TREE = f"/api/v2/conversations/{ID}"
MODEL = "h2oai/h2ogpt-4096-llama2-13b-chat"
JSONL = {"content-type": "application/jsonl"}
COOKIE = "hf-chat=00000000-0000-4000-8000-000000000000; Path=/; HttpOnly; Secure; SameSite=None"
CREATED = {
    "conversationId": ID,
    "conversation": json.dumps({"json": {"rootMessageId": "root"}, "meta": {}}),
}


def line(kind: str, **more: object) -> bytes:
    return json.dumps({"type": kind, **more}).encode() + b"\n"


def token(text: str) -> bytes:
    return line("stream", token=text.ljust(16, "\0"))


def ending(text: str) -> bytes:
    final = line("finalAnswer", text=text, interrupted=False)
    return final + b" " * 4096 + line("status", status="finished")


def tree(*messages: tuple[str, str, list[str]]) -> Answer:
    listed = [{"id": i, "from": f, "ancestors": a} for i, f, a in messages]
    return said(200, {"json": {"messages": listed}})


STORED = tree(("root", "system", []), ("q", "user", ["root"]), ("a", "assistant", ["root", "q"]))


def provider(session: Session, url: str | None, **config: Any) -> Provider:
    return create(session, ProviderConfig(name="chatui", base_url=url, **config))


def request(
    *texts: str, conversation: Conversation | None = None, model: str = MODEL, **more: Any
) -> ChatRequest:
    roles: tuple[Any, ...] = ("user", "assistant")
    messages = [Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    return ChatRequest(model=model, messages=tuple(messages), conversation=conversation, **more)


def asked(provider: Provider, *texts: str, **more: Any) -> AnswerStream:
    made = request(*(texts or ("Hi",)), **more)
    return AnswerStream(lambda: provider.stream(made), provider="chatui", model=made.model)


def routed(server: Stage, *answers: Answer) -> None:
    """All routes of a server that works, with these answers to messages."""
    server.on("POST", "/conversation", said(200, CREATED, **{"set-cookie": COOKIE}))
    server.on("POST", MESSAGE, *answers)
    server.on("POST", f"{MESSAGE}/stop-generating", Answer())
    server.on("GET", TREE, STORED)
    server.on("DELETE", MESSAGE, Answer())


@asynccontextmanager
async def sandboxed(
    script: Held | str = "echo", **options: object
) -> AsyncIterator[tuple[Sandbox, Session, Provider]]:
    """A sandbox, and at the end the proof that nothing is open or left."""
    async with Sandbox(["chatui"], script=script, options={"chatui": options}) as sandbox:
        async with Session() as session:
            yield sandbox, session, provider(session, sandbox.urls["chatui"])
            assert await session.outbox.drain() == []
            assert session.outbox.failed == []
            assert session.open_connections == 0
        assert left(sandbox, "chatui") == []
        await until(lambda: running(sandbox, "chatui") == 0)


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


# -- leaving ------------------------------------------------------------------------------------


async def test_leaving_early_stops_that_generation_then_deletes() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a"), asyncio.Event()], JSONL))
        async with asked(provider(session, server.url)) as answer:
            async for piece in answer.text():
                assert piece == "a"
                break
        assert session.open_connections == 0
        await until(lambda: server.streaming == 0)
        asked_for = server.requests("POST", MESSAGE)[0].body
        [stop] = server.requests("POST", f"{MESSAGE}/stop-generating")
        assert stop.json["generationId"].encode() in asked_for
        assert server.calls[-1] == f"DELETE {MESSAGE}"


async def test_leaving_after_the_end_does_not_stop_what_has_ended() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a") + ending("a")], JSONL))
        async with provider(session, server.url).stream(request("Hi")) as batches:
            async for batch in batches:
                if any(isinstance(event, Text) for event in batch):
                    break
        assert server.calls[-2:] == [f"POST {MESSAGE}", f"DELETE {MESSAGE}"]


async def test_the_answer_can_be_closed_by_another_task_than_its_readers() -> None:
    async with sandboxed(Held("a", asyncio.Event())) as (_, _, chatui):
        answer = asked(chatui)

        async def drain() -> None:
            while await answer.next_batch():
                pass

        reader = asyncio.create_task(drain())
        await until(lambda: answer.partial == "a")
        await answer.aclose()
        with pytest.raises(PenstockError):
            await reader


async def test_cancelled_while_a_conversation_is_opened_leaves_none_behind() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        opening = said(200, CREATED)
        opening.before = gate
        server.on("POST", "/conversation", opening)
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == ["POST /conversation"])
        await cancelled(work)
        assert session.outbox.pending == ["chatui: delete a conversation that is being opened"]
        gate.set()
        assert await session.outbox.drain() == []
        assert server.calls == ["POST /conversation", f"DELETE {MESSAGE}"]


async def test_a_session_that_closes_while_a_conversation_is_opened_ends_the_call() -> None:
    async with stage() as server:
        server.on("POST", "/conversation", Answer(before=asyncio.Event()))
        async with Session() as session:
            work = asyncio.create_task(asked(provider(session, server.url)).reply())
            await until(lambda: server.calls == ["POST /conversation"])
            assert await session.aclose(0) == ["chatui: delete a conversation that is being opened"]
            with pytest.raises(NetworkError, match="session was closed"):
                await work


async def test_cancelled_before_the_headers() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(before=asyncio.Event()))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == [f"POST {MESSAGE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.open_connections == 0


@pytest.mark.parametrize("pieces", [(), ("a",), ("a", " b", " c")])
async def test_cancelled_among_the_pieces(pieces: tuple[str, ...]) -> None:
    script = Held(*pieces, asyncio.Event(), " z")
    async with sandboxed(script) as (sandbox, session, chatui):
        answer = asked(chatui)
        work = asyncio.create_task(answer.reply())
        await until(lambda: answer.started is not None and answer.partial == "".join(pieces))
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        made = calls(sandbox, "chatui")
        assert made[-2].endswith("stop-generating 200")
        assert made[-1].startswith("DELETE")
        assert session.open_connections == 0


async def test_cancelled_while_the_next_parent_is_learned() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a") + ending("a")], JSONL))
        server.on("GET", TREE, Answer(before=asyncio.Event()))
        conversation = ChatUIConversation()
        answer = asked(provider(session, server.url), conversation=conversation)
        work = asyncio.create_task(answer.reply())
        await until(lambda: server.calls[-1:] == [f"GET {TREE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert conversation == ChatUIConversation()
        assert server.calls[-1] == f"DELETE {MESSAGE}"
        assert f"POST {MESSAGE}/stop-generating" not in server.calls


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with sandboxed() as (sandbox, _, chatui):
        texts = [f"caller {number} says something" for number in range(8)]
        replies = await asyncio.gather(*(asked(chatui, text).reply() for text in texts))
        assert [reply.text for reply in replies] == texts
        conversations: Any = sandbox.state("chatui")["conversations"]
        assert len(conversations["created"]) == 8


# -- conversations ------------------------------------------------------------------------------


async def test_a_conversation_sends_the_new_turn_below_the_last_answer() -> None:
    script = Held("yes")
    async with sandboxed(script) as (sandbox, _, chatui):
        conversation = chatui.conversation(MODEL)
        first = await asked(chatui, "A", conversation=conversation).reply()
        assert first.conversation is conversation
        ident, parent = conversation.id, conversation.parent
        assert parent
        await asked(chatui, "A", "yes", "B", conversation=conversation).reply()
        assert conversation.id == ident
        assert conversation.parent not in (None, parent)
        assert [(m["role"], m["content"]) for m in conversation.messages] == [
            ("user", "A"),
            ("assistant", "yes"),
            ("user", "B"),
            ("assistant", "yes"),
        ]
        [last] = [prompt for prompt in script.prompts if prompt.question == "B"]
        assert [m.content for m in last.messages if m.role != "system"] == ["A", "yes", "B"]
        assert left(sandbox, "chatui") == [ident]
        await conversation.delete()
        assert conversation.id is None
        await conversation.delete()


async def test_a_conversation_survives_json() -> None:
    async with sandboxed() as (_, _, chatui):
        conversation = chatui.conversation("")
        await asked(chatui, "A", conversation=conversation).reply()
        copy = ChatUIConversation.from_dict(json.loads(json.dumps(conversation.to_dict())))
        assert copy == conversation
        assert copy.cookies["hf-chat"] not in repr(copy)
        await asked(chatui, "B", conversation=copy, model="").reply()
        assert len(copy.messages) == 4
        await copy.delete()


async def test_a_turn_that_was_cut_is_no_part_of_the_next() -> None:
    script = Held("one")
    async with sandboxed(script) as (sandbox, _, chatui):
        conversation = chatui.conversation(MODEL)
        await asked(chatui, "A", conversation=conversation).reply()
        before = conversation.to_dict()
        script.parts = ("cut", asyncio.Event())
        async with asked(chatui, "B", conversation=conversation) as answer:
            async for _ in answer.text():
                break
        assert conversation.to_dict() == before
        assert left(sandbox, "chatui") == [conversation.id]
        script.parts = ("two",)
        await asked(chatui, "C", conversation=conversation).reply()
        [last] = [prompt for prompt in script.prompts if prompt.question == "C"]
        assert [m.content for m in last.messages if m.role != "system"] == ["A", "one", "C"]
        await conversation.delete()


async def test_a_first_turn_that_fails_leaves_no_conversation() -> None:
    script = Held(ModelFailure("boom", 500))
    async with sandboxed(script) as (sandbox, _, chatui):
        conversation = chatui.conversation(MODEL)
        with pytest.raises(PenstockError):
            await asked(chatui, conversation=conversation).reply()
        assert conversation == chatui.conversation(MODEL)
        assert left(sandbox, "chatui") == []


async def test_a_turn_that_the_server_stopped_moves_nothing_on() -> None:
    async with stage() as server, Session() as session:
        stopped = line("finalAnswer", text="a", interrupted=True) + line(
            "status", status="finished"
        )
        routed(server, Answer(200, [token("a"), stopped], JSONL))
        conversation = ChatUIConversation()
        reply = await asked(provider(session, server.url), conversation=conversation).reply()
        assert (reply.finish_reason, reply.conversation) == ("cancelled", None)
        assert conversation == ChatUIConversation()
        assert server.calls[-1] == f"DELETE {MESSAGE}"


@pytest.mark.parametrize(
    "answer", [said(500, {"message": "An error occurred"}), tree(("root", "system", []))]
)
async def test_a_parent_that_could_not_be_learned_is_asked_for_by_the_next_turn(
    answer: Answer,
) -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [ending("a")], JSONL))
        server.on("GET", TREE, answer, answer, STORED)
        chatui, conversation = provider(session, server.url), ChatUIConversation()
        await asked(chatui, "A", conversation=conversation).reply()
        assert (conversation.id, conversation.parent) == (ID, None)
        with pytest.raises(PenstockError):
            await asked(chatui, "B", conversation=conversation).reply()
        assert len(server.requests("POST", MESSAGE)) == 1
        server.on("POST", MESSAGE, said(429, {"message": "later"}))
        with pytest.raises(RateLimitError):
            await asked(chatui, "B", conversation=conversation).reply()
        assert conversation.parent == "a"
        assert b'"id":"a"' in server.requests("POST", MESSAGE)[-1].body


async def test_a_body_that_does_not_end_does_not_hold_the_turn_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.providers.chatui.visit._LAST_BYTES", 0.05)
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [ending("a"), asyncio.Event()], JSONL))
        conversation = ChatUIConversation()
        await asked(provider(session, server.url), conversation=conversation).reply()
        assert conversation.parent == "a"


async def test_a_conversation_stays_with_its_model() -> None:
    async with sandboxed() as (_, _, chatui):
        conversation = chatui.conversation(MODEL)
        await asked(chatui, conversation=conversation).reply()
        with pytest.raises(BadRequestError, match="cannot change"):
            await asked(chatui, model="Qwen/Qwen3-8B", conversation=conversation).reply()
        await conversation.delete()


async def test_another_session_does_not_know_the_conversation() -> None:
    async with sandboxed() as (_, _, chatui):
        conversation = chatui.conversation(MODEL)
        await asked(chatui, conversation=conversation).reply()
        foreign = ChatUIConversation(id=conversation.id, parent=conversation.parent)
        with pytest.raises(NotFoundError):
            await asked(chatui, conversation=foreign).reply()
        blind = ChatUIConversation(id=conversation.id)
        with pytest.raises(ForbiddenError):
            await asked(chatui, conversation=blind).reply()
        await conversation.delete()


async def test_a_plain_conversation_works_with_a_session_of_the_callers_own() -> None:
    async with sandboxed() as (sandbox, session, _):
        chatui = provider(session, sandbox.urls["chatui"], cookies={"hf-chat": "own"})
        conversation = Conversation()
        await asked(chatui, conversation=conversation).reply()
        await asked(chatui, conversation=conversation).reply()
        assert len(conversation.messages) == 4
        await conversation.delete()


async def test_deletion_of_what_is_gone_is_a_success() -> None:
    async with stage() as server, Session() as session:
        chatui = provider(session, server.url)
        await chatui.delete(ChatUIConversation())
        assert server.calls == []
        gone = ChatUIConversation(id=ID, parent="a")
        server.on("DELETE", MESSAGE, said(404, {"message": "Conversation not found"}))
        await chatui.delete(gone)
        assert (gone.id, gone.parent) == (None, None)
        server.on("DELETE", MESSAGE, said(401, {"error": "You have to be logged in."}))
        refused = ChatUIConversation(id=ID)
        with pytest.raises(AuthError):
            await chatui.delete(refused)
        assert refused.id == ID


async def test_a_kept_conversation_that_cannot_be_stopped_is_noted() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token("a"), asyncio.Event()], JSONL))
        server.on("POST", f"{MESSAGE}/stop-generating", Answer(closed="reset"))
        kept = ChatUIConversation(id=ID, parent="root", model=MODEL)
        async with asked(provider(session, server.url), conversation=kept) as answer:
            await answer.next_batch()
        assert session.outbox.failed == [f"chatui: stop conversation {ID}"]
        assert "DELETE" not in " ".join(server.calls)
