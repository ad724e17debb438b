"""The provider for the 2023 chat-ui on real sockets; rules as in wire/h2o.md section 10."""

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
    OverloadedError,
    PenstockError,
    RateLimitError,
    ResponseStatusError,
    StreamTimeoutError,
    TooLargeError,
    TruncatedError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.h2o.conversation import H2oConversation
from penstock.providers.h2o.models import ALIASES, FALCON_7B, FALCON_40B, MODELS
from penstock.providers.h2o.provider import create
from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Message,
    Sampling,
    Started,
    Text,
    Timeouts,
    Usage,
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

ID = "6b00e63deb3580645cb56caf"
MESSAGE = f"/conversation/{ID}"
SSE = {"content-type": "text/event-stream"}
COOKIE = "hf-chat=00000000-0000-4000-8000-000000000000; Path=/; HttpOnly; Secure; SameSite=None"


def token(text: str, *, special: bool = False, whole: str | None = None) -> bytes:
    frame = {"token": {"id": 1, "text": text, "special": special}, "generated_text": whole}
    return b"data:" + json.dumps(frame).encode() + b"\n\n"


END = token("<|endoftext|>", special=True, whole=" a")


def provider(session: Session, url: str | None, **config: Any) -> Provider:
    return create(session, ProviderConfig(name="h2o", base_url=url, **config))


def request(
    *texts: str, conversation: Conversation | None = None, model: str = "", **extra: Any
) -> ChatRequest:
    roles: tuple[Any, ...] = ("user", "assistant")
    messages = [Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    return ChatRequest(
        model=model, messages=tuple(messages), conversation=conversation, extra=extra
    )


def asked(provider: Provider, *texts: str, **more: Any) -> AnswerStream:
    made = request(*(texts or ("Hi",)), **more)
    return AnswerStream(lambda: provider.stream(made), provider="h2o", model=made.model)


def routed(server: Stage, *answers: Answer) -> None:
    """All routes of a server that works, with these answers to messages."""
    server.on("POST", "/settings", said(200, {"type": "redirect"}, **{"set-cookie": COOKIE}))
    server.on("POST", "/conversation", said(200, {"conversationId": ID}))
    server.on("POST", MESSAGE, *answers)
    server.on("POST", f"{MESSAGE}/stop-generating", Answer())
    server.on("DELETE", MESSAGE, Answer())


@asynccontextmanager
async def sandboxed(
    script: Held | str = "echo", **options: object
) -> AsyncIterator[tuple[Sandbox, Session, Provider]]:
    """A sandbox, and at the end the proof that nothing is open or left."""
    async with Sandbox(["h2o"], script=script, options={"h2o": options}) as sandbox:
        async with Session() as session:
            yield sandbox, session, provider(session, sandbox.urls["h2o"])
            assert await session.outbox.drain() == []
            assert session.outbox.failed == []
            assert session.open_connections == 0
        assert left(sandbox, "h2o") == []
        await until(lambda: running(sandbox, "h2o") == 0)


# -- a turn -------------------------------------------------------------------------------------


async def test_a_turn_opens_asks_and_deletes() -> None:
    async with sandboxed() as (sandbox, _, h2o):
        answer = asked(h2o, "Hello there", model="falcon-7b")
        reply = await answer.reply()
        assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
        assert reply.usage == Usage(completion_tokens=3)
        assert reply.conversation is None
        assert isinstance(answer.started, Started)
        ident = answer.started.conversation_id
        assert answer.started.model == FALCON_7B
        assert calls(sandbox, "h2o") == [
            "POST /settings 200",
            "POST /conversation 200",
            f"POST /conversation/{ident} 200",
            f"DELETE /conversation/{ident} 200",
        ]


@pytest.mark.parametrize("model", ["", *ALIASES, *MODELS])
async def test_rules_13_and_14_short_and_full_names_reach_the_server_as_full_ids(
    model: str,
) -> None:
    script = Held(" a")
    async with sandboxed(script) as (_, _, h2o):
        await asked(h2o, model=model).reply()
    assert script.prompts[0].model == (ALIASES.get(model, model) or FALCON_40B)


async def test_an_unknown_model_is_refused_here_unless_the_server_is_ones_own() -> None:
    async with Session() as session:
        with pytest.raises(ModelNotFoundError, match="falcon-40b-v1"):
            await asked(provider(session, None), model="falcon-400b").reply()
        with pytest.raises(ModelNotFoundError):
            provider(session, None).conversation("falcon-400b")
    async with sandboxed() as (_, _, h2o):
        with pytest.raises(ResponseStatusError) as caught:  # h2o-short-model-name-500
            await asked(h2o, model="falcon-400b").reply()
        assert (caught.value.kind, caught.value.status) == ("server", 500)


async def test_a_chat_is_folded_and_sampling_travels() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [END], SSE))
        made = ChatRequest(
            model="own/model",
            messages=(
                Message(role="system", content="S"),
                Message(role="user", content="A"),
            ),
            sampling=Sampling(temperature=0.5, stop=("x",)),
        )
        h2o = provider(session, server.url)
        await AnswerStream(lambda: h2o.stream(made), provider="h2o", model="").reply()
        body = server.requests("POST", MESSAGE)[0].json
    assert body["inputs"] == "System: S\nUser: A\nAssistant:"
    assert body["parameters"] == {
        "max_new_tokens": 1024,  # only what an unknown model surely takes
        "return_full_text": False,
        "details": True,
        "temperature": 0.5,
        "stop": ["x"],
    }


