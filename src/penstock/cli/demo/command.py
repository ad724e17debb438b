"""The arguments of ``penstock demo``."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches

import click


def complete_systems(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The back ends that begin with ``begun``."""
    from penstock.cli.demo.systems import KEYS

    return [key for key in KEYS if key.startswith(begun)]


@click.command()
@click.option(
    "--provider",
    "keys",
    multiple=True,
    metavar="NAME",
    envvar="PENSTOCK_DEMO_PROVIDER",
    help="Only this back end. May be repeated.",
    shell_complete=complete_systems,
)
@click.option(
    "--question",
    metavar="TEXT",
    envvar="PENSTOCK_DEMO_QUESTION",
    help="Ask this instead.",
)
@click.option(
    "--pace",
    type=click.FloatRange(0, 5),
    default=0.025,
    show_default=True,
    help="Seconds a piece.",
)
@click.option("--backend", metavar="URL", help="Answers from this OpenAI-compatible server.")
@click.option("--model", help="The model to ask there.")
@click.option(
    "--api-key",
    envvar="PENSTOCK_BACKEND_API_KEY",
    show_envvar=True,
    help="The key for it; the variable is the better place.",
)
def demo(
    keys: tuple[str, ...],
    question: str | None,
    pace: float,
    backend: str | None,
    model: str | None,
    api_key: str | None,
) -> None:
    """Watch every back end answer, with no account and no network.

    Local servers speak the real protocols; one client asks them all. Exit code 0 says that every
    answer came whole, that the recorded exchanges agree, and that nothing was left behind.
    """
    from penstock.cli.demo.board import Board
    from penstock.cli.demo.play import Plan, play
    from penstock.cli.demo.systems import KEYS, QUESTION, SYSTEMS
    from penstock.cli.render import console

    keys = tuple(key if key in KEYS else _key_of(key) for key in keys)
    if (backend is None) != (model is None):
        raise click.UsageError("--backend and --model go together")
    answers = None
    if backend is not None and model is not None:
        from penstock.sandbox.backend import Backend

        answers = Backend(backend, model, api_key=api_key)
    plan = Plan(
        systems=tuple(system for system in SYSTEMS if not keys or system.key in keys),
        question=(question or "").strip() or QUESTION,
        pace=pace,
        model=answers,
    )
    if asyncio.run(play(plan, Board(console()))):
        raise click.exceptions.Exit(1)


def _key_of(name: str) -> str:
    """The back end of the provider with that name."""
    from penstock.cli.demo.systems import KEYS, SYSTEMS

    for system in SYSTEMS:
        if system.provider == name:
            return system.key
    close = get_close_matches(name, KEYS, n=1)
    hint = f"did you mean {close[0]}? Known" if close else "known"
    raise _Unknown(f"there is no back end {name!r}; {hint} are {', '.join(KEYS)}")


class _Unknown(click.ClickException):
    """Wrong usage in one sentence: with ``make demo`` there is no usage to show."""

    exit_code = 2
