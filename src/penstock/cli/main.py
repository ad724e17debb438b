"""``penstock``: commands are loaded when they are asked for, and errors end here.

Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from shutil import get_terminal_size

import click

from penstock import __version__
from penstock.cli.signals import watch
from penstock.errors import PenstockError

COMMANDS = {
    "chat": "ask a model one question, or talk to it",
    "completion": "let the shell complete commands and models with Tab",
    "config": "show where each setting comes from",
    "demo": "watch every back end answer, with no account and no network",
    "doctor": "ask every configured provider whether it works",
    "keys": "make, list and revoke keys of the gateway",
    "models": "list the models of a provider",
    "providers": "list the providers and what they need",
    "record": "write what a server really says as cases for replay",
    "replay": "run recorded exchanges through the providers",
    "serve": "serve every back end as an OpenAI-compatible endpoint",
    "sandbox": "start local servers that speak every back end's protocol",
}

_ROOM = 50
"""Columns from which on explanations stand beside the options."""


class Formatter(click.HelpFormatter):
    """Help with its explanations below the options where beside them is no room."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write options or commands with what each means."""
        super().write_dl(rows, col_max if self.width >= _ROOM else 2, col_spacing)


class Context(click.Context):
    """A context whose help fits the terminal."""

    formatter_class = Formatter


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported on use."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"penstock.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        command.context_class = Context
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; an unknown one is told with the nearest known."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="penstock %(version)s")
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Configuration file, instead of penstock.toml.",
)
@click.pass_context
def cli(ctx: click.Context, config_path: str | None) -> None:
    """Many chat back ends, one stream.

    Start with `penstock demo`; it needs no account and no network. Then see `penstock providers`
    for what each back end needs, and ask one with `penstock chat`.
    """
    ctx.obj = config_path


def main() -> None:
    """The console script: run a command and turn every error into one sentence and a code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a character shows a "?"
    watch()
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    sys.exit(code)


def _run() -> int:
    try:
        code = cli.main(prog_name="penstock", standalone_mode=False, terminal_width=_width())
    except click.ClickException as error:
        return _refused(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except PenstockError as error:
        return _failed(str(error))
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(f"{place}{error.strerror or error}")
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """The reader of a pipe left: nobody is there to be told, also not by Python's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _width() -> int | None:
    """Columns for help on a terminal that is narrower than what help is made for by itself."""
    width = get_terminal_size().columns - 2
    return width if sys.stdout.isatty() and 20 <= width < _ROOM else None


def _refused(error: click.ClickException) -> int:
    from penstock.cli.render import folded

    said = io.StringIO()
    error.show(said)
    click.echo(folded(said.getvalue().rstrip("\n"), err=True), err=True)
    return error.exit_code


def _failed(sentence: str) -> int:
    from penstock.cli.render import folded

    click.echo(folded(f"Error: {sentence}", err=True), err=True)
    return 1


if __name__ == "__main__":
    main()
