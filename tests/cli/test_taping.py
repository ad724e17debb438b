"""Which address is recorded, and what goes along to the recorder."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.advice import nearest
from penstock.cli.taping import taped
from penstock.config import Settings
from penstock.errors import ConfigError
from penstock.provider import ProviderConfig
from penstock.registry import Registry

HOME = ProviderConfig(name="mine", base_url="http://127.0.0.1:9/v1", api_key="k")


@pytest.mark.parametrize("provider", ["allenai", "replicate", "openai", "ollama", "mine"])
def test_a_provider_is_reached_through_the_recorder_with_its_own_key(
    tmp_path: Path, provider: str
) -> None:
    config = HOME.with_(name=provider, base_url=HOME.base_url if provider == "mine" else None)
    settings = Settings(providers={provider: config})
    said: list[str] = []
    with taped(settings, Registry(), provider, tmp_path / "cases", said.append) as providers:
        found = providers[provider]
        assert str(found.base_url).startswith("http://127.0.0.1:")
        assert found.base_url != HOME.base_url
        assert found.api_key == "k"
    assert said == ["nothing was recorded"]


def test_an_address_is_needed(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"base_url in \[providers.h2o\]"),
        taped(Settings(), Registry(), "h2o", tmp_path, print),
    ):
        pytest.fail("there is no address")


def test_a_site_is_recorded_with_the_cookies_of_its_own_host(tmp_path: Path) -> None:
    file = tmp_path / "cookies.json"
    file.write_text('[{"name": "session", "value": "v", "domain": "oa.example"}]')
    config = ProviderConfig(name="openassistant", base_url="http://oa.example")
    settings = Settings(providers={"openassistant": config}, cookies_file=str(file))
    with taped(settings, Registry(), "openassistant", tmp_path / "cases", print) as providers:
        assert providers["openassistant"].cookies == {"session": "v"}


def test_the_nearest_names_are_found_by_spelling_or_by_part() -> None:
    known = ["Olmo-3-7B-Instruct", "tulu3-405b", "Molmo2-8B"]
    assert nearest("olmo-3-7b-instruct", known) == ["Olmo-3-7B-Instruct"]
    assert nearest("tulu", known) == ["tulu3-405b"]
    assert nearest("gpt", known) == []
    assert nearest("", known) == []
