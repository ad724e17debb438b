"""The registry: built-ins by string, plug-ins of other packages found by their entry points."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock
from penstock.config import Settings
from penstock.errors import (
    BadRequestError,
    ConfigError,
    MissingAuthError,
    ModelNotFoundError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.registry import ENTRY_POINT_GROUP, Registry
from penstock.transport import Session

PARROT = """
from contextlib import asynccontextmanager

from penstock.errors import BadRequestError
from penstock.types import Capabilities, Finished, ModelInfo, Text


class Parrot:
    capabilities = Capabilities()

    def __init__(self, session, config):
        self.name = config.name
        self.words = config.options.get("words", "")

    @asynccontextmanager
    async def stream(self, request):
        async def batches():
            yield [Text(request.messages[-1].text), Text(self.words)]
            yield [Finished()]

        yield batches()

    async def models(self):
        return [ModelInfo(id="grey")]

    def conversation(self, model):
        raise BadRequestError("a parrot remembers nothing")

    async def delete(self, conversation):
        pass


class Confused(Parrot):
    async def models(self):
        return self.nothing[0]


def unfinished(session, config):
    raise KeyError("cage")


def empty(session, config):
    return object()


NOT_CALLABLE = 3
"""
POINTS = f"""\
[{ENTRY_POINT_GROUP}]
parrot = penstock_parrot:Parrot
broken = penstock_parrot:gone
missing = penstock_gone:create
number = penstock_parrot:NOT_CALLABLE
raising = penstock_raising:create
leaving = penstock_leaving:create
unfinished = penstock_parrot:unfinished
empty = penstock_parrot:empty
confused = penstock_parrot:Confused
h2o = penstock_parrot:Parrot
a/b = penstock_parrot:Parrot
"""
BROKEN = {
    "broken": "does not load: AttributeError: ",
    "missing": "does not load: ModuleNotFoundError: ",
    "raising": "does not load: ZeroDivisionError: division by zero",
    "leaving": "does not load: SystemExit: no licence",
    "number": "is no factory",
    "h2o": "is not used: the name h2o belongs to a provider that comes with Penstock",
    "a/b": "is not used: its name may hold only",
}
"""Plug-in -> why it cannot be used."""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as an installer leaves it, with plug-ins good and bad."""
    (tmp_path / "penstock_parrot.py").write_text(PARROT)
    (tmp_path / "penstock_raising.py").write_text("1 / 0\n")
    (tmp_path / "penstock_leaving.py").write_text("raise SystemExit('no licence')\n")
    info = tmp_path / "penstock_parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: penstock-parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("penstock_parrot", None)


# -- built-ins ---------------------------------------------------------------------------------


def test_every_built_in_loads_and_keeps_the_contract() -> None:
    registry = Registry()
    session = Session()
    for name in registry.entries:
        config = ProviderConfig(name=name, base_url="http://127.0.0.1:9")
        provider = registry.factory(name)(session, config)
        assert isinstance(provider, Provider)
        assert provider.name == name


def test_the_documented_models_are_those_of_vendors_with_servers_of_their_own() -> None:
    registry = Registry()
    known = {name: registry.documented_models(name) for name in (*registry.entries, "mine")}
    assert {name for name, models in known.items() if models} == {"allenai", "replicate"}
    assert known["allenai"][0] == "tulu3-405b"
    assert known["replicate"] == ("meta/meta-llama-3-70b-instruct",)


