"""Streams on real sockets: their ends, cuts, stalls and stop strings."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.errors import PenstockError, ProtocolError, StreamTimeoutError, TruncatedError
from penstock.transport import Session
from penstock.types import Sampling, Started, Text, Timeouts, Waiting
from tests.providers.replicate.calls import GET, STREAM, ask, pieces, provider, stream
from tests.providers.replicate.upstream import (
    DONE,
    KEY,
    Answer,
    Upstream,
    events,
    output,
    prediction,
    said,
)


async def test_usage_and_length_are_known_after_the_end(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    metrics = {"input_token_count": 3, "output_token_count": 7, "tokens_per_second": 1.5}
    server.on("GET", GET, said(200, prediction("succeeded", output=["a"], metrics=metrics)))
    reply = await stream(provider(session, server), ask(sampling=Sampling(max_tokens=7))).reply()
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 7)
    assert not reply.usage.estimated
    reply = await stream(provider(session, server), ask(sampling=Sampling(max_tokens=8))).reply()
    assert reply.finish_reason == "stop"


async def test_token_counts_can_be_spared(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    some = provider(session, server, options={"metrics": False})
    assert (await stream(some, ask()).reply()).usage is None
    assert server.count("GET", GET) == 0


async def test_a_prediction_that_is_not_yet_booked_has_no_usage(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    server.on("GET", GET, said(200, prediction("processing")))
    reply = await stream(provider(session, server), ask()).reply()
    assert (reply.text, reply.finish_reason, reply.usage) == ("a", "stop", None)


async def test_the_text_does_not_wait_for_the_token_counts(
    server: Upstream, session: Session
) -> None:
    gate = asyncio.Event()
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a") + DONE))
    server.on("GET", GET, Answer(200, [json.dumps(prediction("succeeded")).encode()], before=gate))
    async with stream(provider(session, server), ask()) as answer:
        text = answer.text()
        assert await anext(text) == "a"
        gate.set()
        assert [piece async for piece in text] == []
    assert answer.finish_reason == "stop"


async def test_waiting_and_ids_are_events(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    async with stream(provider(session, server), ask()) as answer:
        got = [event async for event in answer]
    assert got[:2] == [Started(id="p1", model="m/o"), Waiting("cold_start", detail="starting")]


async def test_a_stream_that_refuses_is_asked_once_more_with_the_token(
    server: Upstream, session: Session
) -> None:
    urls = {"stream": "https://api.replicate.com/v1/streams/s1"}
    server.creates(said(201, prediction(urls=urls)))
    server.on("GET", STREAM, said(401, {"detail": "no"}), events(output("a"), DONE))
    assert (await stream(provider(session, server), ask()).reply()).text == "a"
    shown = [seen.headers.get("authorization") for seen in server.requests("GET", STREAM)]
    assert shown == [None, f"Bearer {KEY}"]


async def test_a_foreign_stream_that_refuses_gets_no_token(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, said(403, {}))
    server.on("GET", GET, said(200, prediction("succeeded", output=["po", "lled"])))
    assert (await stream(provider(session, server), ask()).reply()).text == "polled"
    assert server.count("GET", STREAM) == 1


async def test_a_stream_of_files_is_not_text(server: Upstream, session: Session) -> None:
    urls = {"stream": "https://stream.replicate.com/v1/files/abc"}
    server.creates(said(201, prediction(urls=urls)))
    server.on("GET", GET, said(200, prediction("succeeded", output="text")))
    assert (await stream(provider(session, server), ask()).reply()).text == "text"
    assert server.count("GET", "/v1/files/abc") == 0


async def test_what_is_no_event_stream_is_not_read_as_one(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, said(200, {"no": "stream"}))
    server.on("GET", GET, said(200, prediction("succeeded", output="text")))
    assert (await stream(provider(session, server), ask()).reply()).text == "text"
    assert server.count("GET", STREAM) == 1


@pytest.mark.parametrize("closed", ["clean", "reset"])
async def test_the_rest_of_a_cut_stream_is_asked_for_rule_6(
    server: Upstream, session: Session, closed: str
) -> None:
    cut = events(b"retry: 5\n\n", output("one ", 0), closed=closed)
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, cut, cut)
    server.on(
        "GET",
        GET,
        said(200, prediction("processing", output=["one ", "two "])),
        said(200, prediction("succeeded", output=["one ", "two ", "three"])),
    )
    got = await pieces(stream(provider(session, server), ask()))
    assert got == ["one ", "two ", "three"]
    ids = [seen.headers.get("last-event-id") for seen in server.requests("GET", STREAM)]
    assert ids == [None, "1700000000:0"]
    assert server.cancels == 0


async def test_events_that_came_before_are_skipped_after_a_reconnect(
    server: Upstream, session: Session
) -> None:
    first = events(b"retry: 5\n\n", output("a", 0), output("b", 1), closed="reset")
    again = events(output("a", 0), output("b", 1), output("a", 2), DONE)
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, first, again)
    assert await pieces(stream(provider(session, server), ask())) == ["a", "b", "a"]


async def test_without_ids_a_cut_stream_is_not_opened_again(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), closed="reset"))
    server.on("GET", GET, said(200, prediction("succeeded", output=["a", "b"])))
    assert await pieces(stream(provider(session, server), ask())) == ["a", "b"]
    assert server.count("GET", STREAM) == 1


async def test_a_stream_that_brings_nothing_gives_way_to_polling(
    server: Upstream, session: Session
) -> None:
    silent = events(b": hi\n\nretry: 5\n\n:408: 408 Request Timeout\n\n", closed="clean")
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, silent)
    server.on("GET", GET, said(200, prediction("succeeded", output=["a"])))
    assert await pieces(stream(provider(session, server), ask())) == ["a"]
    assert server.count("GET", STREAM) == 2


async def test_a_model_that_boots_longer_than_its_stream_stays_open_is_listened_to_again(
    server: Upstream, session: Session
) -> None:
    silent = events(b": hi\n\nretry: 5\n\n:408: 408 Request Timeout\n\n", closed="clean")
    awake = events(output("a"), output("b"), DONE)
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, silent, silent, awake)
    server.on(
        "GET",
        GET,
        said(200, prediction("starting")),
        said(200, prediction("starting")),
        said(200, prediction("processing")),
    )
    async with stream(provider(session, server), ask()) as answer:
        got = [event async for event in answer]
    assert [event.text for event in got if isinstance(event, Text)] == ["a", "b"]
    assert len([event for event in got if isinstance(event, Waiting)]) == 3
    assert server.cancels == 0


@pytest.mark.parametrize("status", ["starting", "processing"])
async def test_a_cold_start_has_a_limit_of_its_own(
    server: Upstream, session: Session, status: str
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b": hi\n\n"), events(output("a"), DONE))
    server.on(
        "GET",
        GET,
        said(200, prediction(status)),
        said(200, prediction(status)),
        said(200, prediction("processing")),
    )
    limits = Timeouts(first_content=1.0)  # the create counts too, and must fit on a busy machine
    answer = stream(provider(session, server, timeouts=limits), ask())
    if status == "starting":
        assert await pieces(answer) == ["a"]
        return
    with pytest.raises(StreamTimeoutError) as failed:
        await answer.reply()
    assert failed.value.phase == "first_content"
    assert server.cancels == 1


async def test_reconnecting_has_an_end(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    drops = [events(b"retry: 1\n\n", output("a", n), closed="clean") for n in range(9)]
    server.on("GET", STREAM, *drops)
    server.on("GET", GET, said(200, prediction("succeeded", output=["a"] * 9)))
    assert await pieces(stream(provider(session, server), ask())) == ["a"] * 6 + ["aaa"]
    assert server.count("GET", STREAM) == 6


async def test_a_cut_stream_that_cannot_be_completed_is_truncated(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("par", None), output("t"), closed="clean"))
    with pytest.raises(TruncatedError) as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.partial == "part"
    assert not failed.value.retryable
    assert server.cancels == 1


async def test_output_that_does_not_continue_the_stream_is_refused(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("abc"), closed="clean"))
    server.on("GET", GET, said(200, prediction("succeeded", output=["xyz"])))
    with pytest.raises(ProtocolError) as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.partial == "abc"


async def test_a_failure_without_words_is_explained_by_the_prediction_rule_5(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    failed_end = b'event: done\ndata: {"reason":"error"}\n\n'
    server.on("GET", STREAM, events(output("a"), failed_end))
    server.on("GET", GET, said(200, prediction("failed", error="E1001: out of memory")))
    with pytest.raises(PenstockError, match="E1001: out of memory") as failed:
        await stream(provider(session, server), ask()).reply()
    assert (failed.value.kind, failed.value.partial) == ("model", "a")
    assert server.cancels == 0


async def test_a_failure_that_nobody_explains_is_a_failure_all_the_same(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b'event: done\ndata: {"reason":"error"}\n\n'))
    with pytest.raises(PenstockError, match="the prediction failed") as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.kind == "model"


async def test_a_live_stream_is_never_cut_rule_10(server: Upstream, session: Session) -> None:
    async def beats(gates: list[asyncio.Event]) -> None:
        for gate in gates:
            await asyncio.sleep(0.1)
            gate.set()

    gates = [asyncio.Event() for _ in range(8)]
    parts: list[bytes | asyncio.Event] = []
    for gate in gates:
        parts += [output("x"), gate]
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(*parts, DONE))
    some = provider(session, server, timeouts=Timeouts.of(0.5))
    async with asyncio.TaskGroup() as group:
        group.create_task(beats(gates))
        reply = await stream(some, ask()).reply()
    assert reply.text == "x" * 8


async def test_a_stalled_stream_is_a_timeout_and_is_cancelled(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b": hi\n\n", output("a")))
    some = provider(session, server, timeouts=Timeouts(idle=0.2))
    with pytest.raises(StreamTimeoutError) as failed:
        await stream(some, ask()).reply()
    assert (failed.value.phase, failed.value.partial) == ("idle", "a")
    assert server.cancels == 1


# -- stop strings ----------------------------------------------------------------------------------


async def test_stop_strings_work_although_they_hold_commas_rule_12(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("see a"), output(",b and on")))
    request = ask(sampling=Sampling(stop=("a,b", "c")))
    reply = await stream(provider(session, server), request).reply()
    assert (reply.text, reply.finish_reason) == ("see ", "stop")
    assert server.cancels == 1
    assert server.count("GET", GET) == 0


async def test_what_was_held_back_is_shown_when_no_stop_string_came(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("see a"), closed="clean"))
    with pytest.raises(TruncatedError) as failed:
        await stream(provider(session, server), ask(sampling=Sampling(stop=("ab",)))).reply()
    assert failed.value.partial == "see a"


async def test_a_polled_answer_is_cut_too(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on("GET", GET, said(200, prediction("processing", output=["one\n", "two"])))
    reply = await stream(provider(session, server), ask(sampling=Sampling(stop=("\n",)))).reply()
    assert reply.text == "one"
    assert server.cancels == 1
