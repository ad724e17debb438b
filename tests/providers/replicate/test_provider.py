"""The provider on real sockets: recorded cases, and what happens when things go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from penstock.errors import (
    BadRequestError,
    ConfigError,
    MissingAuthError,
    ModelNotFoundError,
    NotFoundError,
    PenstockError,
    ProtocolError,
    RateLimitError,
    ResponseStatusError,
    StreamTimeoutError,
    TruncatedError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.replicate.provider import create, create_cog
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    ImagePart,
    Message,
    Sampling,
    Started,
    Text,
    TextPart,
    Timeouts,
    Waiting,
)
from tests.providers.replicate.upstream import (
    CASES,
    DONE,
    KEY,
    SSE,
    Answer,
    Upstream,
    events,
    load,
    output,
    play,
    prediction,
    said,
    upstream,
)

MODEL = "meta/meta-llama-3-70b-instruct"
GET = "/v1/predictions/p1"
STREAM = "/v1/streams/s1"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


@pytest_asyncio.fixture
async def session() -> AsyncIterator[Session]:
    async with Session() as running:
        yield running
        assert running.open_connections == 0


def ask(text: str = "x", **more: Any) -> ChatRequest:
    return ChatRequest(model=MODEL, messages=(Message("user", text),), **more)


def provider(session: Session, server: Upstream, **more: Any) -> Provider:
    options = {"poll_interval": 0.01, **more.pop("options", {})}
    config: dict[str, Any] = {"api_key": KEY, "base_url": server.api, **more}
    return create(session, ProviderConfig(name="replicate", options=options, **config))


def stream(some: Provider, request: ChatRequest) -> AnswerStream:
    return AnswerStream(lambda: some.stream(request), provider=some.name, model=request.model)


async def pieces(answer: AnswerStream) -> list[str]:
    return [piece async for piece in answer.text()]


# -- recorded cases ----------------------------------------------------------------------------

CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[i : i + 1] for i in range(len(data))],
}


def request_of(case: dict[str, Any]) -> ChatRequest:
    given = json.loads(case["exchanges"][0]["request"]["body"])["input"]
    system = given.get("system_prompt")
    return ChatRequest(
        model=case.get("model", MODEL),
        messages=(
            *([Message("system", system)] if system else []),
            Message("user", given["prompt"]),
        ),
        sampling=Sampling(max_tokens=given.get("max_tokens"), temperature=given.get("temperature")),
        stream=not case.get("options", {}).get("prefer_wait", False),
    )


async def run(case: dict[str, Any], answer: AnswerStream) -> tuple[list[str], str | None]:
    got: list[str] = []
    limit = case.get("client", {}).get("abort_after_pieces")
    async with answer:
        async for piece in answer.text():
            got.append(piece)
            if limit is not None and len(got) == limit:
                return got, "cancelled"
    return got, answer.finish_reason


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.json")))
async def test_recorded_case(server: Upstream, session: Session, name: str, cut: str) -> None:
    case = load(name)
    play(server, case, CUTS[cut])
    expected = case["expected"]
    cog = case.get("dialect") == "cog"
    more: dict[str, Any] = {"dialect": "cog", "options": {}} if cog else {}
    some = (
        create(session, ProviderConfig(name="replicate", base_url=server.api, dialect="cog"))
        if cog
        else provider(session, server, **more)
    )
    answer = stream(some, request_of(case))
    if "429" in name:  # refused once; the router, not the provider, tries again
        with pytest.raises(RateLimitError) as limited:
            await answer.reply()
        assert limited.value.retry_after == 1
        answer = stream(some, request_of(case))
    if expected["error"] is None:
        got, finish = await run(case, answer)
        assert "".join(got) == expected["text"]
        if "poll" not in name:
            assert got == [piece for piece in expected["pieces"] if piece]
        assert finish == expected["finish"]
    else:
        with pytest.raises(PenstockError) as failed:
            await run(case, answer)
        error = failed.value
        assert error.kind == expected["error"]["kind"]
        assert error.partial == expected["text"]
        assert expected["error"]["status"] in (None, error.status)
        assert expected["error"]["message"] in (error.detail or "")
    check_requests(server, case)


def check_requests(server: Upstream, case: dict[str, Any]) -> None:
    recorded = [
        (exchange["request"]["method"], exchange["request"]["path"])
        for exchange in case["exchanges"]
    ]
    for one in recorded:
        assert one in [(seen.method, seen.path) for seen in server.seen]
    sent = json.loads(case["exchanges"][0]["request"]["body"])
    created = server.create.json
    assert {name: created["input"].get(name) for name in sent["input"]} == sent["input"]
    assert created.get("version") == sent.get("version")
    wanted = [
        value
        for exchange in case["exchanges"]
        for name, value in exchange["request"]["headers"]
        if name == "last-event-id"
    ]
    asked = [
        seen.headers["last-event-id"] for seen in server.seen if "last-event-id" in seen.headers
    ]
    assert asked == wanted
    cancelled = any(path.endswith("/cancel") for _, path in recorded)
    assert server.cancels == (1 if cancelled else 0)


# -- creating ----------------------------------------------------------------------------------


async def test_the_token_goes_to_the_api_and_not_to_the_stream_rule_9(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    some = provider(session, server, headers={"accept": "application/json", "x-own": "1"})
    assert (await stream(some, ask()).reply()).text == "a"
    for seen in server.seen:
        shown = seen.headers.get("authorization")
        assert shown == (None if seen.stream_origin else f"Bearer {KEY}")
        assert seen.headers.get("x-own") == (None if seen.stream_origin else "1")
    assert server.create.headers["accept"] == "application/json"
    assert [seen.stream_origin for seen in server.seen] == [False, False, True, False]


async def test_a_stream_on_another_host_is_not_opened_rule_9(
    server: Upstream, session: Session
) -> None:
    urls = {"stream": "https://stream.example.org/v1/streams/s1"}
    server.creates(said(201, prediction(urls=urls)))
    with pytest.raises(ProtocolError, match=r"may not name: stream\.example\.org"):
        await stream(provider(session, server), ask()).reply()
    assert server.cancels == 1


async def test_urls_of_the_prediction_on_other_hosts_get_no_token(
    server: Upstream, session: Session
) -> None:
    urls = {"get": "https://evil.example.org/g", "cancel": "https://evil.example.org/c"}
    server.creates(said(201, prediction(urls=urls)))
    server.on("GET", GET, said(200, prediction("succeeded", output=["o", "k"])))
    assert (await stream(provider(session, server), ask()).reply()).text == "ok"


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("a/b", "/v1/models/a/b/predictions", None),
        ("a/b:" + "0a" * 32, "/v1/predictions", "0a" * 32),
        ("0a" * 32, "/v1/predictions", "0a" * 32),
        ("deployments/a/b", "/v1/deployments/a/b/predictions", None),
    ],
)
async def test_every_spelling_has_its_endpoint_rule_17(
    server: Upstream, session: Session, model: str, path: str, version: str | None
) -> None:
    server.creates(said(201, prediction("succeeded", output="ok")), path)
    request = ChatRequest(model=model, messages=(Message("user", "x"),))
    assert (await stream(provider(session, server), request).reply()).text == "ok"
    assert server.create.json.get("version") == version
    assert server.create.json["stream"] is True


async def test_an_origin_with_v1_gets_it_once(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction("succeeded", output="ok")))
    some = provider(session, server, base_url=f"{server.api}/v1")
    assert (await stream(some, ask()).reply()).text == "ok"


async def test_no_key_is_said_before_anything_is_sent(server: Upstream, session: Session) -> None:
    with pytest.raises(MissingAuthError, match="api_key is missing"):
        await stream(provider(session, server, api_key=None), ask()).reply()
    assert server.seen == []


async def test_without_a_key_no_token_and_no_schema_rule_18(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction("succeeded", output="ok")))
    some = provider(session, server, api_key=None, options={"needs_auth": False})
    assert (await stream(some, ask()).reply()).text == "ok"
    assert [seen.method for seen in server.seen] == ["POST"]
    assert "authorization" not in server.create.headers


async def test_two_keys_never_mix_rule_1(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction("succeeded", output="ok")))
    headers = {"accept": "application/json"}
    one = provider(session, server, headers=headers)
    two = provider(session, server, api_key="r8_other", headers=headers)
    none = provider(session, server, api_key=None, options={"needs_auth": False}, headers=headers)
    await asyncio.gather(*(stream(some, ask(some_id)).reply() for some_id, some in
                           (("1", one), ("2", two), ("0", none))))  # fmt: skip
    shown = {
        seen.json["input"]["prompt"]: seen.headers.get("authorization")
        for seen in server.requests("POST", "/predictions")
    }
    assert shown == {"1": f"Bearer {KEY}", "2": "Bearer r8_other", "0": None}
    assert headers == {"accept": "application/json"}


@pytest.mark.parametrize("status", [200, 201])
async def test_a_page_instead_of_json_is_a_protocol_error_rule_16(
    server: Upstream, session: Session, status: int
) -> None:
    page = Answer(status, [b"<html><body>Hello</body></html>"], {"content-type": "text/html"})
    server.creates(page)
    with pytest.raises(ProtocolError) as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.status == status
    assert "<" not in (failed.value.detail or "")


async def test_a_prediction_that_failed_at_once_rule_8(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction("failed", error="no GPU")))
    with pytest.raises(PenstockError, match="no GPU") as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.kind == "model"
    assert server.cancels == 0


@pytest.mark.parametrize("status", [402, 504])
async def test_payment_and_gateway_errors_are_not_rate_limits_rule_14(
    server: Upstream, session: Session, status: int
) -> None:
    server.creates(said(status, {"detail": "no"}))
    with pytest.raises(ResponseStatusError) as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.kind == {402: "payment", 504: "server"}[status]
    assert not failed.value.retryable
    assert server.count("POST", "/predictions") == 1


async def test_a_404_says_model_not_found(server: Upstream, session: Session) -> None:
    with pytest.raises(ModelNotFoundError, match=r"Model not found: Not found\."):
        await stream(provider(session, server), ask()).reply()


# -- the schema --------------------------------------------------------------------------------


def schema(**properties: dict[str, Any]) -> Answer:
    document = {"components": {"schemas": {"Input": {"properties": properties}}}}
    return said(200, {"latest_version": {"id": "v", "openapi_schema": document}})


async def test_the_models_own_schema_names_the_parameters_rule_11(
    server: Upstream, session: Session
) -> None:
    number = {"type": "integer", "minimum": 1, "maximum": 100}
    server.on("GET", f"/v1/models/{MODEL}", schema(prompt={}, max_new_tokens=number))
    server.creates(said(201, prediction("succeeded", output="ok")))
    some = provider(session, server)
    request = ask(sampling=Sampling(max_tokens=50, top_k=3))
    reply = await stream(some, request).reply()
    assert server.create.json["input"] == {"prompt": "x", "max_new_tokens": 50}
    assert [notice.code for notice in reply.warnings] == ["parameter_dropped"]
    assert "top_k" in reply.warnings[0].detail
    with pytest.raises(BadRequestError, match="within 1 to 100"):
        await stream(some, ask(sampling=Sampling(max_tokens=500))).reply()
    assert server.count("GET", MODEL) == 1
    assert server.count("POST", "/predictions") == 1


@pytest.mark.parametrize(("status", "times"), [(404, 1), (500, 2), (401, 2)])
async def test_a_schema_that_cannot_be_had_is_no_error(
    server: Upstream, session: Session, status: int, times: int
) -> None:
    server.on("GET", f"/v1/models/{MODEL}", said(status, {}))
    server.creates(said(201, prediction("succeeded", output="ok")))
    some = provider(session, server)
    for _ in range(2):
        reply = await stream(some, ask(sampling=Sampling(max_tokens=5))).reply()
        assert reply.text == "ok"
    assert server.create.json["input"] == {"prompt": "x", "max_tokens": 5}
    assert server.count("GET", MODEL) == times


async def test_a_schema_on_a_broken_connection_is_no_error(
    server: Upstream, session: Session
) -> None:
    server.on("GET", f"/v1/models/{MODEL}", Answer(200, [b"{"], closed="reset"))
    server.creates(said(201, prediction("succeeded", output="ok")))
    assert (await stream(provider(session, server), ask()).reply()).text == "ok"


async def test_images_travel_as_urls(server: Upstream, session: Session) -> None:
    images = {"type": "array", "items": {"type": "string"}}
    server.on("GET", f"/v1/models/{MODEL}", schema(prompt={}, image_input=images))
    server.creates(said(201, prediction("succeeded", output="ok")))
    content = (TextPart("what?"), ImagePart(data=b"\x89PNG", media_type="image/png"))
    request = ChatRequest(model=MODEL, messages=(Message("user", content),))
    await stream(provider(session, server), request).reply()
    sent = server.create.json["input"]
    assert sent == {"prompt": "what?", "image_input": ["data:image/png;base64,iVBORw=="]}


# -- streams -----------------------------------------------------------------------------------


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
            await asyncio.sleep(0.06)
            gate.set()

    gates = [asyncio.Event() for _ in range(6)]
    parts: list[bytes | asyncio.Event] = []
    for gate in gates:
        parts += [output("x"), gate]
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(*parts, DONE))
    some = provider(session, server, timeouts=Timeouts.of(0.2))
    async with asyncio.TaskGroup() as group:
        group.create_task(beats(gates))
        reply = await stream(some, ask()).reply()
    assert reply.text == "x" * 6


async def test_a_stalled_stream_is_a_timeout_and_is_cancelled(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b": hi\n\n", output("a")))
    some = provider(session, server, timeouts=Timeouts.of(0.2))
    with pytest.raises(StreamTimeoutError) as failed:
        await stream(some, ask()).reply()
    assert (failed.value.phase, failed.value.partial) == ("idle", "a")
    assert server.cancels == 1


# -- stop strings ------------------------------------------------------------------------------


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


# -- polling and plain requests ----------------------------------------------------------------


async def test_polls_say_what_they_wait_for(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on(
        "GET",
        GET,
        said(200, prediction("processing")),
        said(200, prediction("succeeded", output="ok")),
    )
    async with stream(provider(session, server), ask()) as answer:
        got = [event async for event in answer]
    waits = [event.reason for event in got if isinstance(event, Waiting)]
    assert waits == ["cold_start", "running"]
    assert [event.text for event in got if isinstance(event, Text)] == ["ok"]


async def test_a_poll_that_fails_for_a_moment_is_repeated(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on(
        "GET",
        GET,
        said(429, {"detail": "slow", "retry_after": 0.01}),
        Answer(200, [b"{"], closed="reset"),
        said(200, prediction("succeeded", output="ok")),
    )
    assert (await stream(provider(session, server), ask()).reply()).text == "ok"


async def test_a_poll_that_keeps_failing_is_an_error(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    limited = {"detail": "slow", "retry_after": 0.01}
    server.on("GET", GET, said(429, limited))
    with pytest.raises(RateLimitError):
        await stream(provider(session, server), ask()).reply()
    assert server.count("GET", GET) == 3
    assert server.cancels == 1


async def test_a_wait_over_the_budget_is_told(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on("GET", GET, said(429, {"detail": "slow", "retry_after": 500}))
    with pytest.raises(RateLimitError) as failed:
        await stream(provider(session, server), ask()).reply()
    assert failed.value.retry_after == 500


async def test_a_poll_that_is_refused_is_an_error(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    with pytest.raises(NotFoundError):
        await stream(provider(session, server), ask()).reply()
    assert server.count("GET", GET) == 1


async def test_a_plain_request_asks_the_server_to_hold_its_answer(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction("succeeded", output=["o", "k"])))
    reply = await stream(provider(session, server), ask(stream=False)).reply()
    assert reply.text == "ok"
    assert server.create.headers["prefer"] == "wait=10"
    some = provider(session, server, timeouts=Timeouts.of(3))
    await stream(some, ask(stream=False)).reply()
    assert server.requests("POST", "/predictions")[1].headers["prefer"] == "wait=1"
    assert server.count("GET", STREAM) == 0


# -- leaving -----------------------------------------------------------------------------------


async def test_leaving_early_cancels_once_rule_7(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), output("b")))
    server.on("POST", GET + "/cancel", said(200, prediction("canceled")))
    async with stream(provider(session, server), ask()) as answer:
        async for piece in answer.text():
            assert piece == "a"
            break
    assert server.cancels == 1
    assert server.requests("POST", "/cancel")[0].headers["authorization"] == f"Bearer {KEY}"
    await server.until(lambda: server.streaming == 0)
    assert session.outbox.pending == []


async def test_leaving_after_the_last_piece_cancels_what_is_not_over(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert server.cancels == 1


async def test_after_the_end_nothing_is_cancelled(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    async with stream(provider(session, server), ask()) as answer:
        assert await pieces(answer) == ["a"]
    assert server.cancels == 0


async def test_a_cancel_that_fails_is_tried_again(server: Upstream, session: Session) -> None:
    limited = {"detail": "slow", "retry_after": 0.01}
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    server.on("POST", GET + "/cancel", said(429, limited), said(429, limited), said(200, {}))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert server.cancels == 3
    assert session.outbox.failed == []


async def test_a_cancel_that_cannot_be_done_is_kept_as_a_fact(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a")))
    server.on("POST", GET + "/cancel", said(429, {"retry_after": 0.01}))
    async with stream(provider(session, server), ask()) as answer:
        assert await anext(answer.text()) == "a"
    assert session.outbox.failed == ["replicate: cancel prediction p1"]
    assert server.cancels == 4


async def cancelled(server: Upstream, task: asyncio.Task[Any], when: Callable[[], bool]) -> float:
    """Cancel ``task`` once ``when`` holds; seconds until it has ended."""
    await server.until(when)
    start = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return asyncio.get_running_loop().time() - start


async def test_cancelled_while_asking_for_the_schema(server: Upstream, session: Session) -> None:
    server.on("GET", f"/v1/models/{MODEL}", Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: bool(server.seen)) < 0.2
    assert server.count("POST", "/predictions") == 0


@pytest.mark.parametrize("plain", [True, False])
async def test_cancelled_while_being_created(
    server: Upstream, session: Session, plain: bool
) -> None:
    gate = asyncio.Event()
    created = json.dumps(prediction()).encode()
    server.creates(Answer(201, [created], before=gate))
    task = asyncio.create_task(stream(provider(session, server), ask(stream=not plain)).reply())
    created_seen = lambda: server.count("POST", "/predictions") == 1  # noqa: E731
    assert await cancelled(server, task, created_seen) < 0.2
    assert len(session.outbox.pending) == 1
    gate.set()
    await server.until(lambda: server.cancels == 1 and not session.outbox.pending)


async def test_cancelled_before_the_headers_of_the_stream(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", STREAM) == 1) < 0.2
    await server.until(lambda: server.cancels == 1)


@pytest.mark.parametrize("parts", [(), (output("a"),)])
async def test_cancelled_before_and_after_the_first_piece(
    server: Upstream, session: Session, parts: tuple[bytes, ...]
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(b": hi\n\n", *parts))
    answer = stream(provider(session, server), ask())
    task = asyncio.create_task(answer.reply())
    arrived = lambda: server.streaming == 1 and answer.partial == "a" * len(parts)  # noqa: E731
    await server.until(lambda: server.count("GET", STREAM) == 1)
    assert await cancelled(server, task, arrived) < 0.2
    await server.until(lambda: server.cancels == 1 and server.streaming == 0)


async def test_cancelled_between_two_polls(server: Upstream, session: Session) -> None:
    server.creates(said(201, prediction(stream=False)))
    server.on("GET", GET, said(200, prediction("processing")))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", GET) > 1) < 0.2
    await server.until(lambda: server.cancels == 1)


async def test_cancelled_while_the_token_counts_are_asked_for(
    server: Upstream, session: Session
) -> None:
    server.creates(said(201, prediction()))
    server.on("GET", STREAM, events(output("a"), DONE))
    server.on("GET", GET, Answer(before=asyncio.Event()))
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    assert await cancelled(server, task, lambda: server.count("GET", GET) == 1) < 0.2
    assert server.cancels == 0


async def test_a_session_that_closes_reports_what_is_being_created(server: Upstream) -> None:
    server.creates(Answer(before=asyncio.Event()))
    session = Session()
    task = asyncio.create_task(stream(provider(session, server), ask()).reply())
    await server.until(lambda: server.count("POST", "/predictions") == 1)
    left = await session.aclose(0.01)
    assert left == [f"replicate: cancel a prediction of {MODEL} that is being created"]
    with pytest.raises(PenstockError, match="session was closed"):
        await task


async def test_two_callers_at_once_get_their_own(server: Upstream, session: Session) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    for name, gate in zip("pq", gates, strict=True):
        urls = {"stream": f"https://stream.replicate.com/v1/streams/{name}"}
        answer = said(201, prediction(id=name, urls=urls))
        server.creates(answer, f"/v1/models/own/{name}/predictions")
        server.on("GET", f"/v1/streams/{name}", events(output(name), gate, output(name), DONE))
    some = provider(session, server)
    requests = [ChatRequest(model=f"own/{name}", messages=(Message("user", "x"),)) for name in "pq"]
    tasks = [asyncio.create_task(stream(some, request).reply()) for request in requests]
    await server.until(lambda: server.streaming == 2)
    for gate in reversed(gates):
        gate.set()
    assert [(await task).text for task in tasks] == ["pp", "qq"]
    assert server.cancels == 0


# -- models and the rest of the contract -------------------------------------------------------


async def test_models_are_read_page_by_page(server: Upstream, session: Session) -> None:
    def page(name: str, following: str | None) -> Answer:
        item = {"owner": "o", "name": name, "description": None, "visibility": "public"}
        return said(200, {"next": following, "previous": None, "results": [item]})

    foreign = "https://evil.example.org/v1/models?cursor=c2"
    server.on("GET", "/v1/models", page("a", foreign), page("b", None))
    found = await provider(session, server).models()
    assert [model.id for model in found] == ["o/a", "o/b"]
    assert [seen.query for seen in server.seen] == ["", "cursor=c2"]


async def test_models_without_a_key_or_configured(server: Upstream, session: Session) -> None:
    found = await provider(session, server, api_key=None).models()
    assert [model.id for model in found] == [MODEL]
    found = await provider(session, server, models=("a/b",)).models()
    assert [model.id for model in found] == ["a/b"]
    assert server.seen == []


async def test_models_that_cannot_be_read(server: Upstream, session: Session) -> None:
    server.on("GET", "/v1/models", said(401, {"detail": f"bad token {KEY}"}))
    with pytest.raises(PenstockError) as failed:
        await provider(session, server).models()
    assert failed.value.kind == "auth"
    assert KEY not in str(failed.value)


async def test_there_are_no_conversations(server: Upstream, session: Session) -> None:
    for some in (provider(session, server), cog(session, server)):
        with pytest.raises(BadRequestError, match="no native conversations"):
            some.conversation(MODEL)
        await some.delete(Conversation())


@pytest.mark.parametrize(
    "more",
    [
        {"dialect": "v2"},
        {"options": {"needs_key": False}},
        {"options": {"poll_interval": 0}},
        {"options": {"poll_interval": "fast"}},
        {"headers": {"x": "a\r\nb"}},
    ],
)
async def test_a_wrong_configuration_is_refused(
    server: Upstream, session: Session, more: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError):
        provider(session, server, **more)


# -- Cog ---------------------------------------------------------------------------------------


def cog(session: Session, server: Upstream) -> Provider:
    config = ProviderConfig(
        name="cog", base_url=server.api, headers={"accept": "text/plain", "x-own": "1"}
    )
    return create_cog(session, config)


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
