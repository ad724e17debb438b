"""``penstock keys``: who may use the gateway."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.config import Settings
    from penstock.config.gateway import GatewayKey
    from penstock.gateway.keys import KeyStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the gateway.

    A running gateway takes a change within a second. As soon as there is a key, it answers nobody
    without one.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--models", metavar="NAME,NAME", help="Models it may ask for; NAME* for all that begin so."
)
@click.option("--rpm", type=click.IntRange(min=1), help="Most requests a minute.")
@click.option("--tpm", type=click.IntRange(min=1), help="Most tokens a minute.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Most answers at a time.")
@click.option("--table", is_flag=True, help="Print a table for penstock.toml; store nothing.")
@click.pass_obj
def create(
    config_path: str | None,
    name: str,
    models: str | None,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    table: bool,
) -> None:
    """Make a key for NAME and print it, once: only its digest is kept."""
    from penstock.gateway.keys import StoredKey, hash_of, new_key

    settings = _settings(config_path)
    if not _NAME.fullmatch(name):
        raise click.UsageError("NAME is up to 64 letters, digits, dots, - and _")
    if name in settings.gateway.keys:
        raise click.UsageError(f"there is a key {name!r} in {settings.file}; take another name")
    secret = new_key()
    key = StoredKey(
        hash=hash_of(secret),
        models=tuple(filter(None, (model.strip() for model in (models or "").split(",")))),
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if table:
        click.echo(f"the key of {name}, which is shown this once: {secret}", err=True)
        click.echo(_table(name, key))
        return
    store = _store(settings)
    store.add(name, key)
    click.echo(f"the key of {name}, which is shown this once:", err=True)
    click.echo(secret)
    click.echo(f"its digest is in {store.path}", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one key a line.")
@click.pass_obj
def list_(config_path: str | None, as_json: bool) -> None:
    """List the keys and what they may do."""
    import msgspec

    settings = _settings(config_path)
    store = _store(settings)
    found: list[tuple[str, GatewayKey, str | None, str]] = [
        (name, key, key.created, str(store.path)) for name, key in sorted(store.load().items())
    ]
    found += [
        (name, key, None, settings.file or "")
        for name, key in sorted(settings.gateway.keys.items())
    ]
    if not found:
        click.echo("there are no keys; `penstock keys create NAME` makes one", err=True)
    if as_json:
        for name, key, created, source in found:
            row = {"name": name, "models": key.models, "rpm": key.rpm, "tpm": key.tpm}
            row |= {"concurrency": key.concurrency, "created": created, "source": source}
            click.echo(msgspec.json.encode(row))
    elif found:
        _show((name, key, created or "in the configuration") for name, key, created, _ in found)


@keys.command()
@click.argument("name")
@click.pass_obj
def revoke(config_path: str | None, name: str) -> None:
    """Revoke the key of NAME; answers that it has begun go on to their end."""
    settings = _settings(config_path)
    store = _store(settings)
    if name in settings.gateway.keys and name not in store.load():
        raise click.UsageError(
            f"the key {name!r} stands in {settings.file}; remove its table [gateway.keys.{name}]"
        )
    store.remove(name)
    click.echo(f"revoked {name}", err=True)
    if not store.load() and not settings.gateway.keys:
        click.echo(
            f"no key is left: the gateway answers nobody until there is one. To let everybody ask, "
            f"remove {store.path} and start it anew",
            err=True,
        )


def _settings(config_path: str | None) -> Settings:
    from penstock.cli.render import warn
    from penstock.config import load
    from penstock.registry import Registry

    settings = load(config_path, known=Registry().key_names)
    warn(settings.warnings)
    return settings


def _store(settings: Settings) -> KeyStore:
    from pathlib import Path

    from penstock.config.surroundings import key_file
    from penstock.errors import ConfigError
    from penstock.gateway.keys import KeyStore

    named = settings.gateway.key_file
    path = Path(named) if named else key_file()
    if path is None:
        raise ConfigError(
            "there is no home to keep keys in; name a file as gateway.key_file",
            param="gateway.key_file",
        )
    return KeyStore(path)


def _table(name: str, key: GatewayKey) -> str:
    from penstock.config.places import key_of

    lines = [f"[{key_of('gateway', 'keys', name)}]", f'hash = "{key.hash}"']
    if key.models:
        lines.append(f"models = [{', '.join(map(_quoted, key.models))}]")
    for field in ("rpm", "tpm", "concurrency"):
        if (value := getattr(key, field)) is not None:
            lines.append(f"{field} = {value}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    import msgspec

    return msgspec.json.encode(text).decode()


def _show(rows: Iterable[tuple[str, GatewayKey, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from penstock.cli.render import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("key", "models", "rpm", "tpm", "at a time", "made"):
        table.add_column(column, no_wrap=column == "key")
    for name, key, made in rows:
        numbers = (key.rpm, key.tpm, key.concurrency)
        cells = [", ".join(key.models) or "all", *(str(number or "-") for number in numbers)]
        table.add_row(name, *map(Text, cells), made)
    console().print(table)
