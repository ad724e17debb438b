"""The provider on real sockets: creating, schemas, polling, models."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import (
    BadRequestError,
    MissingAuthError,
    ModelNotFoundError,
    NotFoundError,
    PenstockError,
    ProtocolError,
    RateLimitError,
    ResponseStatusError,
)
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    ImagePart,
    Message,
    Sampling,
    Text,
    TextPart,
    Timeouts,
    Waiting,
)
from tests.providers.replicate.calls import GET, MODEL, STREAM, ask, cog, provider, stream
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


@pytest.mark.parametrize(
    "answer", [Answer(before=asyncio.Event()), Answer(201, [b"{"], closed="reset")]
)
async def test_a_create_that_may_have_run_is_not_retryable(
    server: Upstream, session: Session, answer: Answer
) -> None:
    server.creates(answer)
    some = provider(session, server, timeouts=Timeouts.of(0.2))
    with pytest.raises(PenstockError) as failed:
        await stream(some, ask()).reply()
    assert failed.value.kind in ("timeout", "truncated")
    assert not failed.value.retryable


async def test_a_404_says_model_not_found(server: Upstream, session: Session) -> None:
    with pytest.raises(ModelNotFoundError, match=r"Model not found: Not found\."):
        await stream(provider(session, server), ask()).reply()


# -- the schema ------------------------------------------------------------------------------------


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


# -- polling and plain requests --------------------------------------------------------------------


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
    assert server.create.headers["prefer"] == "wait=1"
    assert server.count("GET", STREAM) == 0


# -- models and the rest of the contract -----------------------------------------------------------


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
