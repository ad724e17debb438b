"""What is sent and how it is refused: models, URLs, tokens, error bodies."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.errors import (
    BadRequestError,
    ModelNotFoundError,
    PenstockError,
    ProtocolError,
    ResponseStatusError,
)
from penstock.providers.replicate.dialect.errors import hosted_error
from penstock.providers.replicate.dialect.hosted import (
    DEFAULT_BASE,
    KEYLESS_BASE,
    Api,
    Prediction,
    Urls,
    api_base,
)
from penstock.providers.replicate.dialect.listed import decode_models
from penstock.providers.replicate.dialect.targets import Target, target_of
from penstock.types import ModelInfo
from tests.providers.replicate.reads import HEX
from tests.providers.replicate.upstream import KEY

API = Api(base=DEFAULT_BASE, key=KEY)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("o/n", Target("/models/o/n/predictions", model="o/n")),
        (f"o/n:{HEX}", Target("/predictions", version=HEX, model="o/n")),
        (HEX, Target("/predictions", version=HEX)),
        ("deployments/o/n", Target("/deployments/o/n/predictions")),
    ],
)
def test_rule_17_the_spellings_of_a_model(model: str, target: Target) -> None:
    assert target_of(model) == target


@pytest.mark.parametrize(
    "model", ["", "gpt", "o/n:latest", f"deployments/o/n:{HEX}", "a/b/c", f"{HEX}:{HEX}", HEX[1:]]
)
def test_other_spellings_are_no_models(model: str) -> None:
    with pytest.raises(ModelNotFoundError, match="owner/name"):
        target_of(model)


@pytest.mark.parametrize("model", ["../n", "o/..", "o/n?x", f"o/ n:{HEX}", "deployments/o/#"])
def test_ids_that_cannot_be_in_a_path_are_refused(model: str) -> None:
    with pytest.raises(BadRequestError):
        target_of(model)


def test_a_create_request() -> None:
    request = API.create(Target("/predictions", version=HEX), {"prompt": "x"}, None)
    assert (request.method, request.url) == ("POST", f"{DEFAULT_BASE}/predictions")
    assert json.loads(request.body) == {"input": {"prompt": "x"}, "stream": True, "version": HEX}
    assert dict(request.headers) == {
        "Accept": "application/json",
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
    }
    plain = API.create(Target("/predictions"), {}, 30)
    assert ("Prefer", "wait=30") in plain.headers
    assert "version" not in json.loads(plain.body)


def test_rule_1_the_callers_headers_win_and_are_not_changed() -> None:
    theirs = {"accept": "application/json", "authorization": "Token t"}
    api = Api(base=DEFAULT_BASE, key=KEY, headers=theirs)
    sent = api.create(Target("/predictions"), {}, None).headers
    assert sorted(name.lower() for name, _ in sent) == ["accept", "authorization", "content-type"]
    assert dict(sent)["authorization"] == "Token t"
    assert theirs == {"accept": "application/json", "authorization": "Token t"}
    assert KEY not in repr(api)


@pytest.mark.parametrize(
    ("urls", "url"),
    [
        (None, f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="https://api.replicate.com/v1/other/p"), "https://api.replicate.com/v1/other/p"),
        (Urls(get="https://evil.example/p"), f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="http://api.replicate.com/v1/p"), f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="https://api.replicate.com/\n"), f"{DEFAULT_BASE}/predictions/p"),
    ],
)
def test_the_token_follows_no_url_to_another_origin(urls: Urls | None, url: str) -> None:
    request = API.get(Prediction("p", urls=urls))
    assert request.url == url
    assert ("Authorization", f"Bearer {KEY}") in request.headers


def test_a_cancel_request() -> None:
    request = API.cancel(Prediction("p"))
    assert (request.method, request.url) == ("POST", f"{DEFAULT_BASE}/predictions/p/cancel")
    with pytest.raises(BadRequestError):
        API.cancel(Prediction("../x"))


def streamed(url: str | None) -> Prediction:
    return Prediction("p", urls=Urls(stream=url))


@pytest.mark.parametrize(
    "url",
    [
        "https://streaming.api.replicate.com/v1/predictions/p",
        "https://streaming-api.svc.us.c.replicate.net/v1/streams/x",
        "https://stream.replicate.com/v1/streams/x",
        "https://api.replicate.com/x",
        "https://own.example.org/x",
    ],
)
def test_rule_9_streams_carry_no_token(url: str) -> None:
    api = msgspec.structs.replace(API, hosts=("own.example.org",), headers={"x-own": "1"})
    request = api.stream(streamed(url), "1:0")
    assert request.url == url
    assert request.headers == (
        ("Accept", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("Last-Event-ID", "1:0"),
    )


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://replicate.com.example.org/x",
        "https://evilreplicate.com/x",
        "http://stream.replicate.com/x",
        "file:///etc/passwd",
        "https://u:p@stream.replicate.com/x",
    ],
)
def test_rule_9_streams_on_other_hosts_are_refused(url: str | None) -> None:
    with pytest.raises(ProtocolError):
        API.stream(streamed(url))


@pytest.mark.parametrize("last", ["", "a\r\nb", "\N{EURO SIGN}"])
def test_an_id_that_cannot_be_in_a_header_is_not_sent(last: str) -> None:
    request = API.stream(streamed("https://stream.replicate.com/x"), last)
    assert "Last-Event-ID" not in dict(request.headers)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://api.replicate.com/x", True),
        ("https://stream.replicate.com/x", True),
        ("https://replicate.com/x", True),
        ("https://a.b.replicate.net/x", True),
        ("https://replicate.net/x", False),
        ("https://own.example.org/x", False),
        ("http://stream.replicate.com/x", False),
    ],
)
def test_only_the_vendors_own_streams_may_be_shown_the_token(url: str, may: bool) -> None:
    assert API.may_have_key(url) is may
    assert not Api(base=DEFAULT_BASE).may_have_key(url)


def test_rule_18_no_key_no_authorization() -> None:
    keyless = Api(base=api_base(KEYLESS_BASE))
    request = keyless.create(target_of("o/n"), {}, None)
    assert request.url == "https://replicate.com/api/models/o/n/predictions"
    assert "Authorization" not in dict(request.headers)
    assert keyless.with_key(request) == request
    shown = API.with_key(API.stream(streamed("https://stream.replicate.com/x")))
    assert dict(shown.headers)["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("base", "used"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://h:1/prefix", "http://h:1/prefix/v1"),
    ],
)
def test_the_base_of_a_server_of_ones_own(base: str, used: str) -> None:
    assert api_base(base) == used


def test_pages_of_models() -> None:
    assert API.model("o/n").url == f"{DEFAULT_BASE}/models/o/n"
    assert API.models().url == f"{DEFAULT_BASE}/models"
    assert API.models("https://evil.example/v1/models?cursor=a%26b&x=1").url == (
        f"{DEFAULT_BASE}/models?cursor=a%26b"
    )
    with pytest.raises(ProtocolError):
        decode_models(b'{"results":[{"owner":"o"}]}')
    item = {"owner": "o", "name": "n", "description": None, "visibility": "public"}
    found, following = decode_models(json.dumps({"results": [item], "next": "x"}).encode())
    assert [(model.id, model.name, model.description) for model in found] == [("o/n", "n", "")]
    assert following == "x"
    assert decode_models(b'{"results":[],"next":"x"}') == ([], None)


def listed(inputs: object, output: object = None, **more: object) -> ModelInfo | None:
    """What is told of a model with these schemas."""
    schemas = {"Input": inputs, "Output": output}
    version = {"id": HEX, "openapi_schema": {"components": {"schemas": schemas}}}
    item = {"owner": "o", "name": "n", "latest_version": version, **more}
    found, _ = decode_models(json.dumps({"results": [item]}).encode())
    return found[0] if found else None


def test_a_community_model_is_listed_with_its_version() -> None:
    inputs: dict[str, object] = {"properties": {"prompt": {}}}
    for official, name in ((False, f"o/n:{HEX}"), (True, "o/n"), (None, "o/n")):
        found = listed(inputs, is_official=official)
        assert found is not None
        assert found.id == name
        assert target_of(found.id).model == "o/n"


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"properties": {"text": {}}}, None),
        ({"properties": {"prompt": {}, "voice": {}}, "required": ["prompt", "voice"]}, None),
        ({"properties": {"prompt": {}}}, {"type": "string", "format": "uri"}),
        ({"properties": {"prompt": {}}}, {"type": "array", "items": {"format": "uri"}}),
    ],
)
def test_a_model_that_cannot_chat_is_not_listed(inputs: object, output: object) -> None:
    assert listed(inputs, output) is None


@pytest.mark.parametrize("inputs", [None, 3, {"properties": 3, "required": 3}, {"required": [3]}])
def test_a_model_of_which_nothing_is_known_is_listed(inputs: object) -> None:
    assert listed(inputs, {"items": "x"}) == ModelInfo(id="o/n", name="n")
    assert listed(inputs, latest_version=None) == ModelInfo(id="o/n", name="n")


def test_a_model_says_whether_it_takes_or_needs_an_image() -> None:
    inputs: dict[str, object] = {"properties": {"prompt": {}, "image": {}}}
    for required in ([], ["prompt", "image"]):
        found = listed({**inputs, "required": required})
        assert found is not None
        assert (found.images, found.needs_image) == (True, bool(required))


# -- refusals (section 6, rule 14) -----------------------------------------------------------------


def refused(
    status: int, body: object, headers: dict[str, str] | None = None, *, creating: bool = True
) -> PenstockError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return hosted_error(
        status,
        headers or {},
        data,
        provider="replicate",
        model="o/n",
        creating=creating,
        secrets=(KEY,),
    )


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"title": "Unauthenticated", "detail": "no token"}, "auth", "no token"),
        (401, {"detail": "Invalid or expired API token."}, "auth", "Invalid or expired API token."),
        (402, {"title": "Insufficient credit", "detail": "no credit"}, "payment", "no credit"),
        (403, b"", "forbidden", None),
        (404, {"detail": "Not found."}, "unknown_model", "Not found."),
        (422, {"title": "Invalid version or not permitted", "detail": "v"}, "unknown_model", "v"),
        (422, {"title": "Input validation failed", "detail": "- a: b\n"}, "bad_request", "- a: b"),
        (
            422,
            {"detail": "- x", "invalid_fields": [{"field": "input.a", "description": "bad"}, 3]},
            "bad_request",
            "input.a: bad",
        ),
        (422, {"detail": "- x", "invalid_fields": []}, "bad_request", "- x"),
        (413, {"detail": "big"}, "too_large", "big"),
        (500, {"detail": 7}, "server", None),
        (502, b"<html><title>502 Bad Gateway</title></html>", "server", "502 Bad Gateway"),
        (503, b"", "server", None),
        (504, b"gateway", "server", "gateway"),
        (522, b"[]", "server", None),
        (429, b"no JSON", "rate_limited", "no JSON"),
    ],
)
def test_rule_14_refusals_by_their_kind(
    status: int, body: object, kind: str, words: str | None
) -> None:
    error = refused(status, body)
    assert (error.kind, error.status, error.detail) == (kind, status, words)
    assert isinstance(error, ResponseStatusError)
    assert error.retryable is (kind == "rate_limited")


def test_rule_14_a_missing_model_is_named_and_a_missing_prediction_is_not() -> None:
    assert "Model not found: gone." in str(refused(404, {"detail": "gone."}))
    for foreign in (b"", b"<html>", {"detail": "Not Found"}):  # another server's
        assert refused(404, foreign).kind == "not_found"
    assert refused(404, b"", creating=False).kind == "not_found"


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "3"}, {"retry_after": 9, "detail": "resets in ~30s."}, 3),
        ({}, {"retry_after": 9, "detail": "resets in ~30s."}, 9),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {"retry_after": True, "detail": "soon"}, None),
        ({}, {"retry_after": -1}, None),
    ],
)
def test_rule_14_the_wait_of_a_429(
    headers: dict[str, str], body: dict[str, Any], wait: float | None
) -> None:
    assert refused(429, body, headers).retry_after == wait


def test_secrets_do_not_come_back_in_words() -> None:
    assert KEY not in str(refused(401, {"detail": f"bad token {KEY}"}))
