"""``penstock providers``: what there is and what each needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.provider import ProviderConfig
    from penstock.registry import ProviderEntry

ROOM_FOR_VENDORS, ROOM_FOR_DIALECTS = 60, 100
"""Columns that a terminal must have for these to be shown."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, one provider a line.")
@click.pass_obj
def providers(config_path: str | None, as_json: bool) -> None:
    """List the providers, what they need, and whether they are set up."""
    import msgspec

    from penstock.cli.render import warn
    from penstock.config import load
    from penstock.registry import ProviderEntry, Registry

    registry = Registry()
    settings = load(config_path, known=registry.key_names)
    warn(settings.warnings)
    entries = registry.examined()
    known = registry.entries["openai_compatible"]
    for name in settings.providers:
        if name not in registry.entries:  # a server of the user's own
            entries.append(
                ProviderEntry(
                    name, known.factory, "your server", needs_base_url=True, dialects=known.dialects
                )
            )
    rows = [(entry, is_ready(entry, settings.providers.get(entry.name))) for entry in entries]
    if not as_json:
        _show(rows)
        warn(tuple(entry.problem for entry in entries if entry.problem))
        return
    for entry, ready in rows:
        row = {
            "name": entry.name,
            "label": entry.label,
            "ready": ready,
            "needs": entry.needs,
            "key_env": entry.key_env,
            "dialects": entry.dialects,
            "plugin": entry.plugin,
            "problem": entry.problem,
        }
        click.echo(msgspec.json.encode(row))


def is_ready(entry: ProviderEntry, config: ProviderConfig | None) -> bool:
    """Whether all that can be known beforehand is there: code, address and credential."""
    if entry.problem is not None:
        return False
    if entry.needs_base_url:
        return config is not None and config.base_url is not None
    if entry.key_env is not None:
        return config is not None and bool(config.api_key or config.base_url)
    return True


def _show(rows: list[tuple[ProviderEntry, bool]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from penstock.cli.render import console

    screen = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("provider", no_wrap=True)
    table.add_column("needs")
    about, dialects = screen.width >= ROOM_FOR_VENDORS, screen.width >= ROOM_FOR_DIALECTS
    if about:
        table.add_column("vendor")
    if dialects:
        table.add_column("dialects")
    for entry, ready in rows:
        local = entry.needs == "a local server"  # whether it runs, only a call can tell
        needs = entry.key_env or entry.needs or "nothing"
        state = Text("ready", "green") if ready and not local else Text(needs)
        cells = [Text(entry.name), Text("broken", "red") if entry.problem else state]
        if about:
            cells.append(Text("a plug-in" if entry.plugin else entry.label))
        if dialects:
            cells.append(Text(", ".join(entry.dialects)))
        table.add_row(*cells)
    screen.print(table)
