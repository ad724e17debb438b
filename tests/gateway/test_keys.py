"""Gateway keys: the store, the commands, and what a running gateway makes of a change."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from penstock.config import Settings, load
from penstock.config.gateway import GatewayKey, GatewaySettings
from penstock.errors import BadRequestError, ConfigError, NotFoundError, redact
from penstock.gateway import app
from penstock.gateway.auth import Caller, Keys
from penstock.gateway.keys import KeyStore, StoredKey, hash_of, new_key
from penstock.gateway.serve import check_exposure
from penstock.sandbox import Sandbox
from tests.cli.conftest import Run, run
from tests.gateway.running import Running, running_gateway

__all__ = ["run"]

KEY = re.compile(r"pk-[0-9a-f]{48}\n")


def stored(key: str) -> StoredKey:
    return StoredKey(hash=hash_of(key), created="2026-11-21T00:00:00+00:00")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data/penstock/keys.json"


# -- the store -----------------------------------------------------------------------------------


def test_the_store_keeps_what_it_is_given_and_no_key(tmp_path: Path) -> None:
    store, key = KeyStore(tmp_path / "deep/er/keys.json"), new_key()
    assert store.load() == {}
    store.add("ci", stored(key))
    store.add("you", stored("other"))
    assert store.load() == {"ci": stored(key), "you": stored("other")}
    assert key not in store.path.read_text()
    assert [path.name for path in store.path.parent.iterdir()] == ["keys.json"]
    store.remove("ci")
    assert list(store.load()) == ["you"]


def test_nobody_else_can_read_the_store(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "data/keys.json")
    store.add("ci", stored("a"))
    store.add("you", stored("b"))
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    store.add("ci", stored("a"))
    before = store.content()
    with pytest.raises(BadRequestError, match="there is a key 'ci' already"):
        store.add("ci", stored("b"))
    with pytest.raises(NotFoundError, match="there is no key 'you'"):
        store.remove("you")
    assert store.content() == before
    store.add("you", stored("b"))


def test_two_commands_at_a_time_do_not_lose_a_change(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    (tmp_path / "keys.json.new").touch()
    with pytest.raises(ConfigError, match="another command is changing"):
        store.add("ci", stored("a"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"keys": 3}', b'{"keys": {"a": {}}}', b"\xff"])
def test_a_file_that_is_no_store_is_said_and_left_alone(tmp_path: Path, content: bytes) -> None:
    store = KeyStore(tmp_path / "keys.json")
    store.path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no key file"):
        store.load()
    with pytest.raises(ConfigError, match="is no key file"):
        store.add("ci", stored("a"))
    assert store.path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_is_masked_wherever_errors_are_told() -> None:
    assert redact(f"wrong: {new_key()}!") == "wrong: ***!"
    assert len({new_key() for _ in range(100)}) == 100


# -- commands ------------------------------------------------------------------------------------


def test_create_prints_the_key_once_and_list_shows_what_it_may(run: Run, home: Path) -> None:
    made = run("keys", "create", "ci", "--models", "h2o/*, fast", "--rpm", "60")
    assert made.code == 0
    assert KEY.fullmatch(made.out)
    assert "once" in made.err
    assert made.out.strip() not in home.read_text()
    shown = run("keys", "list", "--json")
    assert made.out.strip() not in shown.out
    (row,) = map(json.loads, shown.out.splitlines())
    assert (row["name"], row["models"], row["rpm"], row["tpm"]) == (
        "ci",
        ["h2o/*", "fast"],
        60,
        None,
    )
    assert "h2o/*, fast" in run("keys", "list").out


def test_revoke_says_when_nobody_can_ask_any_more(run: Run, home: Path) -> None:
    run("keys", "create", "ci")
    assert "the gateway answers nobody" in run("keys", "revoke", "ci").err
    again = run("keys", "revoke", "ci")
    assert (again.code, "there is no key 'ci'" in again.err) == (1, True)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "ü"])
def test_a_name_is_plain(run: Run, home: Path, name: str) -> None:
    assert run("keys", "create", "--", name).code == 2
    assert not home.exists()


def test_a_table_for_the_configuration_is_one_that_can_be_read(run: Run, home: Path) -> None:
    made = run("keys", "create", "a.b", "--models", 'x/"y', "--tpm", "5", "--table")
    file = Path("penstock.toml")
    file.write_text(made.out)
    key = load(file).gateway.keys["a.b"]
    (secret,) = re.findall(r"pk-[0-9a-f]{48}", made.err)
    assert key == GatewayKey(hash=hash_of(secret), models=('x/"y',), tpm=5)
    assert not home.exists()
    assert run("keys", "create", "a.b").code == 2
    assert "remove its table" in run("keys", "revoke", "a.b").err


def test_the_key_file_of_the_configuration_is_used(run: Run, home: Path) -> None:
    Path("penstock.toml").write_text('[gateway]\nkey_file = "mine.json"\n')
    assert run("keys", "create", "ci").code == 0
    assert Path("mine.json").exists()
    assert not home.exists()


def test_without_a_home_there_is_one_sentence(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME")
    done = run("keys", "list")
    assert (done.code, "gateway.key_file" in done.err) == (1, True)


# -- wanted or not -------------------------------------------------------------------------------


def test_keys_are_wanted_from_the_first_and_until_the_end(tmp_path: Path) -> None:
    default = tmp_path / "keys.json"
    keys = Keys(GatewaySettings(), default)
    assert keys.ring is None
    assert not keys.look()
    KeyStore(default).add("ci", stored("a"))
    assert keys.look()
    assert [caller.name for caller in ring(keys).values()] == ["ci"]
    default.unlink()
    assert keys.look()
    assert ring(keys) == {}, "a file that is gone opens nothing"
    keys.read(GatewaySettings())
    assert ring(keys) == {}


def test_a_key_file_that_was_named_is_wanted_before_it_is_there(tmp_path: Path) -> None:
    keys = Keys(GatewaySettings(key_file=str(tmp_path / "none.json")))
    assert ring(keys) == {}


def test_a_broken_key_file_keeps_the_old_keys_and_is_told_once(tmp_path: Path) -> None:
    default = tmp_path / "keys.json"
    KeyStore(default).add("ci", stored("a"))
    keys = Keys(GatewaySettings(), default)
    default.write_text("{")
    with pytest.raises(ConfigError, match="is no key file"):
        keys.look()
    assert not keys.look()
    assert len(ring(keys)) == 1
    with pytest.raises(ConfigError, match="is no key file"):
        Keys(GatewaySettings(), default)


def ring(keys: Keys) -> Mapping[bytes, Caller]:
    assert keys.ring is not None
    return keys.ring.callers


def test_what_others_can_reach_wants_keys(tmp_path: Path) -> None:
    outside = GatewaySettings(host="0.0.0.0")
    store = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="penstock keys create"):
        check_exposure(outside, insecure=False, store=store)
    check_exposure(outside, insecure=True, store=store)
    check_exposure(GatewaySettings(host="127.0.0.5"), insecure=False, store=store)
    store.touch()
    check_exposure(outside, insecure=False, store=store)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[gateway.keys.a]\nhash = "sha256:12"\n', "gateway.keys.a.hash"),
        (f'[gateway.keys.a]\nhash = "{hash_of("x")}"\nrpm = 0\n', "gateway.keys.a.rpm"),
        (f'[gateway.keys.a]\nhash = "{hash_of("x")}"\ntmp = 1\n', "gateway.keys.a.tmp"),
        ('[gateway]\norigins = ["*"]\n', "gateway.origins"),
        ('[gateway]\norigins = ["https://a.example/x"]\n', "gateway.origins"),
        ('[gateway]\nhosts = ["a.example:80"]\n', "gateway.hosts"),
    ],
)
def test_a_wrong_setting_is_told_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"penstock\.toml:\d: {re.escape(where)}"):
        load(file)


# -- a running gateway ---------------------------------------------------------------------------


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai"], pace=0.0) as servers:
        yield servers


async def test_a_running_gateway_takes_new_keys_and_drops_revoked_ones(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(app, "FILE_WATCH", 0.02)
    settings = GatewaySettings(key_file=str(tmp_path / "keys.json"))
    store, key = KeyStore(tmp_path / "keys.json"), new_key()
    async with running_gateway(sandbox.providers, settings) as gateway:
        await becomes(401, gateway, key)
        store.add("ci", stored(key))
        await becomes(200, gateway, key)
        store.path.write_text("{")
        async with asyncio.timeout(5):
            while "the old ones stay" not in caplog.text:
                await asyncio.sleep(0.01)
        assert await status(gateway, key) == 200, "a broken file locks nobody out"
        store.path.unlink()
        await becomes(401, gateway, key)


async def test_a_configuration_without_keys_does_not_open_what_was_closed(
    sandbox: Sandbox,
) -> None:
    key = new_key()
    keyed = GatewaySettings(keys={"ci": GatewayKey(hash=hash_of(key))})
    async with running_gateway(sandbox.providers) as gateway:
        assert await status(gateway, "") == 200
        gateway.gateway._reread = lambda: Settings(gateway=keyed)
        gateway.gateway.reload()
        assert await status(gateway, "") == 401
        gateway.gateway._reread = Settings
        gateway.gateway.reload()
        assert await status(gateway, "") == 401
        assert await status(gateway, key) == 401


async def status(gateway: Running, key: str) -> int:
    asked = await gateway.chat(
        "openai_compatible/sandbox-model", headers={"Authorization": f"Bearer {key}"}
    )
    return asked[0]


async def becomes(wanted: int, gateway: Running, key: str) -> None:
    async with asyncio.timeout(5):
        while await status(gateway, key) != wanted:
            await asyncio.sleep(0.01)
