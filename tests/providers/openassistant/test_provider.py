"""The provider on real sockets: lost streams, refusals, cleanup in every path."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    MissingAuthError,
    ModelError,
    ModelNotFoundError,
    OverloadedError,
    PenstockError,
    ProtocolError,
    ResponseStatusError,
    StreamTimeoutError,
    TooLargeError,
)
from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider, create
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Message,
    Started,
    Text,
    Timeouts,
    Waiting,
)
from tests.providers.openassistant.calls import COOKIE, QUICK, TIDY, answer, ask, provider
from tests.providers.openassistant.site import (
    ANSWER,
    CHAT,
    CLOSE,
    QUESTION,
    Site,
    final,
    frame,
    pending,
    sends,
    token,
    waits,
)

# -- one turn --------------------------------------------------------------------------------------


async def test_a_turn_leaves_nothing(session: Session, site: Site) -> None:
    events = [event async for event in answer(provider(session, site))]
    assert events[0] == Started(id=ANSWER, conversation_id=CHAT, model="m")
    assert events[1] == Text("Hi")
    assert site.log == TIDY
    assert site.bodies["POST question"] == {"chat_id": CHAT, "content": "Why?", "parent_id": None}
    assert session.outbox.pending == []
    assert "Cookie: next-auth.session-token=t0ken" in site.heads[0]


async def test_waiting_is_told(session: Session, site: Site) -> None:
    site.stream = sends(pending(2), pending(1), token("Hi"), final("Hi"))
    events = [event async for event in answer(provider(session, site))]
    assert [e.position for e in events if isinstance(e, Waiting)] == [2, 1]


async def test_the_models_are_the_servers(session: Session, site: Site) -> None:
    assert [model.id for model in await provider(session, site).models()] == ["m"]
    named = provider(session, site, models=("a", "b"))
    assert [model.id for model in await named.models()] == ["a", "b"]
    assert site.log == ["GET models"]


async def test_a_stream_that_is_a_page_breaks_the_protocol(session: Session, site: Site) -> None:
    async def page(peer: Any) -> None:
        await peer.answer(b"<html>maintenance</html>", 200, CLOSE, "Content-Type: text/html")

    site.stream = page
    with pytest.raises(ProtocolError, match="text/html"):
        await ask(provider(session, site))
    await site.until(lambda: "DELETE chat" in site.log)


# -- conversations ---------------------------------------------------------------------------------


async def test_a_conversation_goes_on_from_the_last_answer(session: Session, site: Site) -> None:
    one = provider(session, site)
    thread = one.conversation("m")
    await ask(one, text="One", conversation=thread)
    assert (thread.id, thread.parent) == (CHAT, ANSWER)
    reply = await ask(one, text="Two", conversation=thread)
    assert reply.conversation is thread
    assert site.bodies["POST question"]["parent_id"] == ANSWER
    assert site.count("POST chat") == 1
    assert [turn["content"] for turn in thread.messages] == ["One", "Hi", "Two", "Hi"]
    assert "DELETE chat" not in site.log
    await thread.delete()
    assert site.log[-1] == "DELETE chat"
    assert thread.id is None


async def test_a_conversation_survives_json(session: Session, site: Site) -> None:
    one = provider(session, site)
    thread = one.conversation("m")
    await ask(one, conversation=thread)
    again = Conversation.from_dict(json.loads(json.dumps(thread.to_dict())))
    await ask(one, conversation=again)
    assert site.bodies["POST question"]["parent_id"] == ANSWER


async def test_a_failed_turn_leaves_the_conversation_and_asks_the_same_question_again(
    session: Session, site: Site
) -> None:
    """Section 8: a retry is a new answer on the same question."""
    one = provider(session, site)
    thread = one.conversation("m")
    await ask(one, text="One", conversation=thread)
    before = thread.to_dict()
    good, site.stream = site.stream, sends(token("H"), frame("error", error="no"))
    with pytest.raises(ModelError):
        await ask(one, text="Two", conversation=thread)
    assert thread.to_dict() == before
    site.stream = good
    await ask(one, text="Two", conversation=thread)
    assert site.count("POST question") == 2
    assert site.count("POST answer") == 3
    await ask(one, text="Three", conversation=thread)
    assert site.count("POST question") == 3
    assert "DELETE chat" not in site.log


async def test_the_same_question_on_the_same_parent_is_another_draft(
    session: Session, site: Site
) -> None:
    """Section 1: assistant_message again with the same parent_id."""
    one = provider(session, site)
    thread = one.conversation("m")
    await ask(one, text="One", conversation=thread)
    thread.parent = None
    await ask(one, text="One", conversation=thread)
    assert site.count("POST question") == 1
    assert site.count("POST answer") == 2


async def test_a_conversation_whose_first_turn_failed_is_as_new(
    session: Session, site: Site
) -> None:
    one = provider(session, site)
    thread = one.conversation("m")
    site.stream = sends(frame("error", error="no"))
    with pytest.raises(ModelError):
        await ask(one, conversation=thread)
    assert thread == Conversation(model="m")
    assert site.log[-1] == "DELETE chat"


async def test_deleting_waits_for_answers_that_a_stranger_sees_unfinished(
    session: Session, site: Site
) -> None:
    """Section 8: a chat with a running answer must not be deleted."""
    site.states = [("in_progress", None), ("in_progress", None), ("complete", "x")]
    await provider(session, site).delete(Conversation(model="m", id=CHAT))
    assert (
        site.log
        == ["GET chat", "GET message", "GET message", "GET message", "DELETE chat"][: len(site.log)]
    )
    assert site.log[-1] == "DELETE chat"


async def test_deleting_what_is_gone_is_a_success(session: Session, site: Site) -> None:
    """oa-delete-twice-and-unknown"""
    one = provider(session, site)
    site.refusals = {"DELETE chat": (500, b"Internal Server Error"), "GET chat": (404, b"")}
    await one.delete(Conversation(model="m", id=CHAT))
    await one.delete(Conversation(model="m"))
    site.refusals.pop("GET chat")
    with pytest.raises(ResponseStatusError):
        await one.delete(Conversation(model="m", id=CHAT))


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "status", "body", "error"),
    [
        ("POST chat", 403, b"", AuthError),  # rule 7
        ("POST chat", 500, b"Internal Server Error", ResponseStatusError),  # rule 8
        ("POST question", 413, b'{"message":"Message content exceeds max length"}', TooLargeError),
        ("POST question", 500, b'{"message":"Something went wrong"}', ResponseStatusError),
        ("POST answer", 422, b'{"message":"Model x not found"}', ModelNotFoundError),
        ("POST answer", 503, b'{"message":"The server is busy."}', OverloadedError),
        ("POST answer", 500, b'{"message":"Something went wrong"}', ResponseStatusError),
        ("POST events", 500, b"Internal Server Error", ResponseStatusError),
    ],
)
async def test_rule_6_every_refusal_cleans_up_and_is_caught_as_documented(
    session: Session, site: Site, route: str, status: int, body: bytes, error: type[PenstockError]
) -> None:
    site.refusals[route] = (status, body)
    for caught in (RuntimeError, aiohttp.ClientResponseError, error):
        with pytest.raises(caught) as failure:
            await ask(provider(session, site))
        assert getattr(failure.value, "status", None) == status
    await session.outbox.drain(2.0)
    assert site.count("DELETE chat") == (0 if route == "POST chat" else 3)


async def test_documented_errors_can_be_shown(session: Session, site: Site) -> None:
    site.refusals["POST answer"] = (422, b'{"message":"Model gpt-4 not found"}')
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await ask(provider(session, site))
    assert "gpt-4" in str(caught.value)
    assert "t0ken" not in repr(caught.value)
    assert site.url not in repr(caught.value)
    assert caught.value.history == ()


async def test_rule_1_an_error_of_the_stream_carries_the_partial_text(
    session: Session, site: Site
) -> None:
    site.stream = sends(token("par"), frame("error", error="Aborted due to worker error."))
    with pytest.raises(ModelError) as caught:
        await ask(provider(session, site))
    assert caught.value.partial == "par"
    assert isinstance(caught.value, RuntimeError)
    assert not isinstance(caught.value, aiohttp.ClientResponseError)
    assert site.log == TIDY


async def test_parameters_out_of_range_are_refused_before_anything_is_sent(
    session: Session, site: Site
) -> None:
    request = ChatRequest(model="m", messages=(Message("user", "x"),), extra={"temperature": 0})
    with pytest.raises(BadRequestError):
        async with provider(session, site).stream(request):
            raise AssertionError
    assert site.log == []


# -- dialects and credentials ----------------------------------------------------------------------


async def test_the_inference_server_is_found_out_once_for_a_session(
    session: Session, site: Site
) -> None:
    site.refusals["POST chat"] = (404, b'{"detail":"Not Found"}')
    one = provider(session, site, api_key="t")
    task = asyncio.create_task(ask(one))
    await site.until(lambda: site.count("POST chat") == 2)
    with pytest.raises(PenstockError):
        await task
    site.refusals.clear()
    assert (await ask(provider(session, site, api_key="t"))).text == "Hi"
    assert [head.split()[1] for head in site.heads][:3] == ["/api/chat", "/chats", "/chats"]
    assert all("Authorization: Bearer t" in head for head in site.heads)


async def test_a_forced_dialect_is_not_doubted(session: Session, site: Site) -> None:
    site.refusals["POST chat"] = (404, b'{"detail":"Not Found"}')
    with pytest.raises(PenstockError):
        await ask(provider(session, site, dialect="website"))
    assert site.log == ["POST chat"]


async def test_a_trusted_client_is_registered_when_it_is_not_known(
    session: Session, site: Site
) -> None:
    """oa-native-auth-errors"""
    client = dict.fromkeys(("api_key", "client", "user_id", "provider_account_id", "username"), "x")
    one = provider(session, site, options={"trusted_client": client})
    site.refusals["POST chat"] = (404, b'{"detail":"User not found"}')
    with pytest.raises(PenstockError) as caught:
        await ask(one)
    assert caught.value.kind == "not_found"
    assert site.log == ["POST chat", "POST trusted", "POST chat"]
    assert all("TrustedClient: ey" in head for head in site.heads)
    site.refusals.clear()
    assert (await ask(one)).text == "Hi"


@pytest.mark.parametrize(
    "config", [{"dialect": "telnet"}, {"options": {"trusted": 1}}, {"cookies": {"a": "b;c"}}]
)
async def test_a_configuration_that_cannot_be_is_refused(
    session: Session, site: Site, config: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError):
        provider(session, site, **config)


async def test_cookies_are_looked_up_where_none_are_given(session: Session, site: Site) -> None:
    hosts: list[str] = []

    def find(host: str) -> dict[str, str]:
        hosts.append(host)
        return COOKIE if len(hosts) > 1 else {}

    config = ProviderConfig(name="openassistant", base_url=site.url)
    one = OpenAssistantProvider(session, config, pace=QUICK, find_cookies=find)
    with pytest.raises(MissingAuthError):
        await ask(one)
    assert site.log == []
    await ask(one)
    await ask(one)
    assert hosts == ["127.0.0.1", "127.0.0.1"]
    assert "t0ken" in site.heads[-1]


def test_the_factory_of_the_registry() -> None:
    session = Session()
    made = create(session, ProviderConfig(name="openassistant"))
    assert made.name == "openassistant"
    assert made.capabilities.conversations


async def test_the_wait_for_the_accounts_slot_is_bounded(session: Session, site: Site) -> None:
    release = asyncio.Event()
    site.stream = waits(final("Hi"), release=release)
    site.states = [("pending", None)]
    first = asyncio.create_task(ask(provider(session, site)))
    await site.until(lambda: "POST events" in site.log)
    with pytest.raises(StreamTimeoutError, match="one place for each account") as caught:
        await ask(provider(session, site, timeouts=Timeouts(waiting=0.05)))
    assert caught.value.phase == "waiting"
    release.set()
    assert (await first).text == "Hi"
    assert site.count("POST answer") == 1


async def test_a_retry_of_a_refused_question_is_a_new_one(session: Session, site: Site) -> None:
    one = provider(session, site)
    thread = one.conversation("m")
    await ask(one, conversation=thread)
    site.refusals["POST question"] = (400, b'{"message":"Parent message is not complete"}')
    with pytest.raises(BadRequestError):
        await ask(one, conversation=thread)
    site.refusals.clear()
    await ask(one, conversation=thread)
    assert site.count("POST question") == 3
    assert site.bodies["POST answer"]["parent_id"] == QUESTION
