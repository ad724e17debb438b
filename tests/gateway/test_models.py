"""The list of models: what can be asked for, and nothing that cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from penstock.sandbox import Sandbox
from tests.gateway.running import Running, running_gateway

CHATUI = "chatui/Qwen/Qwen3-8B"
SHORT = "h2o/falcon-40b"
LONG = "h2o/h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with Sandbox(["chatui", "h2o"]) as sandbox:
        dead = {"base_url": "http://127.0.0.1:9"}
        providers = {**sandbox.providers, "allenai": dead, "dead": {"base_url": dead["base_url"]}}
        async with running_gateway(providers) as running:
            yield running


async def status_of(gateway: Running, path: str) -> tuple[int, str | None]:
    """Status, and the id of the model or the code of the refusal."""
    async with gateway.http.get(f"{gateway.url}/v1/models/{path}") as answer:
        told = await answer.json()
    return answer.status, told["id"] if answer.status == 200 else told["error"]["code"]


async def test_every_provider_that_answers_is_in_the_list(gateway: Running) -> None:
    async with gateway.http.get(f"{gateway.url}/v1/models") as answer:
        told = await answer.json()
    assert told["object"] == "list"
    owners = {model["id"]: model["owned_by"] for model in told["data"]}
    assert (owners[CHATUI], owners[LONG]) == ("chatui", "h2o")
    assert not any(name.startswith("dead/") for name in owners)
    for model in told["data"]:
        assert model.keys() == {"id", "object", "created", "owned_by"}


@pytest.mark.parametrize("model", [CHATUI, LONG, SHORT])
async def test_a_model_is_found_by_each_of_its_names(gateway: Running, model: str) -> None:
    assert await status_of(gateway, model) == (200, model)
    assert await status_of(gateway, quote(model, safe="")) == (200, model)


@pytest.mark.parametrize("model", ["h2o/nobody", "nobody/model", "chatui/falcon-40b", "dead/x"])
async def test_what_nobody_lists_is_not_found(gateway: Running, model: str) -> None:
    assert await status_of(gateway, model) == (404, "model_not_found")
