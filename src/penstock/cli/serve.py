"""``penstock serve``: OpenAI's HTTP surface over every provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.addresses import addresses
from penstock.errors import MissingRequirementsError

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.gateway.serve import Plan

PACE = 0.02
"""Seconds between two pieces of the sandbox: about as fast as people read."""


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port.  [default: 8787]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: 1]")
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="NAME=URL",
    help="An OpenAI-compatible server, as provider NAME. May be repeated.",
)
@click.option(
    "--base-url",
    "base_urls",
    multiple=True,
    metavar="PROVIDER=URL",
    help="Where a self-hosted server is. May be repeated.",
)
@click.option(
    "--config",
    "own_config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Configuration file, instead of penstock.toml.",
)
@click.option("--sandbox", is_flag=True, help="Answer from the sandbox: no account, no network.")
@click.option("--lenient", is_flag=True, help="Leave out what a back end cannot honour.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without keys.")
@click.option("--quiet", is_flag=True, help="No line for each request.")
@click.pass_obj
def serve(
    config_path: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    upstreams: tuple[str, ...],
    base_urls: tuple[str, ...],
    own_config: str | None,
    sandbox: bool,
    lenient: bool,
    insecure: bool,
    quiet: bool,
) -> None:
    """Serve every provider as an OpenAI-compatible endpoint, and a page to chat.

    Runs until Ctrl-C. Running answers then have some seconds to end; the rest is stopped, here and
    at the back ends.
    """
    Plan, run = _gateway()
    overrides: dict[str, Any] = {}
    for name, value in (("host", host), ("port", port), ("workers", workers)):
        if value is not None:
            overrides[f"gateway.{name}"] = value
    if lenient:
        overrides["gateway.lenient"] = True
    config_path = own_config or config_path
    overrides |= addresses(upstreams, base_urls, config_path)
    with _sandbox(wanted=sandbox) as servers:
        for name, settings in servers.items():
            overrides |= {f"providers.{name}.{key}": value for key, value in settings.items()}
        plan = Plan(config=config_path, overrides=overrides, insecure=insecure, quiet=quiet)
        run(plan, lambda settings: _announce(settings, sandbox=sandbox))


def _gateway() -> tuple[type[Plan], Callable[[Plan, Callable[[Settings], None]], None]]:
    """What serves.

    Raises:
        MissingRequirementsError: its packages are not installed.
    """
    try:
        from penstock.gateway.serve import Plan, run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("penstock"):
            raise
        raise MissingRequirementsError(
            f"the gateway needs the package {error.name.partition('.')[0]}; "
            "`pip install 'penstock[gateway]'` brings all that it needs"
        ) from None
    return Plan, run


def _announce(settings: Settings, *, sandbox: bool) -> None:
    from penstock.config.surroundings import key_file

    gateway = settings.gateway
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    base = f"http://{host}:{gateway.port}"
    model = "h2o/falcon-40b" if sandbox else model_to_try(settings)
    store = key_file()
    keyed = gateway.keys or gateway.key_file or (store is not None and store.exists())
    key = " -H 'authorization: Bearer KEY'" if keyed else ""
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    click.echo(f"OpenAI base URL  {base}/v1")
    click.echo(f"Chat and status  {base}/")
    click.echo(f"Try it           curl {base}/v1/chat/completions{key} -d '{body}'")


def model_to_try(settings: Settings) -> str:
    """A name that whoever tries these settings may ask for; MODEL stands for what only he knows."""
    if settings.default_model is not None:
        return settings.default_model
    named = [*settings.routing.pools, *settings.aliases]
    own = [f"{name}/MODEL" for name, each in settings.providers.items() if each.base_url]
    return next(iter([*named, *own]), "allenai/tulu3-405b")


@contextmanager
def _sandbox(*, wanted: bool) -> Iterator[Mapping[str, Mapping[str, str]]]:
    """The sandbox on a thread of its own, for as long as this lasts: provider -> settings."""
    if not wanted:
        yield {}
        return
    from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox
    from penstock.sandbox.script import SHOW

    ready: Future[Mapping[str, Mapping[str, str]]] = Future()
    ended = Event()

    async def serve() -> None:
        async with Sandbox(SANDBOX_PROVIDERS, script=SHOW, pace=PACE) as running:
            ready.set_result(running.providers)
            await asyncio.to_thread(ended.wait)

    thread = Thread(target=lambda: asyncio.run(serve()), name="sandbox", daemon=True)
    thread.start()
    try:
        yield ready.result(timeout=30)
    finally:
        ended.set()
        thread.join()
