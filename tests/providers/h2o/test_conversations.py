"""Native conversations: what travels, what a turn that failed leaves, who may delete."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ForbiddenError,
    ModelError,
    NotFoundError,
)
from penstock.providers.h2o.conversation import H2oConversation
from penstock.providers.h2o.models import FALCON_40B
from penstock.sandbox.script import ModelFailure
from penstock.transport import Session
from penstock.types import (
    Conversation,
)
from tests.providers.h2o.talk import (
    ID,
    MESSAGE,
    SSE,
    asked,
    provider,
    routed,
    sandboxed,
    token,
)
from tests.providers.stage import (
    Answer,
    Held,
    calls,
    left,
    running,
    said,
    stage,
    until,
)


async def test_rule_16_a_conversation_sends_the_new_turn_only() -> None:
    script = Held(" yes")
    async with sandboxed(script) as (sandbox, _, h2o):
        conversation = h2o.conversation("falcon-7b")
        first = await asked(h2o, "A", conversation=conversation).reply()
        assert first.conversation is conversation
        ident, parent = conversation.id, conversation.parent
        await asked(h2o, "A", " yes", "B", conversation=conversation).reply()
        assert conversation.id == ident
        assert conversation.parent not in (None, parent)
        assert conversation.messages == [
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": " yes"},
            {"role": "user", "content": "B"},
            {"role": "assistant", "content": " yes"},
        ]
        assert [(m.role, m.content.strip()) for m in script.prompts[-1].messages] == [
            ("user", "A"),
            ("assistant", "yes"),
            ("user", "B"),
        ]
        assert left(sandbox, "h2o") == [ident]
        assert [call.split()[1] for call in calls(sandbox, "h2o")].count("/settings") == 1
        await conversation.delete()
        assert conversation.id is None
        await conversation.delete()


async def test_a_conversation_survives_json() -> None:
    async with sandboxed() as (_, _, h2o):
        conversation = h2o.conversation("")
        await asked(h2o, "A", conversation=conversation).reply()
        copy = H2oConversation.from_dict(json.loads(json.dumps(conversation.to_dict())))
        assert copy == conversation
        assert copy.cookies["hf-chat"] not in repr(copy)
        await asked(h2o, "B", conversation=copy).reply()
        assert len(copy.messages) == 4
        await copy.delete()


async def test_a_turn_that_was_cut_is_replaced_by_the_next() -> None:
    hold = asyncio.Event()
    script = Held(" one")
    async with sandboxed(script) as (sandbox, _, h2o):
        conversation = h2o.conversation("")
        await asked(h2o, "A", conversation=conversation).reply()
        before = conversation.to_dict()
        script.parts = (" cut", hold)
        async with asked(h2o, "B", conversation=conversation) as answer:
            async for _ in answer.text():
                break
        assert conversation.to_dict() == before
        assert left(sandbox, "h2o") == [conversation.id]
        await until(lambda: running(sandbox, "h2o") == 0)
        script.parts = (" two",)
        await asked(h2o, "C", conversation=conversation).reply()
        assert [m.content.strip() for m in script.prompts[-1].messages] == ["A", "one", "C"]
        await conversation.delete()


async def test_a_first_turn_that_fails_leaves_no_conversation() -> None:
    script = Held(" a", ModelFailure("CUDA"))
    async with sandboxed(script) as (sandbox, _, h2o):
        conversation = h2o.conversation("")
        with pytest.raises(ModelError):
            await asked(h2o, conversation=conversation).reply()
        assert conversation == h2o.conversation("")
        assert left(sandbox, "h2o") == []
        script.parts = (" b",)
        await asked(h2o, conversation=conversation).reply()
        assert len(conversation.messages) == 2
        await conversation.delete()


async def test_a_conversation_stays_with_its_model() -> None:
    async with sandboxed() as (_, _, h2o):
        conversation = h2o.conversation("falcon-7b")
        await asked(h2o, model="falcon-7b", conversation=conversation).reply()
        with pytest.raises(BadRequestError, match="cannot change"):
            await asked(h2o, model="falcon-40b", conversation=conversation).reply()
        await conversation.delete()


async def test_another_session_does_not_know_the_conversation() -> None:
    async with sandboxed() as (_, _, h2o):
        conversation = h2o.conversation("")
        await asked(h2o, conversation=conversation).reply()
        foreign = Conversation(id=conversation.id, model=conversation.model)
        with pytest.raises(ForbiddenError):  # a session that never accepted the modal
            await asked(h2o, conversation=foreign).reply()
        other = H2oConversation(id="0" * 24, cookies=dict(h2o_cookies(conversation)))
        with pytest.raises(NotFoundError):
            await asked(h2o, conversation=other).reply()
        await conversation.delete()


def h2o_cookies(conversation: Conversation) -> dict[str, str]:
    assert isinstance(conversation, H2oConversation)
    return conversation.cookies


async def test_a_plain_conversation_works_with_a_session_of_the_callers_own() -> None:
    async with sandboxed() as (sandbox, session, _):
        h2o = provider(session, sandbox.urls["h2o"], cookies={"hf-chat": "own"})
        conversation = Conversation()
        await asked(h2o, conversation=conversation).reply()
        await asked(h2o, conversation=conversation).reply()
        assert len(conversation.messages) == 4
        kept = h2o.conversation("")
        await asked(h2o, conversation=kept).reply()
        assert h2o_cookies(kept) == {}  # the caller's own cookie is not copied around
        await conversation.delete()
        await kept.delete()


async def test_deletion_of_what_is_gone_is_a_success() -> None:
    async with stage() as server, Session() as session:
        h2o = provider(session, server.url)
        await h2o.delete(H2oConversation())
        assert server.calls == []
        gone = H2oConversation(id=ID)
        server.on("DELETE", MESSAGE, said(404, {"message": "Conversation not found"}))
        await h2o.delete(gone)
        assert gone.id is None
        server.on("DELETE", MESSAGE, said(401, {"error": "You have to be logged in."}))
        refused = H2oConversation(id=ID)
        with pytest.raises(AuthError):
            await h2o.delete(refused)
        assert refused.id == ID
        server.on("DELETE", MESSAGE, Answer())
    async with stage() as server:
        server.on("DELETE", MESSAGE, Answer())
        await session.aclose()
        late = H2oConversation(id=ID)
        await provider(session, server.url).delete(late)  # also after its session was closed
        assert late.id is None


async def test_a_kept_conversation_that_cannot_be_stopped_is_noted() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a"), asyncio.Event()], SSE))
        server.on("POST", f"{MESSAGE}/stop-generating", Answer(closed="reset"))
        kept = H2oConversation(id=ID, model=FALCON_40B)
        async with asked(provider(session, server.url), conversation=kept) as answer:
            await answer.next_batch()
        assert session.outbox.failed == [f"h2o: stop conversation {ID}"]
        assert "DELETE" not in " ".join(server.calls)
