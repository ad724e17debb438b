"""``penstock chat``: one question, or a conversation in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.advice import explain
from penstock.cli.completion import complete_models
from penstock.cli.question import Question, read_parameters, read_question
from penstock.cli.render import Screen, folded, warn
from penstock.cli.transcript import messages_of
from penstock.errors import ConfigError
from penstock.types import Value

if TYPE_CHECKING:
    from penstock.cli.answer import Answered
    from penstock.client import CallParameters
    from penstock.config import Settings
    from penstock.registry import Registry
    from penstock.sync import Client


@click.command()
@click.argument("question", nargs=-1)
@click.option("-m", "--model", help="provider/model, or an alias.", shell_complete=complete_models)
@click.option("-s", "--system", help="System message.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file to add to the question, or an image. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Events as JSON, one a line.")
@click.option("--no-stream", is_flag=True, help="Wait for the whole answer.")
@click.option("-t", "--temperature", type=float)
@click.option("--top-p", type=float)
@click.option("--top-k", type=int)
@click.option("--max-tokens", type=int)
@click.option("--stop", multiple=True, help="A text that ends the answer. May be repeated.")
@click.option("--seed", type=int)
@click.option("--timeout", type=float, help="Seconds for the first piece and between pieces.")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter by the server's own name; the value is JSON or text. May be repeated.",
)
@click.option(
    "--record",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write what the server says as cases for `penstock replay`.",
)
@click.option("--keep", is_flag=True, help="Leave the conversation on the server at the end.")
@click.option(
    "--no-history", is_flag=True, help="Neither offer nor remember the lines that are entered."
)
@click.pass_obj
def chat(
    config_path: str | None,
    question: tuple[str, ...],
    model: str | None,
    system: str | None,
    files: tuple[Path, ...],
    as_json: bool,
    no_stream: bool,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    max_tokens: int | None,
    stop: tuple[str, ...],
    seed: int | None,
    timeout: float | None,
    params: tuple[str, ...],
    folder: Path | None,
    keep: bool,
    no_history: bool,
) -> None:
    """Ask a model one question, or talk to it.

    With QUESTION, with text on standard input, or with both, the answer goes to standard output.
    Without, in a terminal, a conversation begins; /help tells the commands there.

    A conversation is continued on servers that keep one, and removed there at its end.
    """
    from penstock.config import load
    from penstock.registry import Registry

    parameters: CallParameters = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_tokens": max_tokens,
        "stop": stop or None,
        "seed": seed,
        "timeout": timeout,
        "extra": read_parameters(params),
    }
    registry = Registry()
    settings = load(config_path, known=registry.key_names)
    warn(settings.warnings)
    asked = read_question(" ".join(question), files)
    name = model or settings.default_model
    if not name:
        raise ConfigError(_NO_MODEL)
    screen = Screen(as_json=as_json)
    wanted = _Wanted(
        model=name,
        system=system,
        parameters=parameters,
        asked=asked,
        stream=not no_stream,
        folder=folder,
        keep=keep,
        history=not no_history,
    )
    done, left = _carry_out(wanted, screen, settings, registry)
    _tell_end(screen, done, left, settings)


class _Wanted(Value, frozen=True, kw_only=True):
    """What the command line wants.

    Attributes:
        asked: the one question; None for a conversation.
        folder: where what the server says is recorded.
        keep: whether conversations are left on the server.
        history: whether entries are offered and remembered.
    """

    model: str
    system: str | None
    parameters: CallParameters
    asked: Question | None
    stream: bool
    folder: Path | None
    keep: bool
    history: bool


def _carry_out(
    wanted: _Wanted, screen: Screen, settings: Settings, registry: Registry
) -> tuple[Answered | None, list[str]]:
    """Ask or talk; give the answer to the one question, and what is left on servers, as words."""
    from penstock import sync
    from penstock.cli.taping import taped
    from penstock.cli.undone import undone, with_reasons

    with ExitStack() as stack:
        heard = stack.enter_context(undone())
        provider, providers = None, {}
        if wanted.folder is not None:
            name = settings.aliases.get(wanted.model, wanted.model)
            provider, _ = registry.split(name, settings.providers)
            tape = taped(settings, registry, provider, wanted.folder, screen.say)
            providers = stack.enter_context(tape)
        client = sync.Client(config=settings, providers=providers, cleanup=not wanted.keep)
        stack.callback(client.close)
        done = None
        if wanted.asked is None:
            _talk(wanted, client, screen, heard, provider)
        else:
            done = _answer(wanted, wanted.asked, client, screen)
        return done, with_reasons(_closed(client), heard)


def _talk(
    wanted: _Wanted, client: Client, screen: Screen, heard: Sequence[str], recorded: str | None
) -> None:
    """Hold a conversation, in which ``recorded`` is the one provider that may answer."""
    from penstock.cli.history import History
    from penstock.cli.talk import Talk
    from penstock.config.surroundings import history_file

    history = History(history_file() if wanted.history else None)
    facts = (wanted.model, wanted.system, wanted.parameters)
    talk = Talk(client, screen, *facts, history=history, heard=heard)
    talk.run(stream=wanted.stream, recorded=recorded)
    for conversation in talk.left if wanted.keep else ():
        screen.say(f"kept on the server: {conversation}")


def _answer(wanted: _Wanted, asked: Question, client: Client, screen: Screen) -> Answered:
    """Put one question."""
    from penstock.cli.answer import answer

    messages = messages_of((), wanted.system, asked.text)
    parameters: CallParameters = {**wanted.parameters, "media": asked.media}
    return answer(client, screen, wanted.model, messages, parameters, stream=wanted.stream)


def _closed(client: Client) -> list[str]:
    """Close the client; what is left on servers, as words, also where the user waits no longer."""
    try:
        return client.close()
    except KeyboardInterrupt:
        return ["what was still to be removed there"]


def _tell_end(screen: Screen, done: Answered | None, left: list[str], settings: Settings) -> None:
    """Say how it ended, when all that was to be undone has been tried.

    Raises:
        click.exceptions.Exit: it did not end well.
    """
    stopped = done is not None and done.end == "stopped"
    if stopped:
        screen.say("Stopped, here and on the server." if not left else "Stopped here.")
    for what in left:
        screen.say(folded(f"Left on the server: {what}", err=True))
    if stopped:
        raise click.exceptions.Exit(130)
    if done is not None and done.error is not None:
        screen.say(folded(f"Error: {explain(done.error, settings)}", err=True))
        raise click.exceptions.Exit(1)


_NO_MODEL = (
    "no model is named; say -m provider/model, as in -m allenai/tulu3-405b, or set default_model "
    "in penstock.toml. `penstock providers` tells what each provider needs, and `penstock sandbox` "
    "starts servers that need no account and no network"
)
