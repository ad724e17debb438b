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
from penstock.errors import ConfigError, ModelNotFoundError
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


NOT_CALLABLE = 3
"""
POINTS = f"""\
[{ENTRY_POINT_GROUP}]
parrot = penstock_parrot:Parrot
broken = penstock_parrot:gone
missing = penstock_gone:create
number = penstock_parrot:NOT_CALLABLE
h2o = penstock_parrot:Parrot
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as an installer leaves it, with plug-ins good and bad."""
    (tmp_path / "penstock_parrot.py").write_text(PARROT)
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


def test_no_provider_is_loaded_before_it_is_asked_for() -> None:
    script = (
        "import sys; from penstock.registry import Registry; Registry()\n"
        "loaded = [m for m in sys.modules if m.startswith('penstock.providers.')]\n"
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


def test_an_unknown_provider_is_told_with_the_nearest() -> None:
    with pytest.raises(ModelNotFoundError, match=r"'replicat/x' names no provider.*replicate/"):
        Registry().split("replicat/x")


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


@pytest.mark.parametrize("name", ["broken", "missing", "number"])
async def test_a_plug_in_that_does_not_load_is_named(plugin: Path, name: str) -> None:
    async with penstock.Client(config=Settings()) as client:
        with pytest.raises(ConfigError, match=f"the plug-in {name} "):
            await client.complete(f"{name}/x", "hello")


def test_the_command_line_lists_and_asks_a_plug_in(plugin: Path) -> None:
    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "penstock", *arguments]
        paths = f"import sys; sys.path.insert(0, {str(plugin)!r})"
        run = f"{paths}; sys.argv = {command[2:]!r}; from penstock.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", run], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout

    assert "parrot " in said("providers")
    assert said("models", "parrot") == "parrot/grey\n"
    assert said("chat", "-m", "parrot/grey", "hello") == "hello\n"
