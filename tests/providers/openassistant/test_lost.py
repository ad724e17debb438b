"""Lost streams, stalls and orders whose outcome is unknown; rules of wire/openassistant.md 12."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    ModelError,
    NetworkError,
    PenstockError,
    StreamCancelledError,
    StreamTimeoutError,
    TruncatedError,
)
from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.transport import Session
from penstock.types import Text, Timeouts
from tests.providers.openassistant.calls import COOKIE, TIDY, answer, ask, provider
from tests.providers.openassistant.site import (
    CHAT,
    CLOSE,
    Site,
    final,
    sends,
    token,
    waits,
)

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
    assert caught.value.status == 200
    assert not isinstance(caught.value, RuntimeError)  # the server said nothing


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


async def test_who_is_cancelled_does_not_wait_for_the_deletion(
    session: Session, site: Site
) -> None:
    site.held = {"POST question": asyncio.Event(), "DELETE chat": asyncio.Event()}
    asking = asyncio.create_task(ask(provider(session, site)))
    await site.until(lambda: "POST question" in site.log)
    began = asyncio.get_running_loop().time()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.get_running_loop().time() - began < 2.0
    await site.until(lambda: site.log[-1] == "DELETE chat")
    site.held["DELETE chat"].set()
    assert await session.outbox.drain(2.0) == []


async def test_an_order_that_broke_off_is_looked_for_before_the_chat_is_deleted(
    session: Session, site: Site
) -> None:
    site.held["POST answer"] = asyncio.Event()
    site.states = [("in_progress", None), ("in_progress", None), ("complete", "x")]
    one = provider(session, site, timeouts=Timeouts(first_content=0.5))
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


async def test_a_chat_that_waits_for_its_answer_to_end_is_hidden_meanwhile(
    session: Session, site: Site
) -> None:
    """Section 9: who does not wait hides the chat; a program that ends cannot wait for long."""
    site.stream = waits()
    site.states = [("in_progress", None)]
    stream = answer(provider(session, site, Pace(poll=0.005, hide=0.02)))
    async with stream:
        await stream.next_batch()
    await site.until(lambda: "PUT chat" in site.log)
    assert "DELETE chat" not in site.log
    site.states = [("complete", "Hi")]
    await session.outbox.drain(2.0)
    assert site.count("PUT chat") == 1
    assert site.log[-1] == "DELETE chat"
    assert session.outbox.failed == []
