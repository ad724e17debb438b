"""``penstock config``: where each setting comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.config import Settings


@click.group()
def config() -> None:
    """Show where each setting comes from."""


@config.command()
@click.pass_obj
def show(config_path: str | None) -> None:
    """Every setting with its value and where it comes from.

    What may be a secret is shown as "set".
    """
    settings = _load(config_path)
    rows = [(key, value, "default") for key, value in _defaults() if key not in settings.origins]
    rows += [(key, value, settings.origins[key]) for key, value in settings.shown.items()]
    for line in _lines(sorted(rows)):
        click.echo(line)


def _lines(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    """The rows as columns, or one below the other where a terminal has no room for these."""
    from penstock.cli.render import columns, folded

    keys, values, origins = (max(len(row[column]) for row in rows) for column in range(3))
    values = min(values, 40)
    if not sys.stdout.isatty() or columns() >= keys + values + origins + 4:
        yield from (f"{key:<{keys}}  {value:<{values}}  {origin}" for key, value, origin in rows)
        return
    for key, value, origin in rows:
        yield key
        yield folded(f"  {value} ({origin})")


@config.command()
@click.pass_obj
def path(config_path: str | None) -> None:
    """The file that is read; nothing and exit code 1 if there is none."""
    settings = _load(config_path)
    if settings.file is None:
        click.echo("no configuration file was found", err=True)
        raise click.exceptions.Exit(1)
    click.echo(settings.file)


@config.command()
@click.pass_obj
def check(config_path: str | None) -> None:
    """Read everything and say whether it is right.

    Every provider that is configured is made, and nothing is asked of a server. Exit code 1 and a
    sentence for each mistake; warnings do not count.
    """
    from penstock.cli.checking import Findings
    from penstock.cli.render import folded, warn
    from penstock.cookies import read_cookies

    settings = _load(config_path)
    if settings.cookies_file is not None:
        read_cookies(settings.cookies_file)
    findings = Findings(settings)
    warn(tuple(findings.warnings))
    for mistake in findings.mistakes:
        click.echo(folded(f"Error: {mistake}", err=True), err=True)
    if findings.mistakes:
        raise click.exceptions.Exit(1)
    count = len(settings.origins)
    where = settings.file or "no configuration file"
    click.echo(f"right: {where}, {count} setting{'' if count == 1 else 's'}", err=True)


def _load(config_path: str | None) -> Settings:
    from penstock.cli.render import warn
    from penstock.config import load
    from penstock.registry import Registry

    settings = load(config_path, known=Registry().key_names)
    warn(settings.warnings)
    return settings


def _defaults() -> list[tuple[str, str]]:
    from penstock.config.settings import ConnectionTable, shown
    from penstock.types import Timeouts

    tables = {"connection": ConnectionTable(), "timeouts": Timeouts()}
    found = [(key, "-") for key in ("aliases", "cookies", "default_model")]
    for section, table in tables.items():
        for name in table.__struct_fields__:
            value = getattr(table, name)
            empty = value is None or value == ()
            none = "false" if section == "timeouts" else "-"
            found.append((f"{section}.{name}", none if empty else shown(name, value)))
    return found
