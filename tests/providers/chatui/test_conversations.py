"""Native conversations: what travels, what a turn that failed leaves, who may delete."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    PenstockError,
    RateLimitError,
)
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.sandbox.script import ModelFailure
from penstock.transport import Session
from penstock.types import (
    Conversation,
)
from tests.providers.chatui.talk import (
    ID,
    JSONL,
    MESSAGE,
    MODEL,
    STORED,
    TREE,
    asked,
    ending,
    line,
    provider,
    routed,
    sandboxed,
    token,
    tree,
)
from tests.providers.stage import (
    Answer,
    Held,
    left,
    said,
    stage,
)


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