async def test_what_cannot_be_honoured_is_refused_before_anything_is_sent() -> None:
    async with stage() as server, Session() as session:
        h2o = provider(session, server.url)
        for made in (
            request("Hi", unknown=1),
            request("Hi", temperature=0),
            request(" "),
            ChatRequest(model="", messages=()),
            ChatRequest(
                model="", messages=request("Hi").messages, sampling=Sampling(presence_penalty=1)
            ),
        ):
            with pytest.raises(BadRequestError):
                async with h2o.stream(made):
                    pass
        assert server.calls == []


def test_configuration_that_is_none_is_refused() -> None:
    session = Session()
    with pytest.raises(ConfigError, match="chat-ui-2023, tgi"):
        provider(session, None, dialect="v9")
    with pytest.raises(BadRequestError, match="not a parameter"):
        provider(session, None, options={"x": 1})
    assert provider(session, None, dialect="chat-ui-2023").name == "h2o"
    assert provider(session, "http://h", dialect="tgi").capabilities.conversations is False


async def test_models() -> None:
    async with Session() as session:
        known = await provider(session, None).models()
        assert [model.id for model in known] == list(MODELS)
        own = await provider(session, "http://h", models=("m/x",)).models()
        assert [model.id for model in own] == ["m/x"]
    async with sandboxed() as (_, _, h2o):
        assert [model.id for model in await h2o.models()] == list(MODELS)
    async with stage() as server, Session() as session:
        server.on("GET", "/__data.json", Answer(302, headers={"location": "/login"}))
        with pytest.raises(AuthError):
            await provider(session, server.url).models()


# -- session, modal, Referer --------------------------------------------------------------------


async def test_rule_20_a_secure_cookie_is_carried_over_plain_http() -> None:
    async with sandboxed(secure_cookie=True) as (_, _, h2o):
        assert (await asked(h2o).reply()).text == "Hi"


async def test_each_call_has_a_session_of_its_own() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [END], SSE))
        h2o = provider(session, server.url, cookies={"gate": "open"})
        await asked(h2o).reply()
        one, two, three, four = server.seen
        assert one.headers["cookie"] == "gate=open"
        for seen in (two, three, four):
            assert seen.headers["cookie"] == (
                "gate=open; hf-chat=00000000-0000-4000-8000-000000000000"
            )


