"""``penstock replay``: recorded exchanges through the providers."""

from __future__ import annotations

import click


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
def replay(paths: tuple[str, ...]) -> None:
    """Run each recorded case below PATHS through its provider, over a real loopback socket.

    A line for each case that differs; the last line counts. Exit code 1 if any case fails.
    """
    from penstock.testing.__main__ import main

    raise click.exceptions.Exit(main(["replay", *paths]))
