"""The provider on real sockets: lost streams, refusals, cleanup in every path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from penstock.errors import (
    AuthError,
    BadRequestError,
    MissingAuthError,
    ModelError,
    ModelNotFoundError,
    NetworkError,
    OverloadedError,
    PenstockError,
    ProtocolError,
    ResponseStatusError,
    StreamCancelledError,
    StreamTimeoutError,
    TooLargeError,
    TruncatedError,
)
from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider, create
from penstock.providers.openassistant.reader import Pace
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Message,
    Reply,
    Started,
    Text,
    Timeouts,
    Waiting,
)
from tests.providers.openassistant.site import (
    ANSWER,
    CHAT,
    CLOSE,
    QUESTION,
    Site,
    final,
    frame,
    pending,
    running,
    sends,
    token,
)

QUICK = Pace(silence=0.2, look_every=0.02, poll=0.005, poll_most=0.01, patience=2.0)
COOKIE = {"next-auth.session-token": "t0ken"}
TIDY = ["POST chat", "POST question", "POST answer", "POST events", "DELETE chat"]


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as one:
        yield one


@pytest_asyncio.fixture
async def session(site: Site) -> AsyncIterator[Session]:  # ends before the site does
    async with Session() as one:
        yield one
        await one.outbox.drain(2.0)
        assert one.open_connections == 0


def provider(
    session: Session, site: Site, pace: Pace = QUICK, **config: Any
) -> OpenAssistantProvider:
    if not config.keys() & {"api_key", "options", "cookies"}:
        config["cookies"] = COOKIE
    return OpenAssistantProvider(
        session, ProviderConfig(name="openassistant", base_url=site.url, **config), pace=pace
    )


def answer(
    one: OpenAssistantProvider, text: str = "Why?", conversation: Conversation | None = None
) -> AnswerStream:
    request = ChatRequest(model="m", messages=(Message("user", text),), conversation=conversation)
    return AnswerStream(lambda: one.stream(request), provider="openassistant", model="m")


async def ask(one: OpenAssistantProvider, **more: Any) -> Reply:
    return await answer(one, **more).reply()


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
    await ask(one, text="Two", conversation=thread)
    assert site.count("POST question") == 3
    assert "DELETE chat" not in site.log


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


# -- lost streams ----------------------------------------------------------------------------------


async def test_rule_2_a_clean_end_without_a_terminal_event_is_looked_into(
    session: Session, site: Site
) -> None:
    site.stream = sends(token("four"))
    site.states = [("in_progress", None), ("complete", "fourteen")]
    reply = await ask(provider(session, site))
    assert reply.text == "fourteen"
    assert site.count("POST events") == 1  # never opened twice: section 7


async def test_rule_2_an_answer_that_cannot_be_read_is_cut(session: Session, site: Site) -> None:
    site.stream = sends(token("four"), token("\ufffd"))
    site.refusals["GET message"] = (404, b"")
    with pytest.raises(TruncatedError) as caught:
        await ask(provider(session, site))
    assert caught.value.partial == "four\ufffd"


async def test_rule_2_an_answer_that_never_ends_is_cut_when_the_time_is_over(
    session: Session, site: Site
) -> None:
    """Section 4: after a crash of the server a message stays in progress for ever."""
    site.stream = sends(token("four"))
    site.states = [("in_progress", None)]
    pace = Pace(poll=0.005, patience=0.1)
    with pytest.raises(TruncatedError):
        await ask(provider(session, site, pace, timeouts=Timeouts(idle=0.1)))
    await session.outbox.drain(2.0)
    assert site.log[-1] == "PUT chat"  # hidden, for deleting it would throw a worker out
    assert len(session.outbox.failed) == 1


async def test_rule_3_an_answer_finished_before_its_stream_was_opened(
    session: Session, site: Site
) -> None:
    """Section 7: 200 and an empty body."""
    site.stream = sends()
    site.states = [("complete", "Quick.")]
    reply = await ask(provider(session, site))
    assert reply.text == "Quick."
    assert site.log == [*TIDY[:4], "GET message", "DELETE chat"]


async def test_rule_3_natively_the_empty_answer_is_a_204(session: Session, site: Site) -> None:
    async def nothing(peer: Any) -> None:
        await peer.head(204, CLOSE, chunked=False)

    site.stream = nothing
    reply = await ask(provider(session, site, dialect="native", api_key="t"))
    assert reply.text == "Hi"
    assert "GET events" in site.log


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("aborted_by_worker", ModelError),
        ("timeout", StreamTimeoutError),
        ("cancelled", StreamCancelledError),
    ],
)
async def test_rule_3_a_lost_answer_that_failed_is_a_failure(
    session: Session, site: Site, state: str, error: type[PenstockError]
) -> None:
    site.stream = sends()
    site.states = [(state, None)]
    with pytest.raises(error):
        await ask(provider(session, site))


async def test_a_reset_is_made_good_from_the_message(session: Session, site: Site) -> None:
    site.stream = sends(token("He"), then="reset")
    site.states = [("in_progress", None), ("complete", "Hello")]
    events = [event async for event in answer(provider(session, site))]
    assert [e.text for e in events if isinstance(e, Text)] == ["He", "llo"]
    assert site.count("POST events") == 1


async def test_a_server_that_starts_again_is_waited_for(session: Session, site: Site) -> None:
    site.stream = sends(token("He"), then="reset")
    site.refusals["GET message"] = (500, b"Internal Server Error")
    task = asyncio.create_task(ask(provider(session, site)))
    await site.until(lambda: site.count("GET message") > 2)
    site.refusals.clear()
    site.states = [("complete", "Hello")]
    assert (await task).text == "Hello"


async def test_rule_4_silence_without_heartbeats_is_the_death_of_the_server(
    session: Session, site: Site
) -> None:
    site.stream = sends(token("He"), then="hang")
    site.states = [("complete", "Hello")]
    assert (await ask(provider(session, site))).text == "Hello"


async def test_rule_4_silence_and_no_answer_is_a_timeout(session: Session, site: Site) -> None:
    site.stream = sends(token("He"), then="hang")
    site.refusals["GET message"] = (404, b"")
    with pytest.raises(StreamTimeoutError, match="heartbeat") as caught:
        await ask(provider(session, site))
    assert caught.value.partial == "He"


async def test_rule_4_heartbeats_are_life_of_the_line_only(session: Session, site: Site) -> None:
    async def beats(peer: Any) -> None:
        await peer.head(200, CLOSE)
        await peer.chunk(token("He"))
        while True:
            await peer.chunk(b": ping - 2026-11-21 00:10:17.461777\r\n\r\n")
            await asyncio.sleep(0.02)

    site.stream = beats
    site.states = [("in_progress", None)]
    pace = Pace(silence=0.2, patience=0.05, poll=0.01)
    one = provider(session, site, pace, timeouts=Timeouts(idle=0.3))
    with pytest.raises(StreamTimeoutError, match="stalled") as caught:
        await ask(one)
    assert caught.value.phase == "idle"
    assert site.count("GET message") >= 1


async def test_rule_4_an_answer_that_ended_unseen_is_found_when_the_time_is_over(
    session: Session, site: Site
) -> None:
    """Section 7: another reader may have taken the terminal event."""
    site.stream = sends(token("He"), then="hang")
    site.states = [("complete", "Hello")]
    one = provider(session, site, Pace(), timeouts=Timeouts(idle=0.1))
    assert (await ask(one)).text == "Hello"


async def test_the_total_limit_is_the_last_word(session: Session, site: Site) -> None:
    site.stream = sends(token("He"), then="hang")
    one = provider(session, site, timeouts=Timeouts(total=0.1))
    with pytest.raises(StreamTimeoutError) as caught:
        await ask(one)
    assert caught.value.phase == "total"


def waits(*then: bytes, release: asyncio.Event | None = None) -> Any:
    """A stream that is pending until ``release``, then goes on."""

    async def play(peer: Any) -> None:
        await peer.head(200, CLOSE)
        while release is None or not release.is_set():
            await peer.chunk(pending(0))
            await asyncio.sleep(0.01)
        for data in then:
            await peer.chunk(data)
        await peer.end()

    return play


@pytest.mark.parametrize(
    ("state", "error"), [("cancelled", StreamCancelledError), ("timeout", StreamTimeoutError)]
)
async def test_rule_4_pending_for_ever_is_noticed(
    session: Session, site: Site, state: str, error: type[PenstockError]
) -> None:
    """Section 7: the message was cancelled or timed out, and the stream does not say so."""
    site.stream = waits()
    site.states = [("pending", None), ("pending", None), (state, None)]
    with pytest.raises(error):
        await ask(provider(session, site))


async def test_pending_for_ever_of_an_answer_that_is_there(session: Session, site: Site) -> None:
    site.stream = waits()
    site.states = [("pending", None), ("complete", "Hello")]
    assert (await ask(provider(session, site))).text == "Hello"


async def test_a_look_that_fails_does_not_end_a_stream_that_lives(
    session: Session, site: Site
) -> None:
    release = asyncio.Event()
    site.stream = waits(final("Hi"), release=release)
    site.refusals["GET message"] = (500, b"Internal Server Error")
    task = asyncio.create_task(ask(provider(session, site)))
    await site.until(lambda: site.count("GET message") > 0)
    release.set()
    assert (await task).text == "Hi"


async def test_the_wait_in_the_queue_has_its_own_limit(session: Session, site: Site) -> None:
    site.stream = waits()
    site.states = [("pending", None)]
    pace = Pace(patience=0.05, poll=0.01)
    one = provider(session, site, pace, timeouts=Timeouts(first_content=1.0, waiting=0.1))
    with pytest.raises(StreamTimeoutError) as caught:
        await ask(one)
    assert caught.value.phase == "waiting"


async def test_a_stream_that_cannot_be_opened_is_not_tried_again(
    session: Session, site: Site
) -> None:
    async def slam(peer: Any) -> None:
        peer.reset()

    site.stream = slam
    site.states = [("complete", "Hello")]
    assert (await ask(provider(session, site))).text == "Hello"
    assert site.count("POST events") == 1


async def test_a_server_that_is_not_there_is_a_network_error(session: Session) -> None:
    config = ProviderConfig(name="openassistant", base_url="http://127.0.0.1:1", cookies=COOKIE)
    with pytest.raises(NetworkError):
        await ask(OpenAssistantProvider(session, config))
    assert session.outbox.pending == []


# -- orders whose outcome is unknown ---------------------------------------------------------------


async def test_an_order_that_broke_off_is_looked_for_before_the_chat_is_deleted(
    session: Session, site: Site
) -> None:
    site.held["POST answer"] = asyncio.Event()
    site.states = [("in_progress", None), ("in_progress", None), ("complete", "x")]
    one = provider(session, site, timeouts=Timeouts(first_content=0.1))
    with pytest.raises(StreamTimeoutError):
        await ask(one)
    await session.outbox.drain(2.0)
    rest = site.log[3:]
    assert rest[0] == "GET chat"
    assert set(rest[1:-1]) == {"GET message"}
    assert rest[-1] == "DELETE chat"


async def test_a_chat_whose_answer_lies_cancelled_in_the_queue_is_hidden(
    session: Session, site: Site
) -> None:
    """Section 9: a worker has yet to drop it, and deleting the chat would throw that worker out."""
    site.stream = waits()
    site.states = [("pending", None)]
    stream = answer(provider(session, site))
    async with stream:
        await stream.next_batch()
    site.states = [("cancelled", None)]
    await session.outbox.drain(2.0)
    assert site.log[-1] == "PUT chat"
    assert "DELETE chat" not in site.log
    assert session.outbox.failed == [f"openassistant: delete conversation {CHAT}"]


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
