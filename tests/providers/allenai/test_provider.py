"""The Playground's provider on real sockets: against the sandbox, and against scripted servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from penstock.errors import (
    BadRequestError,
    ConfigError,
    NotFoundError,
    PenstockError,
)
from penstock.provider import ProviderConfig
from penstock.providers.allenai.conversation import Conversation
from penstock.providers.allenai.models import BASE_URL
from penstock.providers.allenai.provider import AllenAIProvider
from penstock.sandbox.script import Fixed, Prompt, Said, Thought
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Finished,
    ImagePart,
    Message,
    Reasoning,
    Sampling,
    Started,
    TextPart,
    Tool,
)
from penstock.types import Conversation as JsonConversation
from tests.providers.allenai.calls import (
    MODEL,
    NEW,
    OLD,
    PNG,
    Failing,
    answer,
    nothing_left,
    paths,
    provider,
    question,
    sandbox,
    serving,
    session_of,
    state,
    whole,
)
from tests.providers.allenai.lines import (
    REPLY,
    ROOT,
    chunk,
    message,
    old_object,
    opening,
    said,
    thread,
    typed,
)
from tests.sockets import Peer

# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OLD, NEW, "v5-chat"])
@pytest.mark.parametrize("script", ["multilingual", "code", "blanks", "huge", "empty"])
@pytest.mark.parametrize("cut", [0, 1000])
async def test_answers_come_to_the_byte_and_leave_nothing(
    dialect: str, script: str, cut: int
) -> None:
    served = NEW if dialect == "v5-chat" else dialect
    # The Modal host breaks an empty answer off (section 3.4); the other one does not.
    async with (
        sandbox(served, script, cut=cut, v5=True) as running,
        provider(running.urls["allenai"], dialect=dialect) as made,
    ):
        reply = await whole(made, question(model=MODEL[served]))
        expected = running.servers["allenai"].script
        assert isinstance(expected, Fixed)
        pieces = [piece async for piece in expected.pieces(Prompt(messages=()))]
        assert reply.text == "".join(piece for piece in pieces if isinstance(piece, str))
        assert reply.finish_reason == "stop"
        await nothing_left(running, made)


@pytest.mark.parametrize("dialect", [OLD, NEW])
async def test_rule_15_the_dialect_is_found_out_once(dialect: str) -> None:
    async with sandbox(dialect) as running, provider(running.urls["allenai"]) as made:
        for _ in range(2):
            assert (await whole(made, question(model=MODEL[dialect]))).text == "Hello there"
        posts = [path for path in paths(running) if path.startswith("POST")]
        old, new = "POST /v4/message/stream", "POST /v4/threads/"
        assert posts == ([old, old] if dialect == OLD else [old, new, new])
        assert state(running)["runs"]["started"] == 2  # a 404 ran nothing
        assert made.capabilities.tools == (dialect == NEW)


async def test_a_forced_dialect_is_not_left() -> None:
    async with sandbox() as running, provider(running.urls["allenai"], dialect=OLD) as made:
        with pytest.raises(NotFoundError) as caught:
            await whole(made, question())
        assert caught.value.status == 404
        assert paths(running) == ["POST /v4/message/stream"]
        assert session_of(made).memory == {}


async def test_a_server_with_neither_path_is_said() -> None:
    async def gone(peer: Peer) -> None:
        await peer.request()
        body = b'{"error": {"code": 404, "message": "no"}}'
        await peer.answer(body, 404, "Content-Type: application/json")

    async with serving(gone) as server, provider(server.url) as made:
        with pytest.raises(NotFoundError, match="neither"):
            await whole(made, question())
        assert len(server.heads) == 2


async def test_a_gateways_404_is_no_sign_of_another_dialect() -> None:
    async def page(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"<title>Not here</title>", 404, "Content-Type: text/html")

    async with serving(page) as server, provider(server.url) as made:
        with pytest.raises(NotFoundError, match="Not here"):
            await whole(made, question())
        assert len(server.heads) == 1


async def test_tools_ask_the_newer_dialect_at_once() -> None:
    async with sandbox() as running, provider(running.urls["allenai"]) as made:
        await whole(made, question(tools=(Tool("weather"),)))
        assert "POST /v4/message/stream" not in paths(running)
    async with sandbox(OLD) as running, provider(running.urls["allenai"]) as made:
        with pytest.raises(BadRequestError, match="tools"):
            await whole(made, question(tools=(Tool("weather"),)))
        assert state(running)["runs"]["started"] == 0


async def test_rule_6_the_host_of_an_unknown_model_is_asked_for() -> None:
    request = question(model="olmo-7b-base")  # on inferd, and hidden in the list
    odd = question(model="mm-olmo-uber-model-v4-synthetic", extra={"host": "inferd"})
    async with sandbox(OLD) as running, provider(running.urls["allenai"]) as made:
        assert (await whole(made, request)).text == "Hello there"
        with pytest.raises(PenstockError) as caught:
            await whole(made, odd)
        assert caught.value.kind == "unknown_model"
        with pytest.raises(PenstockError) as caught:
            await whole(made, question(model="gpt-4"))
        assert caught.value.kind == "unknown_model"
        assert paths(running).count("GET /v3/models") == 1


async def test_rule_6_a_model_that_moved_is_asked_on_its_new_host() -> None:
    listed = json.dumps([{"id": "tulu3-405b", "host": "modal"}]).encode()
    bodies: list[bytes] = []

    async def moved(peer: Peer) -> None:
        head = await peer.request()
        body = peer.requests[-1][1]
        if head.startswith("GET"):
            await peer.answer(listed, 200, "Content-Type: application/json")
        elif head.startswith("DELETE"):
            await peer.answer(b"null")
        elif b"modal" not in body:
            no = b'{"error": {"message": "Invalid model/host combination"}}'
            await peer.answer(no, 400, "Content-Type: application/json")
        else:
            bodies.append(body)
            await peer.answer(old_object() + chunk("ok") + old_object("ok", final=True))

    async with serving(moved) as server, provider(server.url) as made:
        for _ in range(2):
            assert (await whole(made, question(model="tulu3-405b"))).text == "ok"
        assert [head.split()[0] for head in server.heads] == [
            *("POST", "GET", "POST", "DELETE"),
            *("POST", "DELETE"),
        ]


async def test_rule_6_a_list_that_fails_leaves_the_refusal() -> None:
    async def refusing(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("POST"):
            no = b'{"error": {"message": "Invalid model/host combination"}}'
            await peer.answer(no, 400, "Content-Type: application/json")
        else:
            await peer.answer(b"<html>")

    async with serving(refusing) as server, provider(server.url, options={"host": "x"}) as made:
        with pytest.raises(PenstockError, match="Invalid model"):
            await whole(made, question(model="new"))
        assert len(server.heads) == 1  # a host that was named is not corrected
    async with serving(refusing) as server, provider(server.url) as made:
        with pytest.raises(PenstockError, match="Invalid model"):
            await whole(made, question(model="new"))


async def test_reasoning_is_no_text() -> None:
    script = Fixed([Thought("hm"), "4", Thought(" ok"), "2"])
    async with sandbox(NEW, script) as running, provider(running.urls["allenai"]) as made:
        reply = await whole(made, question())
        assert (reply.text, reply.reasoning) == ("42", "hm ok")


@pytest.mark.parametrize(
    ("dialect", "model"), [(OLD, "mm-olmo-uber-model-v4-synthetic"), (NEW, "Molmo2-8B")]
)
async def test_images_travel(dialect: str, model: str) -> None:
    look = Message("user", (TextPart("look"), ImagePart(PNG, "image/png", "a.png")))
    async with sandbox(dialect) as running, provider(running.urls["allenai"]) as made:
        request = ChatRequest(model=model, messages=(look,))
        assert (await whole(made, request)).text == "look"
        unsafe = ImagePart(PNG + b"UNSAFE-IMAGE", "image/png", "a.png")
        request = ChatRequest(model=model, messages=(Message("user", (TextPart("x"), unsafe)),))
        with pytest.raises(PenstockError) as caught:
            await whole(made, request)
        assert caught.value.kind == "moderation"


async def test_a_bearer_goes_out_instead_of_an_anonymous_id() -> None:
    async with sandbox() as running:
        url, token = running.urls["allenai"], "sandbox-ai2-token"
        async with provider(url, api_key=token) as made:
            assert (await whole(made, question())).text == "Hello there"
            await nothing_left(running, made)
        async with provider(url, api_key="expired-token") as made:
            with pytest.raises(PenstockError) as caught:
                await whole(made, question())
            assert caught.value.kind == "auth"
            assert "expired-token" not in str(caught.value)


async def test_a_demanded_captcha_is_said_and_a_token_passes_through() -> None:
    async with (
        sandbox(NEW, captcha=True) as running,
        provider(running.urls["allenai"]) as made,
    ):
        with pytest.raises(PenstockError) as caught:
            await whole(made, question(extra={"captchaToken": "bot"}))
        assert caught.value.kind == "captcha"
        assert (await whole(made, question(extra={"captchaToken": "fine"}))).text


async def test_a_temperature_of_zero_is_said() -> None:
    async with sandbox() as running, provider(running.urls["allenai"]) as made:
        reply = await whole(made, question(sampling=Sampling(temperature=0)))
        assert [notice.code for notice in reply.warnings] == ["parameter_dropped"]


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with sandbox() as running, provider(running.urls["allenai"]) as made:
        asked = [question(f"number {number} " * 20) for number in range(12)]
        replies = await asyncio.gather(*(whole(made, request) for request in asked))
        assert [reply.text for reply in replies] == [one.messages[0].text for one in asked]
        await nothing_left(running, made)


# -- conversations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OLD, NEW, "v5-chat"])
async def test_a_conversation_goes_on_and_is_deleted_when_its_owner_says(dialect: str) -> None:
    served = NEW if dialect == "v5-chat" else dialect
    async with (
        sandbox(served, v5=True) as running,
        provider(running.urls["allenai"], dialect=dialect) as made,
    ):
        conversation = made.conversation(MODEL[served])
        account = conversation.x_anonymous_user_id
        first = await whole(made, question("one", model=MODEL[served], conversation=conversation))
        assert first.conversation is conversation
        parent = conversation.parent
        restored = Conversation.from_dict(conversation.to_dict())
        second = await whole(made, question("two", model=MODEL[served], conversation=restored))
        assert second.conversation is restored
        assert restored.id == conversation.id
        assert restored.parent != parent
        assert restored.x_anonymous_user_id == account
        assert [turn["content"] for turn in restored.messages] == ["one", "one", "two", "two"]
        assert len(state(running)["conversations"]["left"]) == 1
        await restored.delete()
        await restored.delete()
        assert state(running)["conversations"]["left"] == []
        assert (restored.id, restored.parent) == (None, None)


async def test_rule_11_the_whole_answer_is_kept() -> None:
    async with (
        sandbox(NEW, Fixed(["a", " ", "b"])) as running,
        provider(running.urls["allenai"]) as made,
    ):
        conversation = made.conversation("")
        assert conversation.model == "tulu3-405b"
        await whole(made, question(conversation=conversation))
        assert conversation.messages[-1] == {"role": "assistant", "content": "a b"}
        await made.delete(conversation)
        await made.delete(conversation)
        assert state(running)["conversations"]["left"] == []


async def test_rule_10_each_call_has_an_account_of_its_own() -> None:
    async def reply(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b"null")
        else:
            await peer.answer(opening() + said("a") + typed("end"))

    async with serving(reply) as server, provider(server.url, dialect=NEW) as made:
        for _ in range(2):
            await whole(made, question())
        conversation = Conversation(x_anonymous_user_id="anna")
        for _ in range(2):
            await whole(made, question(conversation=conversation))
        ids = [
            value.strip()
            for head in server.heads
            for name, _, value in [one.partition(":") for one in head.split("\r\n")]
            if name.lower() == "x-anonymous-user-id"
        ]
        assert ids[0] == ids[1] != ids[2] == ids[3]  # post and delete of each
        assert ids[4:] == ["anna", "anna"]
        assert all("accept: */*" in head.lower() for head in server.heads)


async def test_a_failed_turn_leaves_the_conversation_as_it_was() -> None:
    """Further rule "same parent": not the id of the broken reply."""
    script: dict[str, Any] = {"now": Fixed(["ok"])}

    class Changing:
        async def pieces(self, prompt: Prompt) -> AsyncIterator[Said]:
            async for piece in script["now"].pieces(prompt):
                yield piece

    async with sandbox(NEW, Changing()) as running, provider(running.urls["allenai"]) as made:
        conversation = made.conversation(MODEL[NEW])
        script["now"] = Failing()
        with pytest.raises(PenstockError) as caught:
            await whole(made, question(conversation=conversation))
        assert (caught.value.kind, caught.value.partial) == ("model", "half")
        assert (conversation.id, conversation.messages) == (None, [])
        await nothing_left(running, made)  # the thread of a first turn that failed
        script["now"] = Fixed(["ok"])
        await whole(made, question(conversation=conversation))
        before = conversation.to_dict()
        script["now"] = Failing()
        with pytest.raises(PenstockError):
            await whole(made, question(conversation=conversation))
        assert conversation.to_dict() == before
        script["now"] = Fixed(["again"])
        reply = await whole(made, question(conversation=conversation))
        assert (reply.text, reply.warnings) == ("again", ())
        await conversation.delete()
        await nothing_left(running, made)


async def test_a_branch_that_lost_its_history_is_said_and_deleted_with_the_rest() -> None:
    roots = iter([ROOT, "msg_N1N1N1N1N1"])

    async def reply(peer: Peer) -> None:
        head = await peer.request()
        if head.startswith("DELETE"):
            await peer.answer(b"null", 404)
        else:
            await peer.answer(typed("start", next(roots)) + thread() + typed("end"))

    async with serving(reply) as server, provider(server.url, dialect=NEW) as made:
        conversation = made.conversation("m")
        await whole(made, question(conversation=conversation))
        lost = await whole(made, question(conversation=conversation))
        assert [notice.code for notice in lost.warnings] == ["history_lost"]
        assert (conversation.id, conversation.detached) == ("msg_N1N1N1N1N1", [ROOT])
        await conversation.delete()
        assert [head.split()[1] for head in server.heads[2:]] == [
            "/v3/message/msg_N1N1N1N1N1",
            f"/v3/message/{ROOT}",
        ]


async def test_tool_results_are_posted_one_by_one() -> None:
    """2026-user-tool-and-result, with two calls."""
    calls = [{"toolName": "a", "toolCallId": "c1"}, {"toolName": "b", "toolCallId": "c2"}]
    asked = thread(message(ROOT, "user"), message(toolCalls=calls))
    first = thread(message("msg_T1T1T1T1T1", "tool_call_result", toolCalls=calls[:1]))
    second = thread(message("msg_T2T2T2T2T2", "tool_call_result"), message("msg_C3C3C3C3C3"))
    bodies = iter([opening() + asked, typed("start") + first, typed("start") + second + said("ok")])
    posted: list[bytes] = []

    async def reply(peer: Peer) -> None:
        await peer.request()
        posted.append(peer.requests[-1][1])
        await peer.answer(next(bodies) + typed("end"))

    async with serving(reply) as server, provider(server.url, dialect=NEW) as made:
        conversation = made.conversation("m")
        tools = (Tool("a"), Tool("b"))
        called = await whole(made, question(conversation=conversation, tools=tools))
        assert called.finish_reason == "tool_calls"
        results = tuple(Message("tool", one, tool_call_id=one) for one in ("c1", "c2"))
        reply_ = await whole(
            made, ChatRequest(model="m", messages=results, conversation=conversation)
        )
        assert reply_.text == "ok"
        assert conversation.parent == "msg_C3C3C3C3C3"
        assert [REPLY.encode() in body for body in posted] == [False, True, False]
        assert b"msg_T1T1T1T1T1" in posted[2]
        assert [turn["role"] for turn in conversation.messages] == [
            *("user", "assistant"),
            *("tool", "tool", "assistant"),
        ]


async def test_a_stored_message_moves_no_conversation() -> None:
    async def stored(peer: Peer) -> None:
        await peer.request()
        await peer.answer(old_object("x", final=True).rstrip())

    async with serving(stored) as server, provider(server.url, dialect=OLD) as made:
        conversation = made.conversation("tulu3-405b")
        request = question(model="m", conversation=conversation, extra={"role": "assistant"})
        reply = await whole(made, request)
        assert (reply.text, reply.finish_reason) == ("", None)
        assert (conversation.parent, conversation.messages) == (None, [])
        assert len(server.heads) == 1


async def test_conversations_of_others_are_refused() -> None:
    async with provider("http://127.0.0.1:9") as made:
        with pytest.raises(BadRequestError, match="conversation"):
            await whole(made, question(conversation=JsonConversation()))
        with pytest.raises(BadRequestError, match="another provider"):
            await made.delete(JsonConversation())
        with pytest.raises(BadRequestError, match="x_anonymous_user_id"):
            await whole(made, question(conversation=Conversation(x_anonymous_user_id="a\nb")))


# -- the rest of the contract ----------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OLD, NEW])
async def test_models_come_from_the_servers_list(dialect: str) -> None:
    async with sandbox(dialect) as running, provider(running.urls["allenai"]) as made:
        found = {model.id: model for model in await made.models()}
        assert MODEL[dialect] in found
        assert "olmo-7b-base" not in found  # retired
        wanted = ["GET /v4/models/"] if dialect == NEW else ["GET /v4/models/", "GET /v3/models"]
        assert paths(running) == wanted
        await whole(made, question(model=MODEL[dialect]))
        await made.models()
        assert paths(running)[-1] == wanted[-1]
        if dialect == NEW:
            assert found["Olmo-3-7B-Instruct"].limits["temperature"] == (0.0, 1.0)
            assert found["Molmo2-8B"].images
            assert found["Molmo2-8B"].needs_image
            assert found["tulu3-405b"].aliases == ("tulu-3-405b",)


async def test_models_that_the_configuration_names_are_the_list() -> None:
    async with provider("http://127.0.0.1:9", models=("mine",)) as made:
        assert [model.id for model in await made.models()] == ["mine"]


@pytest.mark.parametrize(("status", "kind"), [(404, "not_found"), (500, "server")])
async def test_models_that_cannot_be_asked_for(status: int, kind: str) -> None:
    async def reply(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"{}", status, "Content-Type: application/json")

    async with serving(reply) as server, provider(server.url) as made:
        with pytest.raises(PenstockError) as caught:
            await made.models()
        assert caught.value.kind == kind
        assert len(server.heads) == (2 if status == 404 else 1)


async def test_settings_are_checked_when_the_provider_is_made() -> None:
    async with Session() as session:
        config = ProviderConfig(name="allenai")
        with pytest.raises(BadRequestError, match=r"privat is not a parameter.*private"):
            AllenAIProvider(session, config.with_(options={"privat": True}))
        with pytest.raises(BadRequestError, match="true or false"):
            AllenAIProvider(session, config.with_(options={"private": "no"}))
        with pytest.raises(ConfigError, match="no dialect"):
            AllenAIProvider(session, config.with_(dialect="v4"))
        made = AllenAIProvider(session, config)
        assert made._config.base_url == BASE_URL
        with pytest.raises(BadRequestError, match="maxTokenz"):
            await whole(made, question(extra={"maxTokenz": 1}))


async def test_configured_headers_and_a_path_prefix_go_out() -> None:
    async def reply(peer: Peer) -> None:
        await peer.request()
        await peer.answer(opening() + said("a") + typed("end"))

    async with serving(reply) as server:
        url = f"{server.url}/ai2/"
        async with provider(url, dialect=NEW, headers={"X-Team": "blue"}) as made:
            await whole(made, question())
        assert server.heads[0].startswith("POST /ai2/v4/threads/ ")
        assert "X-Team: blue" in server.heads[0]


async def test_ids_come_before_text_and_the_end_comes_once() -> None:
    async with sandbox() as running, provider(running.urls["allenai"]) as made:
        events = [event async for event in answer(made, question())]
        kinds = [type(event) for event in events]
        assert kinds[0] is Started
        assert kinds.count(Finished) == 1
        assert kinds[-1] is Finished
        assert Reasoning not in kinds
        assert msgspec.structs.asdict(events[0])["model"] == MODEL[NEW]
