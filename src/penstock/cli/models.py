"""``penstock models``: what a provider offers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

import click

from penstock.cli.completion import complete_providers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.types import ModelInfo

Row: TypeAlias = "tuple[str, list[str]]"


@click.command()
@click.argument("provider", required=False, shell_complete=complete_providers)
@click.option("--json", "as_json", is_flag=True, help="As JSON, one model a line.")
@click.pass_obj
def models(config_path: str | None, provider: str | None, as_json: bool) -> None:
    """List the models of PROVIDER, or of every configured provider."""
    from penstock import sync
    from penstock.cli.render import folded, warn
    from penstock.errors import PenstockError

    failed = False
    with sync.Client(config=config_path) as client:
        warn(client.settings.warnings)
        names = [provider] if provider else sorted(client.settings.providers)
        if not names:
            words = "no provider is configured; name one, as in `penstock models allenai`"
            click.echo(folded(words, err=True), err=True)
        for name in names:
            try:
                _show(client.models(name), as_json)
            except PenstockError as error:
                if provider:
                    raise
                failed = True
                click.echo(folded(f"{name}: {error.message}", err=True), err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _show(found: list[ModelInfo], as_json: bool) -> None:
    import msgspec

    if as_json:
        for info in found:
            click.echo(msgspec.json.encode(info))
        return
    rows = [(info.id, list(filter(None, [_name(info), ", ".join(_marks(info))]))) for info in found]
    for line in _columns(rows) if sys.stdout.isatty() else map(_tabbed, rows):
        click.echo(line)


def _tabbed(row: Row) -> str:
    return "\t".join((row[0], *row[1]))


def _columns(rows: list[Row]) -> Iterator[str]:
    """For a terminal: two columns, or what is to be known of a model below its id."""
    from textwrap import TextWrapper

    from penstock.cli.render import columns, harmless

    room = columns()
    indented = TextWrapper(
        room,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    width = max((len(name) for name, notes in rows if notes), default=0)
    beside = all(width + 2 + len("; ".join(notes)) <= room for _, notes in rows)
    for name, notes in rows:
        about = harmless("; ".join(notes))
        if not about:
            yield harmless(name)
        elif beside:
            yield f"{harmless(name):<{width}}  {about}"
        else:
            yield harmless(name)
            yield indented.fill(about)


def _name(info: ModelInfo) -> str:
    return "" if info.id.partition(":")[0].endswith(info.name) else info.name


def _marks(info: ModelInfo) -> list[str]:
    images = "only with an image" if info.needs_image else "images" if info.images else ""
    marks = [images, "reasoning" if info.reasoning else "", "tools" if info.tools else ""]
    provider = info.id.partition("/")[0]
    return [mark for mark in marks if mark] + [f"or {provider}/{short}" for short in info.aliases]
