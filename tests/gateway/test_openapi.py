"""The description of the interface is that of the interface."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.gateway import shapes
from penstock.gateway.keys import hash_of
from penstock.gateway.openapi import OPERATIONS, description
from penstock.gateway.page import Page
from penstock.gateway.status import Status
from penstock.gateway.view import ROUTES
from penstock.sandbox import Sandbox
from tests.gateway.running import Running, running_gateway
from tests.gateway.test_metrics import MODEL

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "One two"}]},
    "/v1/responses": {"input": "One two"},
    "/v1/messages": {"messages": [{"role": "user", "content": "One two"}], "max_tokens": 50},
}
PATHS = sorted(OPERATIONS)


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with Sandbox(["openai"], pace=0.0) as sandbox:
        # The model list asks every provider that needs nothing; these are all there are.
        unreachable = {"base_url": "http://127.0.0.1:9"}
        async with running_gateway({"allenai": unreachable, **sandbox.providers}) as running:
            yield running


def url_of(gateway: Running, path: str) -> str:
    return gateway.url + path.replace("{id}", MODEL)


def test_every_path_of_the_gateway_is_described_and_no_other() -> None:
    from penstock.client import Client
    from penstock.config import Settings
    from penstock.gateway.app import Gateway

    gateway = Gateway(Client(config=Settings()))
    served = {path.replace(":path", "") for path in gateway._table()}
    assert served - Page().paths == set(OPERATIONS)
    assert set(OPERATIONS) <= {*ROUTES, "/v1/models/{id}"}


def test_every_reference_leads_somewhere() -> None:
    told = json.loads(description())
    names = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert references(told) <= names
    assert len(
        {one["operationId"] for path in told["paths"].values() for one in path.values()}
    ) == (len(OPERATIONS))


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_has_the_described_form(gateway: Running, path: str) -> None:
    operation = OPERATIONS[path]
    body = {"model": MODEL, **ASKED[path]} if path in ASKED else None
    url = url_of(gateway, path)
    async with gateway.http.request(operation.method, url, json=body) as answer:
        assert answer.status == 200
        data, kind = await answer.read(), answer.headers["content-type"].split(";")[0]
    assert kind in (operation.text or ("application/json",))
    if operation.answer is not None:
        msgspec.json.decode(data, type=operation.answer)


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method_is_described_too(gateway: Running, path: str) -> None:
    operation = OPERATIONS[path]
    async with gateway.http.delete(url_of(gateway, path)) as answer:
        assert answer.status == 405
        assert 405 in operation.errors
        assert answer.headers["allow"] == operation.method.upper()
        msgspec.json.decode(await answer.read(), type=operation.error)


@pytest.mark.parametrize("path", sorted(ASKED))
async def test_a_refusal_has_the_described_form(gateway: Running, path: str) -> None:
    operation = OPERATIONS[path]
    for body in ({}, {"model": "nobody/x", **ASKED[path]}, {"model": 3, **ASKED[path]}):
        async with gateway.http.post(gateway.url + path, json=body) as answer:
            assert answer.status in (400, 404)
            assert answer.status in operation.errors
            msgspec.json.decode(await answer.read(), type=operation.error)


async def test_a_description_that_lies_would_be_found(gateway: Running) -> None:
    async with gateway.http.get(f"{gateway.url}/api/status") as answer:
        data = await answer.read()
    msgspec.json.decode(data, type=Status)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=shapes.ChatCompletion)


async def test_a_gateway_that_stops_is_alive_and_not_ready(gateway: Running) -> None:
    gateway.gateway.ready = False
    async with gateway.http.get(f"{gateway.url}/health/ready") as answer:
        assert answer.status == 503
        assert 503 in OPERATIONS["/health/ready"].errors
        told = msgspec.json.decode(await answer.read(), type=shapes.Error)
        assert told.error.code == "stopping"
    async with gateway.http.get(f"{gateway.url}/health/live") as answer:
        assert answer.status == 200
    async with gateway.http.get(f"{gateway.url}/metrics") as answer:
        assert "\npenstock_ready 0.0\n" in await answer.text()


async def test_with_keys_all_but_the_health_checks_want_one() -> None:
    keys = {"alice": GatewayKey(hash=hash_of("a-key-for-this-test"))}
    bearer = {"authorization": "Bearer a-key-for-this-test"}
    async with running_gateway({}, GatewaySettings(keys=keys)) as gateway:
        for path, operation in OPERATIONS.items():
            url = gateway.url + path.replace("{id}", "nobody/x")
            async with gateway.http.request(operation.method, url, json={}) as answer:
                assert (answer.status == 401) is not operation.open, path
            if path in ("/metrics", "/api/status", "/openapi.json"):
                async with gateway.http.get(url, headers=bearer) as answer:
                    assert answer.status == 200, path
