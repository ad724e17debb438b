"""``penstock doctor``: what it asks, what it says, how it ends."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from penstock.registry import Registry
from tests.cli.answering import answering
from tests.cli.conftest import Run
from tests.sandboxed import Servers


def found(out: str) -> dict[str, dict[str, Any]]:
    """Provider -> what ``--json`` says of it."""
    return {line["provider"]: line for line in map(json.loads, out.splitlines())}


def test_every_configured_provider_is_asked(run: Run, configured: Path) -> None:
    done = run("doctor", "--json")
    told = found(done.out)
    assert {name: line["state"] for name, line in told.items()} == dict.fromkeys(told, "ok")
    assert done.code == 0
    assert {"allenai", "h2o", "chatui", "openassistant", "replicate"} <= told.keys()
    assert told["h2o"]["dialect"] == "chat-ui-2023"
    assert told["openassistant"]["dialect"] == "website"
    assert told["allenai"]["dialect"] == "threads"
    assert told["replicate"]["login"] == "accepted"
    assert told["openassistant"]["login"] == "accepted"
    assert "openai_compatible/sandbox-model" in told["openai_compatible"]["models"]
    assert all(line["milliseconds"] >= 0 for line in told.values())


def test_no_model_is_run_and_nothing_is_left(run: Run, configured: Path, servers: Servers) -> None:
    before = servers.state("h2o").runs
    run("doctor")
    assert servers.state("h2o").runs == before
    assert servers.state("h2o").conversations.left == []


def test_a_line_for_people_says_how_it_is(run: Run, configured: Path) -> None:
    done = run("doctor", "openai_compatible")
    name, _, facts = done.out.strip().partition(": ")
    assert name == "openai_compatible"
    assert facts.startswith("ok, chat-completions, ")
    assert facts.endswith(" ms")
    assert done.err == ""


def test_one_that_fails_is_told_and_is_code_1(run: Run, workplace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    Path("penstock.toml").write_text(
        f'[providers.mine]\nbase_url = "http://127.0.0.1:{port}/v1"\nmodels = ["named"]\n'
    )
    done = run("doctor", "--json")
    line = found(done.out)["mine"]
    assert (done.code, line["state"], line["kind"]) == (1, "failed", "network")
    assert run("doctor").out.startswith("mine: failed, ")


def test_the_models_of_the_configuration_are_no_proof(
    run: Run, workplace: Path, servers: Servers
) -> None:
    base = servers.sandbox.providers["openai_compatible"]["base_url"]
    Path("penstock.toml").write_text(
        f'[providers.mine]\nbase_url = "{base}"\nmodels = ["named"]\napi_key = "k-1234"\n'
    )
    Path("penstock.toml").chmod(0o600)
    line = found(run("doctor", "--json").out)["mine"]
    assert (line["state"], line["login"]) == ("ok", "sent")
    assert "mine/named" not in line["models"]


@pytest.mark.parametrize(
    ("name", "url"),
    [("openassistant", "https://open-assistant.io"), ("h2o", "https://gpt-gm.h2o.ai")],
)
def test_a_closed_service_is_called_closed_and_not_asked(
    run: Run, workplace: Path, name: str, url: str
) -> None:
    Path("penstock.toml").write_text(f'[providers.{name}]\nbase_url = "{url}"\n')
    done = run("doctor", "--json")
    line = found(done.out)[name]
    assert (done.code, line["state"], line["configured"]) == (1, "closed", True)
    assert url.removeprefix("https://") in line["message"]


def test_without_configuration_nothing_is_asked(run: Run, workplace: Path) -> None:
    done = run("doctor")
    assert done.code == 0
    assert [line.partition(",")[0] for line in done.out.splitlines()] == [
        "openassistant: closed",
        "h2o: closed",
    ]
    assert "No provider is configured, so none was asked." in done.err


def test_a_name_that_is_none_is_a_mistake(run: Run, workplace: Path) -> None:
    done = run("doctor", "nobody")
    assert (done.code, done.out) == (1, "")
    assert "'nobody' names no provider" in done.err


def test_a_key_that_is_missing_is_told_without_asking(run: Run, workplace: Path) -> None:
    done = run("doctor", "openai")
    assert done.code == 1
    assert done.out.startswith("openai: failed, ")
    assert "api_key is missing" in done.out


@pytest.mark.parametrize("status", [b'{"status":"SETUP_FAILED"}', b"<html>"])
def test_a_cog_server_is_asked_for_its_health(run: Run, workplace: Path, status: bytes) -> None:
    with answering(status) as (url, asked):
        Path("penstock.toml").write_text(f'[providers.cog]\nbase_url = "{url}"\n')
        assert run("doctor").code == 1
        assert asked == ["/health-check"]
    with answering(b'{"status":"READY"}') as (url, _):
        Path("penstock.toml").write_text(f'[providers.cog]\nbase_url = "{url}"\n')
        assert run("doctor").out.startswith("cog: ok, cog, no credential, 1 model, ")


def test_replicate_is_asked_for_the_account_and_one_page(run: Run, workplace: Path) -> None:
    page = b'{"username":"a","next":"x","results":[{"owner":"o","name":"n"}]}'
    with answering(page) as (url, asked):
        settings = f'[providers.replicate]\nbase_url = "{url}"\napi_key = "r8_1"\nmodels = ["m"]\n'
        Path("penstock.toml").write_text(settings)
        Path("penstock.toml").chmod(0o600)
        assert run("doctor").out.startswith("replicate: ok, replicate, logged in, 1 model and more")
        assert asked == ["/v1/account", "/v1/models"]
        line = found(run("doctor", "--json").out)["replicate"]
        assert (line["models"], line["more"]) == (["replicate/o/n"], True)


def test_replicate_without_a_token_is_not_called_right(run: Run, workplace: Path) -> None:
    done = run("doctor", "replicate")
    assert done.code == 1
    assert done.out.startswith("replicate: failed, api_key is missing; set the variable REPLICATE_")


def test_settings_of_a_provider_are_no_login(run: Run, workplace: Path, servers: Servers) -> None:
    base = servers.sandbox.providers["allenai"]["base_url"]
    Path("penstock.toml").write_text(
        f'[providers.allenai]\nbase_url = "{base}"\noptions = {{ private = false }}\n'
    )
    assert found(run("doctor", "--json").out)["allenai"]["login"] == "none"


@pytest.mark.parametrize("name", ["openassistant", "replicate"])
def test_a_wrong_credential_is_told_as_such(
    run: Run, workplace: Path, servers: Servers, name: str
) -> None:
    base = servers.sandbox.providers[name]["base_url"]
    Path("penstock.toml").write_text(
        f'[providers.{name}]\nbase_url = "{base}"\napi_key = "r8_geheim_geheim_geheim"\n'
    )
    Path("penstock.toml").chmod(0o600)
    done = run("doctor", "--json")
    line = found(done.out)[name]
    assert (done.code, line["state"], line["kind"]) == (1, "failed", "auth")
    assert "geheim" not in done.out + done.err


@pytest.mark.parametrize("name", sorted(Registry().entries))
def test_a_port_where_nobody_listens_is_told_with_the_address(
    run: Run, workplace: Path, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    Path("penstock.toml").write_text(
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{port}"\napi_key = "key"\n'
    )
    line = found(run("doctor", "--json").out)[name]
    assert (line["state"], line["kind"]) == ("failed", "network")
    assert f"127.0.0.1:{port}" in line["message"]
