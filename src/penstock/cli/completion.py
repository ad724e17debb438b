"""``penstock completion``: Tab in the shell, and the names it offers.

The names are those that the configuration and the package know; no server is asked for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.registry import Registry

SHELLS = ("bash", "zsh", "fish")

_TABLES = {
    "allenai": ("MODELS", "ALIASES"),
    "openassistant": ("MODELS",),
    "h2o": ("ALIASES", "MODELS"),
    "replicate": ("KNOWN",),
}
"""Provider -> the tables of its ``models`` module whose members or keys are ids."""

_PLACES = {
    "~/.bashrc": 'eval "$(penstock completion bash)"',
    "~/.zshrc (after compinit)": 'eval "$(penstock completion zsh)"',
    "~/.config/fish/config.fish": "penstock completion fish | source",
}


@click.command(
    epilog="\b\nFor every new shell, add a line to:\n"
    + "\n".join(f"{file}\n  {line}" for file, line in _PLACES.items())
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and models with Tab."""
    found = get_completion_class(shell)
    assert found is not None  # the choice above
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "penstock", "_PENSTOCK_COMPLETE").source())


def complete_models(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The aliases, and the ``provider/model`` that are known, that begin with ``begun``."""
    registry, settings = _known(ctx)
    names = list(known_models(settings))
    names += [f"{name}/" for name in (*registry.entries, *settings.providers)]
    return [name for name in dict.fromkeys(names) if name.startswith(begun)]


def complete_providers(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The providers, the configured ones too, that begin with ``begun``."""
    registry, settings = _known(ctx)
    names = dict.fromkeys((*registry.entries, *settings.providers))
    return [name for name in names if name.startswith(begun)]


def _known(ctx: click.Context) -> tuple[Registry, Settings]:
    """What is set up; a configuration that is wrong is told by the command, not by Tab."""
    from penstock.config import Settings, load
    from penstock.registry import Registry

    registry = Registry()
    try:
        settings = load(ctx.find_root().params.get("config_path"), known=registry.key_names)
    except PenstockError:
        settings = Settings()
    return registry, settings


def known_models(settings: Settings) -> Iterator[str]:
    """The models that are known without asking a server: aliases, then ``provider/model``."""
    yield from settings.aliases
    for name, config in settings.providers.items():
        yield from (f"{name}/{model}" for model in config.models)
    for name, tables in _TABLES.items():
        known = import_module(f"penstock.providers.{name}.models")
        for table in tables:
            yield from (f"{name}/{model}" for model in getattr(known, table))
