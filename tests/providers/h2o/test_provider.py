"""The provider for the 2023 chat-ui on real sockets; rules as in wire/h2o.md section 10."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    ForbiddenError,
    ModelError,
    ModelNotFoundError,
    OverloadedError,
    PenstockError,
    RateLimitError,
    ResponseStatusError,
    StreamTimeoutError,
    TooLargeError,
    TruncatedError,
)
from penstock.provider import ProviderConfig
from penstock.providers.h2o.models import ALIASES, FALCON_7B, FALCON_40B, MODELS
from penstock.sandbox.script import ModelFailure
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Message,
    Sampling,
    Started,
    Text,
    Timeouts,
    Usage,
)
from tests.providers.h2o.talk import (
    END,
    ID,
    MESSAGE,
    SSE,
    asked,
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
