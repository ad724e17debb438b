"""``penstock providers``: what there is and what each needs."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, one provider a line.")
@click.pass_obj
def providers(config_path: str | None, as_json: bool) -> None:
    """List the providers, what they need, and whether they are set up."""
    import msgspec

    from penstock.cli.render import console
    from penstock.config import load
    from penstock.registry import Registry

    registry = Registry()
    settings = load(config_path, known=registry.key_names)
    rows: list[dict[str, Any]] = []
    for name, entry in registry.entries.items():
        config = settings.providers.get(name)
        ready = not entry.needs or (
            config is not None and bool(config.base_url or config.api_key or config.cookies)
        )
        ready = ready or entry.needs == "a local server"
        rows.append(
            {
                "name": name,
                "label": entry.label,
                "ready": ready,
                "needs": entry.needs,
                "key_env": entry.key_env,
                "dialects": list(entry.dialects),
                "plugin": entry.plugin,
            }
        )
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row).decode())
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("provider", "vendor", "needs", "dialects"):
        table.add_column(title, overflow="fold")
    for row in rows:
        needs = row["key_env"] or row["needs"] or "nothing"
        mark = "[green]ready[/]" if row["ready"] else str(needs)
        table.add_row(f"{row['name']}", str(row["label"]), mark, ", ".join(row["dialects"]))
    console().print(table)