async def test_the_modal_is_accepted_once_for_a_session_of_the_callers_own() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [END], SSE))
        h2o = provider(session, server.url, cookies={"hf-chat": "own"})
        await asked(h2o).reply()
        await asked(h2o).reply()
        assert server.calls.count("POST /settings") == 1
        # The server forgot the session: its 405 is told, and the next call starts over.
        server.on("POST", "/conversation", said(405, {"error": "accept the welcome modal"}))
        with pytest.raises(ForbiddenError, match="welcome modal"):
            await asked(h2o).reply()
        routed(server, Answer(200, [END], SSE))
        await asked(h2o).reply()
        assert server.calls.count("POST /settings") == 2


async def test_the_other_scheme_is_tried_once_where_the_referer_is_foreign() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [END], SSE))
        foreign = Answer(403, [b"Invalid referer for POST request"])
        server.on("POST", "/settings", foreign, Answer(200, [b"{}"]))
        h2o = provider(session, server.url)
        await asked(h2o).reply()
        await asked(h2o).reply()
        origin = server.url.removeprefix("http://")
        assert [seen.headers["referer"] for seen in server.requests("POST", "/settings")] == [
            f"http://{origin}/",
            f"https://{origin}/",
            f"https://{origin}/",  # remembered
        ]
        server.on("POST", "/settings", foreign)
        with pytest.raises(ForbiddenError):
            await asked(h2o).reply()
        assert server.calls.count("POST /settings") == 5


async def test_a_referer_that_a_proxy_takes_away_is_told_at_once() -> None:
    async with stage() as server, Session() as session:
        server.on(
            "POST", "/settings", Answer(403, [b"Non-JSON form requests need to have a referer"])
        )
        with pytest.raises(ForbiddenError, match="need to have a referer"):
            await asked(provider(session, server.url)).reply()
        assert server.calls == ["POST /settings"]


async def test_a_login_is_told_and_nothing_is_left() -> None:
    async with sandboxed(login=True) as (sandbox, _, h2o):
        with pytest.raises(AuthError) as caught:
            await asked(h2o).reply()
        assert caught.value.status == 401
        assert calls(sandbox, "h2o") == ["POST /settings 401"]


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "question", "error"),
    [
        ({"loading": True}, "Hi", OverloadedError),
        ({"max_concurrent": 0}, "Hi", OverloadedError),
        ({"gone": (FALCON_40B,)}, "Hi", ModelNotFoundError),
        ({}, "x" * 600_000, TooLargeError),
    ],
)
async def test_rules_1_to_3_a_refused_message_is_told_and_its_conversation_deleted(
    options: dict[str, Any], question: str, error: type[PenstockError]
) -> None:
    async with sandboxed(**options) as (sandbox, _, h2o):
        with pytest.raises(error):
            await asked(h2o, question).reply()
        assert len([call for call in calls(sandbox, "h2o") if call.startswith("DELETE")]) == 1
        assert not [call for call in calls(sandbox, "h2o") if "stop-generating" in call]


async def test_rule_3_a_failure_in_the_stream_deletes_and_keeps_the_text() -> None:
    async with sandboxed(Held(" a", " b", ModelFailure("CUDA"))) as (sandbox, _, h2o):
        with pytest.raises(ModelError, match="CUDA") as caught:
            await asked(h2o).reply()
        assert (caught.value.partial, caught.value.status) == (" a b", 200)
        assert not [call for call in calls(sandbox, "h2o") if "stop-generating" in call]


async def test_the_limit_of_messages_is_told() -> None:
    async with sandboxed(rate_limit=1) as (_, _, h2o):
        conversation = h2o.conversation("")
        for _ in range(2):
            await asked(h2o, conversation=conversation).reply()
        with pytest.raises(RateLimitError):
            await asked(h2o, conversation=conversation).reply()
        await conversation.delete()


