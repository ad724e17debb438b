"""``penstock models``: what a provider offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock.cli.completion import complete_providers

if TYPE_CHECKING:
    from penstock.types import ModelInfo


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

    for info in found:
        if as_json:
            click.echo(msgspec.json.encode(info))
            continue
        about = "" if info.id.partition(":")[0].endswith(info.name) else info.name
        click.echo("\t".join(filter(None, [info.id, about, ", ".join(_marks(info))])))


def _marks(info: ModelInfo) -> list[str]:
    images = "only with an image" if info.needs_image else "images" if info.images else ""
    marks = [images, "reasoning" if info.reasoning else "", "tools" if info.tools else ""]
    provider = info.id.partition("/")[0]
    return [mark for mark in marks if mark] + [f"or {provider}/{short}" for short in info.aliases]
