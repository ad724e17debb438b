"""The list of models: what can be asked for, and nothing that cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from penstock.client import Client
from penstock.config import Settings
from penstock.errors import ConfigError
from penstock.gateway import models
from penstock.gateway.models import Catalogue
from penstock.provider import ProviderConfig
from penstock.providers.allenai.models import MODELS
from penstock.sandbox import Sandbox
from penstock.types import ModelInfo
from tests.gateway.running import Running, running_gateway

CHATUI = "chatui/Qwen/Qwen3-8B"
SHORT = "h2o/falcon-40b"
LONG = "h2o/h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
NAME = "openai_compatible"
DEAD = "http://127.0.0.1:9"
ALLENAI = [f"allenai/{id}" for id in MODELS]
REPLICATE = "replicate/meta/meta-llama-3-70b-instruct"


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with Sandbox(["chatui", "h2o", "openai"]) as sandbox:
        dead = {"base_url": DEAD}
        providers = {**sandbox.providers, "allenai": dead, "dead": dead}
        async with running_gateway(providers) as running:
            yield running


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the list asks the providers."""
    monkeypatch.setattr(models, "FRESH", -1.0)


async def listed(gateway: Running, provider: str) -> list[str]:
    """The ids of one provider."""
    async with gateway.http.get(f"{gateway.url}/v1/models") as answer:
        told = await answer.json()
    return [model["id"] for model in told["data"] if model["owned_by"] == provider]


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


@pytest.mark.parametrize("model", ["h2o/nobody", "nobody/model", "chatui/falcon-40b"])
async def test_what_nobody_lists_is_not_found(gateway: Running, model: str) -> None:
    assert await status_of(gateway, model) == (404, "model_not_found")


@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize("fault", ["status=500", "status=401", "status=404"])
async def test_what_a_provider_told_once_is_told_while_it_cannot_be_asked(fault: str) -> None:
    async with (
        Sandbox(["openai"]) as sandbox,
        running_gateway({**sandbox.providers, "allenai": {"base_url": DEAD}}) as gateway,
    ):
        told = await listed(gateway, NAME)
        assert told
        for _ in range(2):
            sandbox.servers["openai"].faults.next(fault)
            assert await listed(gateway, NAME) == told
        sandbox.servers["openai"].faults.next(fault)
        assert await status_of(gateway, told[0]) == (200, told[0])
        sandbox.servers["openai"].faults.next(fault)
        assert (await status_of(gateway, f"{NAME}/later"))[0] == 200
        assert (await status_of(gateway, f"{NAME}/later"))[0] == 404


async def test_any_id_may_be_one_of_a_server_that_takes_all_and_cannot_be_asked(
    gateway: Running,
) -> None:
    assert await status_of(gateway, "dead/x/y") == (200, "dead/x/y")
    assert await listed(gateway, "dead") == []


@pytest.mark.parametrize("model", ["dead", "dead/", f"{NAME}/nobody", "allenai/nobody"])
async def test_an_id_that_is_none_or_was_denied_is_not_found(gateway: Running, model: str) -> None:
    assert await status_of(gateway, model) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("provider", "config", "expected"),
    [
        ("allenai", {"proxy": DEAD}, ALLENAI),
        ("replicate", {"proxy": DEAD, "api_key": "r8_0123456789abcdef"}, [REPLICATE]),
        ("allenai", {"base_url": DEAD}, []),  # what a server of one's own has is not documented
        ("openai", {"proxy": DEAD, "api_key": "sk-0123456789abcdef"}, []),
    ],
)
async def test_a_vendor_that_never_told_has_its_documented_models(
    provider: str, config: dict[str, Any], expected: list[str]
) -> None:
    quiet = {"allenai": {"base_url": DEAD}}
    async with running_gateway({**quiet, provider: config}) as gateway:
        assert await listed(gateway, provider) == expected
        for model in expected:
            assert await status_of(gateway, model) == (200, model)


async def test_a_provider_that_lacks_its_key_has_no_models() -> None:
    async with running_gateway({"openai": {"proxy": DEAD}}) as gateway:
        assert await status_of(gateway, "openai/gpt-5") == (404, "model_not_found")


@pytest.mark.parametrize(("header", "kept"), [("one", True), ("two", False)])
async def test_a_reload_forgets_what_was_told_under_other_settings(header: str, kept: bool) -> None:
    async with Sandbox(["openai"]) as sandbox:
        here = sandbox.providers["openai_compatible"]["base_url"]
        async with one_server(here, "one") as before, one_server(here, header) as after:
            current = before
            catalogue = Catalogue(lambda: current)
            assert NAME in await owners(catalogue)
            sandbox.servers["openai"].faults.next("status=500")
            current = after
            assert (NAME in await owners(catalogue)) is kept


class Plugged(Client):
    """A client whose plug-in tells its models once and then fails, as its blame says."""

    told = False

    async def models(self, provider: str | None = None) -> list[ModelInfo]:
        if provider != "mine" or self.told:
            raise ConfigError("the plug-in mine fails: IndexError")
        self.told = True
        return [ModelInfo(id="mine/grey")]


@pytest.mark.usefixtures("stale")
async def test_a_plug_in_that_fails_keeps_the_models_it_told() -> None:
    mine = ProviderConfig(name="mine", base_url=DEAD)
    async with Plugged(config=Settings(providers={"mine": mine})) as client:
        catalogue = Catalogue(lambda: client)
        for _ in range(3):
            assert await owners(catalogue) == {"mine"}


def one_server(base_url: str, header: str) -> Client:
    """A client as a reload makes it: all of its providers are from the settings."""
    known = [
        ProviderConfig(name=NAME, base_url=base_url, headers={"x-tenant": header}),
        ProviderConfig(name="allenai", base_url=DEAD),
    ]
    return Client(config=Settings(providers={one.name: one for one in known}))


async def owners(catalogue: Catalogue) -> set[str]:
    """Whose models are told."""
    return {model["owned_by"] for model in await catalogue.models()}


async def test_the_template_of_a_path_is_no_path(gateway: Running) -> None:
    assert await status_of(gateway, "%7Bid:path%7D") == (404, "model_not_found")


async def test_a_file_that_the_gateway_misses_is_no_caller_who_left(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise FileNotFoundError("models.json")

    monkeypatch.setattr(gateway.gateway.catalogue, "models", broken)
    async with gateway.http.get(f"{gateway.url}/v1/models") as answer:
        assert answer.status == 500
    assert "failed in a way nobody foresaw" in caplog.text
