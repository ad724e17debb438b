"""Mistakes in files, variables, arguments and cookie files: none shows the secret beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock import Client
from penstock.config import load
from penstock.cookies import cookies_for
from penstock.errors import PenstockError
from tests.secrets.canaries import API_KEY, COOKIE, HEADER, PASSWORD, assert_unseen, texts_of

KNOWN = {"h2o": None, "openai": "OPENAI_API_KEY", "replicate": "REPLICATE_API_TOKEN"}
DEAD = "http://127.0.0.1:9"
USERINFO = f"http://ann:{PASSWORD}@127.0.0.1:9"

H2O = f'[providers.h2o]\nbase_url = "{DEAD}"\n'
AT = {"PENSTOCK_H2O_BASE_URL": DEAD}

FILES: Mapping[str, str] = {
    "no quotes": f"[providers.openai]\napi_key = {API_KEY}\n",
    "one quote": f'[providers.openai]\napi_key = "{API_KEY}\n',
    "escape": f'[providers.openai]\napi_key = "{API_KEY}\\q"\n',
    "twice": f'[providers.openai]\napi_key = "{API_KEY}"\napi_key = "{API_KEY}"\n',
    "a list": f'[providers.openai]\napi_key = ["{API_KEY}"]\n',
    "a table": f'[providers.openai.api_key]\nvalue = "{API_KEY}"\n',
    "unknown": f'[providers.openai]\napi_keys = "{API_KEY}"\n',
    "at the top": f'api_key = "{API_KEY}"\n',
    "unknown below": f'[providers.openai.options]\nkey = "{API_KEY}"\n',
    "cookies as text": H2O + f'cookies = "a={COOKIE}"\n',
    "cookies as list": H2O + f'cookies = ["{COOKIE}"]\n',
    "cookie of a number": f'[providers.h2o.cookies]\n"hf-chat" = 7\nother = "{COOKIE}"\n',
    "headers as text": f'[providers.h2o]\nheaders = "X: {HEADER}"\n',
    "header of a list": f'[providers.h2o.headers]\nX = ["{HEADER}"]\n',
    "userinfo": f'[providers.h2o]\nbase_url = "{USERINFO}"\n',
    "no url": f'[providers.h2o]\nbase_url = "ann:{PASSWORD}@h"\n',
    "proxy": f'[connection]\nproxy = "ftp://ann:{PASSWORD}@h"\n',
    "proxy of a provider": H2O + f'proxy = "ann:{PASSWORD}@h"\n',
    "proxy as list": f'[connection]\nproxy = ["{USERINFO}"]\n',
    "no utf-8": f'[providers.openai]\napi_key = "{API_KEY}\xff"\n',
}
VARIABLES: Mapping[str, Mapping[str, str]] = {
    "userinfo": {"PENSTOCK_H2O_BASE_URL": USERINFO},
    "cookies": {**AT, "PENSTOCK_H2O_COOKIES": COOKIE},
    "headers": {**AT, "PENSTOCK_H2O_HEADERS": HEADER},
    "options": {
        **AT,
        "PENSTOCK_H2O_OPTIONS": f"{{{API_KEY}",
    },
    "mistyped": {"PENSTOCK_OPENAI_API_KEYS": API_KEY, "PENSTOCK_H2O_COOKIE": COOKIE},
    "proxy": {"PENSTOCK_PROXY": f"ann:{PASSWORD}@h"},
    "timeout": {"PENSTOCK_H2O_TIMEOUT": API_KEY, **AT},
    "file": {"PENSTOCK_CONFIG": "/none/penstock.toml", "OPENAI_API_KEY": API_KEY},
    "newline": {"OPENAI_API_KEY": f"{API_KEY}\nX: y"},
    "not latin": {"OPENAI_API_KEY": f"{API_KEY}\N{SNOWMAN}"},
}
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "a list": {"openai": {"api_key": [API_KEY]}},
    "bytes": {"openai": {"api_key": API_KEY.encode()}},
    "unknown": {"openai": {"key": API_KEY}},
    "userinfo": {"h2o": {"base_url": USERINFO}},
    "userinfo of an unknown one": {"mine": {"base_url": USERINFO, "api_key": API_KEY}},
    "no address": {"mine": {"api_key": API_KEY}},
    "newline": {"openai": {"base_url": DEAD, "api_key": f"{API_KEY}\nX: y"}},
    "not latin": {"openai": {"base_url": DEAD, "api_key": f"{API_KEY}\N{SNOWMAN}"}},
    "cookie with a line": {"h2o": {"base_url": DEAD, "cookies": {"a": f"{COOKIE}\n"}}},
    "cookies as text": {"h2o": {"base_url": DEAD, "cookies": COOKIE}},
    "header with nul": {"h2o": {"base_url": DEAD, "headers": {"X": f"{HEADER}\0"}}},
    "header of a number": {"h2o": {"base_url": DEAD, "headers": {"X": 7, "Y": HEADER}}},
    "option": {"h2o": {"base_url": DEAD, "options": {"key": API_KEY}}},
    "proxy": {"h2o": {"base_url": DEAD, "proxy": f"ann:{PASSWORD}@h"}},
    "other class": {"openassistant": {"base_url": DEAD, "api_key": 7, "cookies": {"a": COOKIE}}},
}
COOKIE_FILES: Mapping[str, str] = {
    "six fields": f".h.example\tTRUE\t/\tTRUE\t0\t{COOKIE}\n",
    "no tabs": f".h.example TRUE / TRUE 0 name {COOKIE}\n",
    "no json": f'[{{"name": "a", "value": "{COOKIE}"',
    "no list": f'{{"name": "a", "value": "{COOKIE}"}}',
    "no names": f'[{{"value": "{COOKIE}"}}]',
    "wrong types": f'[{{"name": 7, "value": ["{COOKIE}"], "domain": "h.example"}}]',
    "a line": f".h.example\tTRUE\t/\tTRUE\tsoon\ta\t{COOKIE}\n",
    "other host": f".other.example\tTRUE\t/\tTRUE\t0\ta\t{COOKIE}\n",
    "control": f".h.example\tTRUE\t/\tTRUE\t0\ta\t{COOKIE}\x01\n",
}


async def attempt(client: Client) -> None:
    """Ask every provider that is configured; it fails before or at the dead address."""
    async with client:
        for provider in list(client.settings.providers) or ["openai"]:
            await client.complete(f"{provider}/m", "hi", timeout=1)


async def shown(make: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """All that comes of a mistake."""
    caplog.set_level(logging.DEBUG)
    texts = []
    try:
        client = make()
        texts.append(repr(client.settings.warnings) + repr(client.settings.shown))
        await attempt(client)
    except (PenstockError, TypeError, ValueError) as error:
        texts += texts_of(error)
    return [*texts, caplog.text]


@pytest.mark.parametrize("mistake", FILES)
async def test_a_mistake_in_the_file(
    mistake: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(FILES[mistake], "latin-1")
    texts = await shown(lambda: Client(config=load(file, env={}, known=KNOWN)), caplog)
    assert any("penstock.toml" in text or "Error" in text for text in texts)
    assert_unseen(texts)


@pytest.mark.parametrize("mistake", VARIABLES)
async def test_a_mistake_in_the_environment(mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    env = VARIABLES[mistake]
    assert_unseen(await shown(lambda: Client(config=load(env=env, known=KNOWN)), caplog))


@pytest.mark.parametrize("mistake", ARGUMENTS)
async def test_a_mistake_in_the_arguments(mistake: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    try:
        async with Client(providers=ARGUMENTS[mistake]) as client:
            for provider in ARGUMENTS[mistake]:
                await client.complete(f"{provider}/falcon-40b", "hi", timeout=1)
    except (PenstockError, TypeError, ValueError) as error:
        texts += texts_of(error)
    assert texts, "it is a mistake"
    assert_unseen([*texts, caplog.text])


@pytest.mark.parametrize("mistake", COOKIE_FILES)
def test_a_mistake_in_a_cookie_file(mistake: str, tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text(COOKIE_FILES[mistake])
    try:
        cookies_for("h.example", file)
    except PenstockError as error:
        assert_unseen(texts_of(error))
