"""``penstock sandbox``: local servers that speak every back end's protocol."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from penstock.cli.listening import cannot_listen

if TYPE_CHECKING:
    from penstock.sandbox import Sandbox
    from penstock.sandbox.byte_server import ByteServer

_SERVERS = {"openai_compatible": "openai", "h2o_sync": "h2o"}
"""A provider's name -> the server that speaks with it, where that has another."""


def complete_servers(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The servers that begin with ``begun``."""
    from penstock.sandbox import SANDBOX_PROVIDERS

    return [name for name in SANDBOX_PROVIDERS if name.startswith(begun)]


def complete_scripts(
    ctx: click.Context, param: click.Parameter, begun: str
) -> list[CompletionItem]:
    """The scripts that begin with ``begun``, and files."""
    from penstock.sandbox import SCRIPTS

    names = [CompletionItem(name) for name in SCRIPTS if name.startswith(begun)]
    return [*names, CompletionItem(begun, type="file")]


MOST_PORTS = 16
"""The last ports are no first ones: each server takes one or two."""


@click.command()
@click.option(
    "--provider",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only these. May be repeated.",
    shell_complete=complete_servers,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535 - MOST_PORTS), help="First of the ports; default: free."
)
@click.option(
    "--script",
    default="echo",
    show_default=True,
    help="A script's name, or a file.",
    shell_complete=complete_scripts,
)
@click.option(
    "--pace",
    type=click.FloatRange(0, 60),
    default=0.02,
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
@click.option(
    "--scenario",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Faults for certain requests, TOML or JSON.",
)
@click.option(
    "--bytes",
    "bytes_file",
    metavar="FILE",
    help="Only a server that says the exact bytes of this file, TOML or JSON.",
)
@click.option("--verbose", is_flag=True, help="Show each request, without secrets.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as JSON, one line.")
def sandbox(
    names: tuple[str, ...],
    host: str,
    port: int | None,
    script: str,
    pace: float,
    backend: str | None,
    model: str | None,
    api_key: str | None,
    scenario: str | None,
    bytes_file: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Start local servers that speak every back end's real protocol.

    They run until Ctrl-C. Clients are pointed at them by base_url; see the printed settings.
    """
    from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox

    if bytes_file is not None:
        asyncio.run(_say_bytes(_byte_server(bytes_file, host, port or 0), as_json))
        return
    names = tuple(map(_server_of, names))
    if (backend is None) != (model is None):
        raise click.UsageError("--backend and --model go together")
    arguments: dict[str, Any] = {
        "providers": names or SANDBOX_PROVIDERS,
        "host": host,
        "port": port,
        "script": script,
        "pace": pace,
    }
    if backend is not None and model is not None:
        from penstock.sandbox.backend import Backend

        arguments["backend"] = Backend(backend, model, api_key=api_key)
    if verbose:
        arguments["on_request"] = lambda received: click.echo(received.shown(), err=True)
    try:
        if scenario is not None:
            from penstock.sandbox.faults import load_scenario

            arguments["faults"] = load_scenario(scenario)
        servers = Sandbox(**arguments)
    except ValueError as error:  # names and scripts, told in one sentence
        raise click.UsageError(str(error)) from None
    asyncio.run(_serve(servers, host, port, as_json))


def _server_of(name: str) -> str:
    """The server that is meant by a name, or by that of our provider for it."""
    from penstock.sandbox import SANDBOX_PROVIDERS

    kind, colon, tag = name.partition(":")
    kind = _SERVERS.get(kind, kind)
    if kind in SANDBOX_PROVIDERS:
        return f"{kind}{colon}{tag}"
    close = get_close_matches(kind, SANDBOX_PROVIDERS, n=1)
    hint = f"did you mean {close[0]}? Known" if close else "known"
    raise click.UsageError(
        f"there is no sandbox {name!r}; {hint} are {', '.join(SANDBOX_PROVIDERS)}"
    )


def _byte_server(file: str, host: str, port: int) -> ByteServer:
    from penstock.sandbox.byte_server import ByteServer, StepsError, load_steps

    try:
        return ByteServer(load_steps(file), host=host, port=port)
    except StepsError as error:
        raise click.UsageError(str(error)) from None


async def _say_bytes(server: ByteServer, as_json: bool) -> None:
    stop = _asked_to_stop()
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise cannot_listen(error, server.host, server.port) from None
        click.echo(f'{{"bytes":"{server.url}"}}' if as_json else f"bytes  {server.url}")
        await stop.wait()


def _asked_to_stop() -> asyncio.Event:
    """Set by Ctrl-C or a polite kill."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    return stop


async def _serve(servers: Sandbox, host: str, port: int | None, as_json: bool) -> None:
    stop = _asked_to_stop()
    async with AsyncExitStack() as stack:
        try:
            running = await stack.enter_async_context(servers)
        except OSError as error:
            opened = sum(len(server.urls) for server in servers.servers.values())
            raise cannot_listen(error, host, port + opened if port else 0) from None
        _print(running, as_json)
        await stop.wait()
    if not as_json:
        click.echo("\nstopped", err=True)


def _print(running: Sandbox, as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(running.urls).decode())
        return
    width = max(map(len, running.urls))
    for name, url in running.urls.items():
        click.echo(f"{name:<{width}}  {url}")
    click.echo("\nPut this into penstock.toml to use them:\n", err=True)
    for provider, settings in running.providers.items():
        click.echo(f"[providers.{provider}]", err=True)
        for name, value in settings.items():
            click.echo(f'{name} = "{value}"', err=True)
    click.echo("\n# Then, where that file is:", err=True)
    if any("api_key" in settings for settings in running.providers.values()):
        click.echo("#   chmod 600 penstock.toml", err=True)
    click.echo("#   penstock models", err=True)
    if "h2o" in running.providers:
        click.echo('#   penstock chat -m h2o/falcon-40b "Hello"', err=True)
    click.echo("\nCtrl-C stops them.", err=True)
