"""Cog's dialect and its provider (wire/replicate.md section 8)."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.errors import ConfigError, PenstockError, ProtocolError
from penstock.provider import ProviderConfig
from penstock.providers.replicate.dialect.cog import (
    CogDecoder,
    cog_cancel,
    cog_error,
    cog_request,
    decode_cog,
)
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.providers.replicate.provider import create_cog
from penstock.transport import Session
from penstock.types import Event, Finished, Sampling, Started, Text
from tests.providers.replicate.calls import ask, cancelled, cog, stream
from tests.providers.replicate.reads import failure, texts
from tests.providers.replicate.upstream import SSE, Answer, Upstream, events, said


def fed(*parts: bytes, stops: tuple[str, ...] = ()) -> tuple[list[Event], CogDecoder]:
    decoder = CogDecoder(Transcript(stops))
    return [event for part in parts for event in decoder.feed(part)], decoder


def frame(event: str, data: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def test_cog_requests() -> None:
    request = cog_request("http://h:5000", {"prompt": "x"}, stream=True)
    assert request.url == "http://h:5000/predictions"
    assert json.loads(request.body) == {"input": {"prompt": "x"}}
    assert dict(request.headers)["Accept"] == "text/event-stream"
    plain = cog_request("http://h:5000", {}, stream=False)
    assert dict(plain.headers)["Accept"] == "application/json"
    assert cog_cancel("http://h:5000", "c1").url == "http://h:5000/predictions/c1/cancel"


def test_cog_streams_json_chunks() -> None:
    found, decoder = fed(
        frame("start", {"id": "c1", "status": "processing"}),
        frame("log", {"source": "stdout", "data": "x"}),
        frame("metric", {"name": "n"}),
        frame("output", {"chunk": "a\n", "index": 0}),
        frame("output", {"chunk": "", "index": 1}),
        frame("completed", {"id": "c1", "output": ["a\n", "", "b"], "status": "succeeded"}),
        frame("output", {"chunk": "late", "index": 9}),
    )
    assert found == [Started(id="c1"), Text("a\n"), Text("b"), Finished("stop")]
    assert decoder.done
    assert decoder.ended


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (frame("completed", {"status": "failed", "error": "boom", "output": ["a"]}), "model"),
        (frame("completed", {"status": "processing"}), "protocol"),
        (frame("completed", []), "protocol"),
        (frame("error", {"error": "history was dropped"}), "model"),
        (frame("output", {"chunk": {"not": "text"}}), "protocol"),
        (frame("start", {"id": 7}), "protocol"),
        (b"", "truncated"),
    ],
)
def test_cog_streams_that_fail_keep_their_text(last: bytes, kind: str) -> None:
    found, decoder = fed(frame("output", {"chunk": "a"}), last, stops=("ab",))
    found += decoder.eof()
    assert failure(decoder).kind == kind
    assert texts(found) == (["a"] if kind in ("model", "truncated") else [])


def test_cog_cancelled_and_stopped() -> None:
    found, decoder = fed(frame("completed", {"status": "canceled", "output": ["a"]}))
    assert found == [Text("a"), Finished("cancelled")]
    both = frame("output", {"chunk": "a EN"}) + frame("output", {"chunk": "D b"})
    found, decoder = fed(both + frame("output", {"chunk": "c"}), stops=("END",))
    assert found == [Text("a "), Finished("stop")]
    assert decoder.done
    assert not decoder.ended


def test_cog_refusals() -> None:
    for status, kind in ((409, "overloaded"), (503, "overloaded"), (422, "bad_request")):
        body = b'{"detail":[{"loc":["body","input","n"],"msg":"too big","type":"e"}]}'
        error = cog_error(status, {}, body, provider="cog", model="m")
        assert (error.kind, error.detail) == (kind, "input.n: too big")
    for answer in (b"{}", b"[]", b"<html>"):
        with pytest.raises(ProtocolError):
            decode_cog(answer)


def test_a_plain_answer_of_cog() -> None:
    body = (
        b'{"id":"c1","logs":"","metrics":{"predict_time":0.1},"output":["a"],"status":"succeeded"}'
    )
    answer = decode_cog(body)
    assert (answer.text, answer.terminal, answer.usage) == ("a", True, None)


def chunk(text: str) -> bytes:
    return b"event: output\ndata: " + json.dumps({"chunk": text, "index": 0}).encode() + b"\n\n"


START = b'event: start\ndata: {"id":"c1","status":"processing"}\n\n'


async def test_a_model_that_does_not_stream_is_asked_plainly(
    server: Upstream, session: Session
) -> None:
    plain = said(200, {"id": "c1", "output": ["o", "k"], "status": "succeeded"})
    server.on("POST", "/predictions", said(406, {"error": "no stream"}), plain)
    some = cog(session, server)
    reply = await stream(some, ask(sampling=Sampling(stop=("k",)))).reply()
    assert reply.text == "o"
    assert [seen.headers["accept"] for seen in server.seen] == [
        "text/event-stream",
        "application/json",
    ]
    assert server.seen[0].headers["x-own"] == "1"
    assert server.seen[0].json == {"input": {"prompt": "x", "stop_sequences": "k"}}
    await stream(some, ask()).reply()
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (said(409, {"error": "busy", "status": "failed"}), "overloaded"),
        (said(503, {"error": "setup", "status": "failed"}), "overloaded"),
        (Answer(400, [b"bad JSON"], {"content-type": "text/plain"}), "bad_request"),
        (said(200, {"status": "failed", "error": "boom", "output": ["pa", "rt"]}), "model"),
        (said(200, {"id": "c1", "status": "starting"}), "protocol"),
        (said(200, {"id": "c1"}), "protocol"),
        (said(200, []), "protocol"),
        (events(START, chunk("part"), closed="clean"), "truncated"),
    ],
)
async def test_what_cog_refuses(
    server: Upstream, session: Session, answer: Answer, kind: str
) -> None:
    server.on("POST", "/predictions", answer)
    with pytest.raises(PenstockError) as failed:
        await stream(cog(session, server), ask()).reply()
    assert failed.value.kind == kind
    if kind in ("model", "truncated"):
        assert failed.value.partial == "part"


async def test_leaving_cog_closes_and_cancels(server: Upstream, session: Session) -> None:
    server.on("POST", "/predictions", events(START, chunk("a")))
    async with stream(cog(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    await server.until(lambda: server.streaming == 0)
    assert [seen.path for seen in server.seen] == ["/predictions", "/predictions/c1/cancel"]


async def test_cancelling_cog_goes_through_at_once(server: Upstream, session: Session) -> None:
    server.on("POST", "/predictions", events(START))
    answer = stream(cog(session, server), ask())
    task = asyncio.create_task(answer.reply())
    assert await cancelled(server, task, lambda: answer.started is not None) < 0.2
    await server.until(lambda: server.cancels == 1 and server.streaming == 0)


async def test_cancelling_cog_before_its_start_closes_the_request(
    server: Upstream, session: Session
) -> None:
    server.on("POST", "/predictions", Answer(200, [], dict(SSE), "open"))
    answer = stream(cog(session, server), ask())
    task = asyncio.create_task(answer.reply())
    assert await cancelled(server, task, lambda: server.streaming == 1) < 0.2
    await server.until(lambda: server.streaming == 0)
    assert server.cancels == 0


async def test_cog_tells_of_dropped_parameters(server: Upstream, session: Session) -> None:
    done = {"id": "c1", "status": "succeeded", "output": ["a"]}
    completed = b"event: completed\ndata: " + json.dumps(done).encode() + b"\n\n"
    server.on("POST", "/predictions", events(START, chunk("a"), completed, closed="clean"))
    request = ask(sampling=Sampling(seed=3))
    reply = await stream(cog(session, server), request).reply()
    assert [notice.code for notice in reply.warnings] == ["parameter_dropped"]
    assert [model.id for model in await cog(session, server).models()] == ["default"]


async def test_cog_needs_its_address(session: Session) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        create_cog(session, ProviderConfig(name="cog"))
