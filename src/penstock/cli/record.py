"""``penstock record``: live traffic as cases for the replay kit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.completion import complete_providers

if TYPE_CHECKING:
    from penstock.testing.record import Recorded, Recorder

_SHOWN = 48


@click.command()
@click.argument("url")
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("recordings"),
    show_default=True,
    help="Folder for the case files.",
)
@click.option(
    "--provider",
    metavar="NAME",
    help="Whose protocol it is; default: by the paths.",
    shell_complete=complete_providers,
)
@click.option("--redact-text", is_flag=True, help="Mask questions and answers, too.")
@click.option(
    "--also",
    multiple=True,
    metavar="HOST",
    help="A further host whose URLs in answers are recorded. May be repeated.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.pass_obj
def record(
    config_path: str | None,
    url: str,
    folder: Path,
    provider: str | None,
    redact_text: bool,
    also: tuple[str, ...],
    host: str,
    port: int | None,
) -> None:
    """Record what a server at URL really says, as cases for `penstock replay`.

    The base URL to use in its place is printed; requests to it go on to URL, and each conversation
    becomes one file. Keys, cookies and tokens are replaced before anything is written. It runs
    until Ctrl-C.
    """
    from penstock.config import load
    from penstock.registry import Registry
    from penstock.testing.record import Recorder

    settings = load(config_path, known=Registry().key_names)
    recorder = Recorder(
        url,
        folder,
        provider=provider,
        redact_text=redact_text,
        also=also,
        host=host,
        port=port or 0,
        ca_bundle=settings.session.ca_bundle,
        note=_say,
    )
    asyncio.run(_run(recorder, partial(_advice, url, folder, provider)))


async def _run(recorder: Recorder, advice: Callable[[str], str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with recorder:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        click.echo(recorder.url)
        _say(advice(recorder.url))
        await stop.wait()
        _say("\nReading what was recorded ...")
    _report(recorder)


def _advice(url: str, folder: Path, provider: str | None, local: str) -> str:
    from penstock.cli.render import folded

    name = (provider or "NAME").upper().replace("-", "_")
    meant = "" if provider else " NAME is the provider's, as `penstock providers` lists it."
    before = (
        f"Recording {url} into {folder}.\n"
        f"Use the address above in its place, for instance as follows.{meant}"
    )
    command = f"PENSTOCK_{name}_BASE_URL={local} penstock chat -m {provider or 'NAME'}/MODEL"
    after = f"A key for it goes into PENSTOCK_{name}_API_KEY. Ctrl-C ends the recording."
    return f"{folded(before, err=True)}\n\n  {command}\n\n{folded(after, err=True)}"


def _report(recorder: Recorder) -> None:
    if not recorder.cases:
        _say("Nothing was recorded.")
    for case in recorder.cases:
        _say(f"{case.path}  {_told(case)}")
    failed = [case for case in recorder.cases if case.result.verdict == "failed"]
    for case in failed:
        for line in case.result.lines():
            _say(f"  does not replay: {line}")


def _told(case: Recorded) -> str:
    result = case.result
    text = result.text if len(result.text) <= _SHOWN else f"{result.text[:_SHOWN]}…"
    count = f"{case.exchanges} exchange{'' if case.exchanges == 1 else 's'}"
    if result.verdict == "skipped":
        return f"{count}; {result.reason}"
    end = result.error or result.finish or "no end known"
    return f"{count}; {text!r}, {end}"


def _say(line: str) -> None:
    click.echo(line, err=True)
