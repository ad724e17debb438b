"""``penstock config``: where each setting comes from."""

from __future__ import annotations

from typing import Any

import click


@click.group()
def config() -> None:
    """Show where each setting comes from."""


@config.command()
@click.pass_obj
def show(config_path: str | None) -> None:
    """Every setting with its value and origin; secrets are shown as "set"."""
    settings = _load(config_path)
    rows = [
        (key, "set" if _secret(key) else _value(settings, key), origin)
        for key, origin in sorted(settings.origins.items())
    ]
    if not rows:
        click.echo("nothing is set; all values are defaults", err=True)
    width = max((len(key) for key, _, _ in rows), default=0)
    for key, value, origin in rows:
        click.echo(f"{key:<{width}}  {value}  ({origin})")


@config.command()
@click.pass_obj
def path(config_path: str | None) -> None:
    """The file that is read; nothing and exit code 1 if there is none."""
    settings = _load(config_path)
    if settings.file is None:
        click.echo("no configuration file was found", err=True)
        raise SystemExit(1)
    click.echo(settings.file)


@config.command()
@click.pass_obj
def check(config_path: str | None) -> None:
    """Read everything and say whether it is right."""
    settings = _load(config_path)
    click.echo(f"right: {settings.file or 'no file'}, {len(settings.origins)} settings", err=True)


def _load(config_path: str | None) -> Any:
    from penstock.config import load
    from penstock.registry import Registry

    return load(config_path, known=Registry().key_names)


def _secret(key: str) -> bool:
    from penstock.config import SECRET_KEYS

    return any(part in SECRET_KEYS for part in key.split("."))


def _value(settings: Any, key: str) -> str:
    first, _, rest = key.partition(".")
    if first == "providers":
        name, _, field = rest.partition(".")
        found = settings.providers[name]
        if field.startswith("timeout"):
            field = f"timeouts.{field.partition('.')[2] or 'first_content'}"
    else:
        found = {"connection": settings.session, "aliases": settings.aliases}.get(first, settings)
        field = rest or {"cookies": "cookies_file"}.get(first, first)
    for part in filter(None, field.split(".")):
        found = found.get(part, "") if isinstance(found, dict) else getattr(found, part, "")
    return str(found)
