"""Who asks and what that key may: the one key of a request, and what each route says without it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.routing import Route

from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.gateway.admission import PUBLIC
from penstock.gateway.auth import Caller, Keyring, credential_of
from penstock.gateway.http import Refused
from penstock.gateway.keys import hash_of, new_key
from penstock.gateway.page import Page
from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox
from tests.gateway.running import Running, running_gateway

MODEL = "openai_compatible/sandbox-model"
ALL, FEW = new_key(), new_key()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SANDBOX_PROVIDERS, pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Running]:
    keys = {
        "all": GatewayKey(hash=hash_of(ALL)),
        "few": GatewayKey(hash=hash_of(FEW), models=("h2o/*",)),
    }
    async with running_gateway(sandbox.providers, GatewaySettings(keys=keys)) as running:
        yield running


# -- the one key of a request --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({b"authorization": b"Bearer k"}, b"k"),
        ({b"authorization": b"bearer  k "}, b"k"),
        ({b"x-api-key": b"k"}, b"k"),
        ({b"x-api-key": b""}, None),
        ({b"authorization": b"Bearer "}, None),
        ({b"authorization": b"Basic azpr"}, None),
        ({b"authorization": b"k"}, None),
        ({b"authorization": b"Bearer k", b"x-api-key": b"k"}, b"k"),
        ({b"authorization": b"Bearer \xff\xc3"}, b"\xff\xc3"),
    ],
)
def test_the_key_is_taken_from_either_header(
    headers: dict[bytes, bytes], key: bytes | None
) -> None:
    assert credential_of(headers) == key


@pytest.mark.parametrize("said", [b"Bearer other", b"Basic azpr", b"", b"k", b"Bearer K"])
def test_two_different_keys_are_one_too_many(said: bytes) -> None:
    with pytest.raises(Refused) as refused:
        credential_of({b"authorization": said, b"x-api-key": b"k"})
    assert refused.value.failure.status == 400


def test_a_caller_keeps_what_is_used_when_its_key_changes() -> None:
    before = Keyring([("a", GatewayKey(hash=hash_of("k"), rpm=60, models=("x",)))])
    caller = before.caller_of({b"x-api-key": b"k"})
    caller.take(100.0, 0.0)
    after = Keyring([("b", GatewayKey(hash=hash_of("k"), rpm=60))], before)
    assert after.caller_of({b"x-api-key": b"k"}) is caller
    assert (caller.name, caller.may_ask("y")) == ("b", True)
    assert dict(caller.headers(100.0))[b"x-ratelimit-remaining-requests"] == b"59"


@pytest.mark.parametrize(
    ("models", "asked", "may"),
    [
        ((), "anything", True),
        (("a/b",), "a/b", True),
        (("a/b",), "a/bc", False),
        (("a/b",), "A/b", False),
        (("a/*",), "a/b/c", True),
        (("a/*",), "a", False),
        (("a/*",), "ab/c", False),
        (("*",), "x", True),
        (("fast", "a/*"), "fast", True),
    ],
)
def test_the_models_of_a_key(models: tuple[str, ...], asked: str, may: bool) -> None:
    assert Caller("k", GatewayKey(hash=hash_of("k"), models=models)).may_ask(asked) is may


# -- on the wire ---------------------------------------------------------------------------------


async def test_every_route_but_health_and_page_wants_a_key(gateway: Running) -> None:
    routes = [route for route in gateway.gateway._router.routes if isinstance(route, Route)]
    paths = {route.path.replace("{id:path}", "x") for route in routes}
    public = PUBLIC | Page().paths
    assert public <= paths
    unknown = {"/nothing", "/v1/", "/health/live/", "//health/live"}
    for path in (paths - public) | unknown:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            async with gateway.http.request(method, gateway.url + path) as answer:
                assert answer.status == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
    for path in public:
        async with gateway.http.get(gateway.url + path) as answer:
            assert answer.status != 401, path


async def test_a_refusal_has_the_shape_of_its_surface(gateway: Running) -> None:
    for header in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong-ü"}):
        url = f"{gateway.url}/v1/chat/completions"
        async with gateway.http.post(url, json={}, headers=header) as answer:
            told = (await answer.json())["error"]
            assert (answer.status, told["type"], told["code"], told["param"]) == (
                401,
                "authentication_error",
                "invalid_api_key",
                None,
            )
            assert "wrong" not in told["message"]
        async with gateway.http.post(
            f"{gateway.url}/v1/messages", json={}, headers=header
        ) as answer:
            body = await answer.json()
            assert (answer.status, body["type"]) == (401, "error")
            assert body["error"]["type"] == "authentication_error"


async def test_both_headers_are_good_for_every_surface(gateway: Running) -> None:
    for headers in ({"Authorization": f"Bearer {ALL}"}, {"x-api-key": ALL}):
        assert (await gateway.chat(MODEL, headers=headers))[0] == 200
        asked = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
        async with gateway.http.post(
            f"{gateway.url}/v1/messages", json=asked, headers=headers
        ) as answer:
            assert answer.status == 200
    both = {"Authorization": f"Bearer {ALL}", "x-api-key": FEW}
    status, body, _ = await gateway.chat(MODEL, headers=both)
    assert status == 400
    assert "different keys" in body["error"]["message"]


async def test_a_key_with_a_list_sees_and_asks_these_models_alone(gateway: Running) -> None:
    few, every = {"x-api-key": FEW}, {"x-api-key": ALL}
    async with gateway.http.get(f"{gateway.url}/v1/models", headers=few) as answer:
        seen = {model["id"] for model in (await answer.json())["data"]}
    assert seen
    assert all(id.startswith("h2o/") for id in seen)
    assert (await gateway.chat("h2o/falcon-40b", headers=few))[0] == 200
    status, body, _ = await gateway.chat(MODEL, headers=few)
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    for headers, expected in ((few, 404), (every, 200)):
        async with gateway.http.get(f"{gateway.url}/v1/models/{MODEL}", headers=headers) as answer:
            assert answer.status == expected
