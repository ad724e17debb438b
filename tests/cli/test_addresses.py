"""Addresses of servers on the command line: a slip in a name is told, not taken."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from penstock.cli.addresses import addresses

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "penstock.toml"
    file.write_text(f'[providers.mine]\nbase_url = "{URL}"\n', "utf-8")
    return str(file)


def test_pairs_become_settings(config: str) -> None:
    made = addresses([f"own={URL}", f"groq={URL}"], ["h2o=http://h/?a=b", f"mine={URL}"], config)
    assert made == {
        "providers.own.base_url": URL,
        "providers.groq.base_url": URL,
        "providers.h2o.base_url": "http://h/?a=b",
        "providers.mine.base_url": URL,
    }


@pytest.mark.parametrize(
    ("upstreams", "base_urls", "said"),
    [
        (["own"], [], "--upstream takes NAME=URL, not 'own'"),
        (["=http://x"], [], "--upstream takes NAME=URL"),
        ([], ["h2o="], "--base-url takes NAME=URL"),
        (["my.own=" + URL], [], "the name 'my.own' may hold only letters, digits, - and _"),
        (["a/b=" + URL], [], "the name 'a/b' may hold only"),
        (["own=" + URL, "own=http://other"], [], "--upstream names own twice"),
        (
            ["h2o=" + URL],
            [],
            f"take another name, or say where its server is: --base-url h2o={URL}",
        ),
        ([], ["h20=" + URL], "there is no provider 'h20'. Did you mean h2o?"),
        ([], ["zzzz=" + URL], "'zzzz'. --upstream NAME=URL adds an OpenAI-compatible server"),
    ],
)
def test_a_slip_is_told(upstreams: list[str], base_urls: list[str], said: str, config: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        addresses(upstreams, base_urls, config)
    assert said in caught.value.message