@pytest.mark.parametrize("closed", ["clean", "reset"])
async def test_rule_19_an_answer_that_breaks_off_is_no_answer(closed: str) -> None:
    async with stage() as server, Session() as session:
        parts = [token(" a"), token(" b"), token(" lost")[:-9]]
        routed(server, Answer(200, parts, SSE, closed=closed))
        answer = asked(provider(session, server.url))
        with pytest.raises(TruncatedError) as caught:
            await answer.reply()
        assert (caught.value.partial, caught.value.status) == (" a b", 200)
        assert server.calls[-1] == f"DELETE {MESSAGE}"
        # A line that broke says nothing of the generation behind it; one that ended does.
        stopped = f"POST {MESSAGE}/stop-generating" in server.calls
        assert stopped is (closed == "reset")


async def test_an_answer_in_one_piece_is_read() -> None:
    async with stage() as server, Session() as session:
        routed(server, said(200, [{"generated_text": " Hi"}]))
        reply = await asked(provider(session, server.url)).reply()
        assert (reply.text, reply.finish_reason) == (" Hi", None)


async def test_rule_21_keep_alives_hold_the_line_but_are_no_content() -> None:
    hold = asyncio.Event()
    async with sandboxed(Held(" a", hold), keep_alive=0.02) as (sandbox, session, _):
        patient = provider(session, sandbox.urls["h2o"])
        assert ProviderConfig(name="h2o").timeouts.total is None
        limits = Timeouts(idle=0.15)
        h2o = provider(session, sandbox.urls["h2o"], timeouts=limits)
        with pytest.raises(StreamTimeoutError) as caught:
            await asked(h2o).reply()
        assert (caught.value.phase, caught.value.partial) == ("idle", " a")
        answer = asked(patient)
        assert await answer.next_batch()
        assert [event.text for event in await answer.next_batch() or () if isinstance(event, Text)]
        hold.set()
        while await answer.next_batch():
            pass
        assert answer.partial == " a"


async def test_a_cleanup_that_fails_is_noted_and_changes_nothing() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a"), END], SSE))
        server.on("DELETE", MESSAGE, said(500, {"message": "Internal Error"}))
        assert (await asked(provider(session, server.url)).reply()).text == " a"
        assert session.outbox.failed == [f"h2o: delete conversation {ID}"]


async def test_a_stop_that_fails_does_not_keep_the_deletion_back() -> None:
    hold = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a"), hold], SSE))
        server.on("POST", f"{MESSAGE}/stop-generating", Answer(closed="reset"))
        async with asked(provider(session, server.url)) as answer:
            await answer.next_batch()
            await answer.next_batch()
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.outbox.failed == []


async def test_an_answer_without_an_id_is_no_conversation() -> None:
    async with stage() as server, Session() as session:
        routed(server)
        server.on("POST", "/conversation", said(200, {}))
        with pytest.raises(PenstockError, match="without naming it") as caught:
            await asked(provider(session, server.url)).reply()
        assert caught.value.kind == "protocol"


# -- leaving ------------------------------------------------------------------------------------


async def test_rule_5_leaving_early_stops_then_deletes() -> None:
    hold = asyncio.Event()
    async with sandboxed(Held(" a", hold, " b")) as (sandbox, session, h2o):
        async with asked(h2o) as answer:
            async for piece in answer.text():
                assert piece == " a"
                break
        ident = answer.started and answer.started.conversation_id
        assert calls(sandbox, "h2o")[2:] == [
            f"POST /conversation/{ident} 200",
            f"POST /conversation/{ident}/stop-generating 200",
            f"DELETE /conversation/{ident} 200",
        ]
        assert session.open_connections == 0


async def test_leaving_after_the_last_piece_does_not_stop_what_has_ended() -> None:
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a") + END], SSE))
        made = request("Hi")
        async with provider(session, server.url).stream(made) as batches:
            async for batch in batches:
                if any(isinstance(event, Text) for event in batch):
                    break
        assert server.calls[-2:] == [f"POST {MESSAGE}", f"DELETE {MESSAGE}"]