def test_no_provider_is_loaded_before_it_is_asked_for() -> None:
    script = (
        "import sys; from penstock.registry import Registry; Registry()\n"
        "loaded = [m for m in sys.modules if m.startswith(('penstock.providers.', 'aiohttp'))]\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_is_split_at_the_first_slash() -> None:
    registry = Registry()
    assert registry.split("replicate/owner/name") == ("replicate", "owner/name")
    assert registry.split("cog/") == ("cog", "")
    assert registry.split("cog") == ("cog", "")
    assert registry.split("mine/x", {"mine": None}) == ("mine", "x")


def test_an_unknown_provider_is_told_with_the_nearest_alone() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Registry().split("replicat/owner/x")
    assert caught.value.message == (
        "'replicat/owner/x' names no provider; did you mean 'replicate/owner/x'? "
        "`penstock providers` lists all of them"
    )


def test_what_is_near_to_nothing_is_told_how_a_model_is_written() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Registry().split("nosuch/zzz")
    assert caught.value.message == (
        "'nosuch/zzz' names no provider; a model is written provider/model, and "
        "`penstock providers` lists all providers"
    )


def test_an_alias_may_be_what_was_meant() -> None:
    with pytest.raises(ModelNotFoundError, match="did you mean 'quick'"):
        Registry().split("quik", (), ["quick"])


WITH_KEY = {name: variable for name, variable in Registry().key_names.items() if variable}


@pytest.mark.parametrize("name", sorted(WITH_KEY))
async def test_a_key_that_is_missing_is_told_with_all_its_places(name: str) -> None:
    async with penstock.Client(config=Settings()) as client:
        with pytest.raises(MissingAuthError) as caught:
            await client.complete(f"{name}/some/model", "hello")
    assert caught.value.message == (
        f"api_key is missing; set the variable {WITH_KEY[name]} or PENSTOCK_{name.upper()}_API_KEY,"
        f" or api_key in [providers.{name}] of penstock.toml"
    )


@pytest.mark.parametrize("name", sorted(WITH_KEY))
async def test_the_vendors_variable_is_not_named_for_another_address(name: str) -> None:
    providers = {name: {"base_url": "http://127.0.0.1:9"}}
    async with penstock.Client(config=Settings(), providers=providers) as client:
        with pytest.raises(MissingAuthError) as caught:
            await client.complete(f"{name}/some/model", "hello")
    assert f"set the variable PENSTOCK_{name.upper()}_API_KEY," in caught.value.message


@pytest.mark.parametrize("name", [*Registry().entries, "mine"])
def test_no_provider_takes_a_dialect_or_an_option_that_it_does_not_know(name: str) -> None:
    registry, session = Registry(), Session()
    for field, value in (("dialect", "gibberish"), ("options", {"gibberish": 1})):
        config = ProviderConfig(name=name, base_url="http://127.0.0.1:9", api_key="k")
        with pytest.raises((BadRequestError, ConfigError)) as caught:
            registry.make(session, config.with_(**{field: value}))
        assert caught.value.param == ("gibberish" if field == "options" else field)


# -- plug-ins ----------------------------------------------------------------------------------


def test_a_plug_in_is_listed(plugin: Path) -> None:
    entry = Registry().entries["parrot"]
    assert (entry.plugin, entry.factory, entry.label) == (True, "penstock_parrot:Parrot", "parrot")


async def test_a_plug_in_is_used_like_any_other(plugin: Path) -> None:
    providers = {"parrot": {"options": {"words": " again"}}}
    async with penstock.Client(config=Settings(), providers=providers) as client:
        reply = await client.complete("parrot/grey", "hello")
        assert (reply.text, reply.provider) == ("hello again", "parrot")
        assert [model.id for model in await client.models("parrot")] == ["parrot/grey"]


async def test_a_plug_in_cannot_take_the_place_of_a_built_in(plugin: Path) -> None:
    registry = Registry()
    assert not registry.entries["h2o"].plugin
    assert registry.factory("h2o").__module__ == "penstock.providers.h2o.provider"


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {"h2o", "a/b"}))
async def test_a_plug_in_that_does_not_load_is_named(plugin: Path, name: str) -> None:
    async with penstock.Client(config=Settings()) as client:
        with pytest.raises(ConfigError, match=f"the plug-in {name} .*{BROKEN[name]}"):
            await client.complete(f"{name}/x", "hello")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("unfinished", "cannot be made: KeyError: 'cage'"), ("empty", "it lacks name, capabilities")],
)
async def test_a_plug_in_that_makes_no_provider_is_named(
    plugin: Path, name: str, reason: str
) -> None:
    async with penstock.Client(config=Settings()) as client:
        with pytest.raises(ConfigError, match=f"the plug-in {name} .*{reason}"):
            client.stream(f"{name}/x", "hello")


async def test_a_plug_in_whose_list_fails_is_named(plugin: Path) -> None:
    async with penstock.Client(config=Settings()) as client:
        with pytest.raises(ConfigError, match=r"the plug-in confused .*fails: AttributeError"):
            await client.models("confused")


def test_a_broken_plug_in_is_listed_with_its_reason(plugin: Path) -> None:
    problems = {entry.name: entry.problem for entry in Registry().examined() if entry.problem}
    assert problems.keys() == BROKEN.keys()
    for name, reason in BROKEN.items():
        assert reason in str(problems[name])
        assert "\n" not in str(problems[name])


def test_the_others_are_listed_beside_a_broken_plug_in(plugin: Path) -> None:
    right = [entry for entry in Registry().examined() if entry.problem is None]
    assert [entry.name for entry in right if entry.name in ("h2o", "parrot")] == ["h2o", "parrot"]
    assert not next(entry for entry in right if entry.name == "h2o").plugin


def said(plugin: Path, *arguments: str) -> tuple[int, str, str]:
    """What the command line says where the plug-ins are installed, and its exit code."""
    paths = f"import sys; sys.path.insert(0, {str(plugin)!r})"
    argv = ["penstock", *arguments]
    run = f"{paths}; sys.argv = {argv!r}; from penstock.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run], capture_output=True, text=True, check=False, timeout=20
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_lists_and_asks_a_plug_in(plugin: Path) -> None:
    assert "parrot " in said(plugin, "providers")[1]
    assert said(plugin, "models", "parrot") == (0, "parrot/grey\n", "")
    assert said(plugin, "chat", "-m", "parrot/grey", "hello") == (0, "hello\n", "")


def test_the_command_line_lists_a_broken_plug_in_as_broken(plugin: Path) -> None:
    code, out, err = said(plugin, "providers")
    assert code == 0
    rows = [line.split()[:2] for line in out.splitlines()]
    for name in BROKEN:
        assert [name, "broken"] in rows
        assert f"Warning: the plug-in {name} (" in err
    assert ["h2o", "a"] in rows  # the built-in one: "a server of one's own"


def test_the_command_line_asks_a_broken_plug_in_without_a_traceback(plugin: Path) -> None:
    for name in ("raising", "unfinished", "confused"):
        for command in (["models", name], ["doctor", name, "parrot"]):
            code, out, err = said(plugin, *command)
            assert code == 1
            assert f"the plug-in {name} (penstock_" in out + err
            assert ("parrot: ok" in out) == (command[0] == "doctor")
