"""``penstock chat``: one question, or a conversation in the terminal."""

from __future__ import annotations

import mimetypes
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.completion import complete_models
from penstock.cli.render import Screen, warn
from penstock.errors import BadRequestError, ConfigError, PenstockError

if TYPE_CHECKING:
    from penstock.sync import Client
    from penstock.types import Messages


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
) -> None:
    """Ask a model one question, or talk to it.

    With QUESTION, with text on standard input, or with both, the answer goes to standard output.
    Without, in a terminal, a conversation begins; /help tells the commands there.
    """
    from penstock import sync

    texts, media = _read_files(files)
    parameters: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "max_tokens": max_tokens,
        "stop": stop or None,
        "seed": seed,
        "timeout": timeout,
        "extra": _extra(params),
    }
    asked = " ".join(question)
    if asked == "-" or (not asked and not sys.stdin.isatty()):
        asked = _text(sys.stdin.buffer.read(), "standard input")
    elif asked and _piped():
        texts.append(_text(sys.stdin.buffer.read(), "standard input"))
    with sync.Client(config=config_path) as client:
        warn(client.settings.warnings)
        name = model or client.settings.default_model
        if not name:
            raise ConfigError(
                "no model is named; say -m provider/model (`penstock models allenai` lists some "
                "that need no account, `penstock providers` the providers) or set default_model "
                "in penstock.toml"
            )
        screen = Screen(as_json=as_json)
        if not asked and not texts and not media and sys.stdin.isatty():
            from penstock.cli.talk import Talk

            Talk(client, screen, name, system, parameters).run()
            return
        if not asked.strip() and not texts and not media:
            raise BadRequestError("the question is empty", param="question")
        messages = [{"role": "system", "content": system}] if system else []
        parts = [part for part in (*texts, asked) if part]
        messages.append({"role": "user", "content": "\n\n".join(parts).strip("\n")})
        parameters["media"] = media
        show = whole if no_stream else ask
        try:
            show(client, screen, name, messages, parameters)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None


def _piped() -> bool:
    """Whether a pipe or a file stands at standard input, and not a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def ask(
    client: Client, screen: Screen, model: str, messages: Messages, parameters: dict[str, Any]
) -> str:
    """Stream one answer to the screen and return its text.

    Raises:
        PenstockError: the answer failed; what had come is on the screen.
        KeyboardInterrupt: the user stopped it; the remote side has been stopped.
    """
    answer = client.stream(model, messages, **parameters)
    with _told(screen), answer:
        for event in answer:
            screen.event(event)
    screen.end()
    return answer.partial


def whole(
    client: Client, screen: Screen, model: str, messages: Messages, parameters: dict[str, Any]
) -> str:
    """Show one whole answer and return its text; raises as ``ask`` does."""
    with _told(screen):
        reply = client.complete(model, messages, **parameters)
    screen.reply(reply)
    return reply.text


@contextmanager
def _told(screen: Screen) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        screen.end()
        screen.say("Stopped, here and on the server.")
        raise
    except PenstockError as error:
        screen.failed(error)
        raise


def _read_files(files: tuple[Path, ...]) -> tuple[list[str], list[tuple[bytes, str]]]:
    texts: list[str] = []
    media: list[tuple[bytes, str]] = []
    for file in files:
        data = file.read_bytes()
        if (mimetypes.guess_type(file.name)[0] or "").startswith("image/"):
            media.append((data, file.name))
        else:
            texts.append(_text(data, str(file)))
    return texts, media


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequestError(f"{name} is not UTF-8 text", param="question") from None


def _extra(params: tuple[str, ...]) -> dict[str, Any]:
    import msgspec

    extra: dict[str, Any] = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p wants NAME=VALUE, not {param!r}")
        try:
            extra[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            extra[name] = value
    return extra