async def test_the_answer_can_be_closed_by_another_task_than_its_readers() -> None:
    hold = asyncio.Event()
    async with sandboxed(Held(" a", hold)) as (_, _, h2o):
        answer = asked(h2o)

        async def drain() -> None:
            while await answer.next_batch():
                pass

        reader = asyncio.create_task(drain())
        await until(lambda: answer.partial == " a")
        await answer.aclose()
        with pytest.raises(PenstockError):
            await reader


async def test_cancelled_while_the_modal_is_accepted() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        server.on("POST", "/settings", Answer(before=gate))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls == ["POST /settings"])
        await cancelled(work)
        assert session.open_connections == 0
        assert session.outbox.pending == []


async def test_cancelled_while_a_conversation_is_opened_leaves_none_behind() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server)
        opening = said(200, {"conversationId": ID})
        opening.before = gate
        server.on("POST", "/conversation", opening)
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == ["POST /conversation"])
        await cancelled(work)
        assert session.outbox.pending == ["h2o: delete a conversation that is being opened"]
        gate.set()
        assert await session.outbox.drain() == []
        assert server.calls[-2:] == ["POST /conversation", f"DELETE {MESSAGE}"]


async def test_a_session_that_closes_while_a_conversation_is_opened_ends_the_call() -> None:
    gate = asyncio.Event()
    async with stage() as server:
        routed(server)
        server.on("POST", "/conversation", Answer(before=gate))
        async with Session() as session:
            work = asyncio.create_task(asked(provider(session, server.url)).reply())
            await until(lambda: server.calls[-1:] == ["POST /conversation"])
            assert await session.aclose(0) == ["h2o: delete a conversation that is being opened"]
            with pytest.raises(NetworkError, match="session was closed"):
                await work


async def test_cancelled_before_the_headers() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server, Answer(before=gate))
        work = asyncio.create_task(asked(provider(session, server.url)).reply())
        await until(lambda: server.calls[-1:] == [f"POST {MESSAGE}"])
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        assert server.calls[-2:] == [f"POST {MESSAGE}/stop-generating", f"DELETE {MESSAGE}"]
        assert session.open_connections == 0


@pytest.mark.parametrize("pieces", [(), (" a",), (" a", " b", " c")])
async def test_cancelled_among_the_pieces(pieces: tuple[str, ...]) -> None:
    script = Held(*pieces, asyncio.Event(), " z")
    async with sandboxed(script) as (sandbox, session, h2o):
        answer = asked(h2o)
        work = asyncio.create_task(answer.reply())
        await until(lambda: answer.started is not None and answer.partial == "".join(pieces))
        await cancelled(work)
        await until(lambda: not session.outbox.pending)
        ends = [call.rpartition("/")[2] for call in calls(sandbox, "h2o")[-2:]]
        assert ends[0] == "stop-generating 200"
        assert calls(sandbox, "h2o")[-1].startswith("DELETE")
        assert session.open_connections == 0


async def test_cancelled_again_during_the_cleanup() -> None:
    gate = asyncio.Event()
    async with stage() as server, Session() as session:
        routed(server, Answer(200, [token(" a"), asyncio.Event()], SSE))
        server.on("DELETE", MESSAGE, Answer(before=gate))

        async def leave_early() -> None:
            async with asked(provider(session, server.url)) as answer:
                await answer.next_batch()

        work = asyncio.create_task(leave_early())
        await until(lambda: server.calls[-1:] == [f"DELETE {MESSAGE}"])
        await cancelled(work)
        gate.set()
        assert await session.outbox.drain() == []
        assert session.outbox.failed == []


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with sandboxed() as (sandbox, _, h2o):
        texts = [f"caller {number} says something" for number in range(8)]
        replies = await asyncio.gather(*(asked(h2o, text).reply() for text in texts))
        assert [reply.text for reply in replies] == texts
        conversations: Any = sandbox.state("h2o")["conversations"]
        assert len(conversations["created"]) == 8


# -- conversations ------------------------------------------------------------------------------


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
