"""Running the gateway: settings to processes, signals to what they mean.

* SIGTERM, SIGINT: no new requests; running answers have their time, then they are stopped, here
  and at their back ends.
* SIGHUP, or a changed file: the configuration is read again. Requests under way keep the client
  they began with; an invalid configuration is refused with its reason and the old one stays.

With more than one worker, each is a process of its own that listens on the same address (the
kernel spreads the connections), and the first process only watches over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from penstock.client import Client
from penstock.config import Settings, load
from penstock.config.gateway import GatewaySettings
from penstock.config.surroundings import key_file
from penstock.errors import ConfigError, PenstockError
from penstock.gateway.app import Gateway
from penstock.gateway.server import server_of
from penstock.gateway.siblings import Siblings
from penstock.gateway.view import View
from penstock.gateway.workers import Workers, end_with_parent, stand_apart
from penstock.registry import Registry
from penstock.types import Value

if sys.platform != "win32":
    import uvloop

_log = logging.getLogger("penstock.gateway")


class Plan(Value, frozen=True, kw_only=True):
    """What to serve; travels to every worker.

    Attributes:
        config: the configuration file, or None for the usual places.
        overrides: dotted key -> value, as given by arguments.
        insecure: listen beyond this machine without keys.
        quiet: no line for each request.
    """

    config: str | None = None
    overrides: Mapping[str, Any] = {}
    insecure: bool = False
    quiet: bool = False

    def settings(self) -> Settings:
        """The settings as they are now.

        Raises:
            ConfigError: they are wrong; file, key and line are named.
        """
        return load(self.config, overrides=self.overrides, known=Registry().key_names)


def run(plan: Plan, announce: Callable[[Settings], None]) -> None:
    """Serve until a signal ends it.

    Args:
        announce: called with the settings, the real port in them, once it listens.

    Raises:
        ConfigError: the settings are wrong, or the address cannot be listened on.
    """
    settings = plan.settings()
    check_exposure(settings.gateway, insecure=plan.insecure, store=key_file())
    listener = listen(settings.gateway)
    serving = msgspec.structs.replace(settings.gateway, port=listener.getsockname()[1])
    told = msgspec.structs.replace(settings, gateway=serving)
    if serving.workers == 1:
        _work(plan, listener, lambda: announce(told))
    else:
        _watch_over(plan, serving, listener, lambda: announce(told))


def check_exposure(settings: GatewaySettings, *, insecure: bool, store: Path | None = None) -> None:
    """Refuse to listen beyond this machine where everybody could ask (threats row 14).

    Args:
        store: the key file where the settings name none.

    Raises:
        ConfigError: keys are missing.
    """
    keyed = settings.keys or settings.key_file or (store is not None and store.exists())
    if insecure or keyed or is_loopback(settings.host):
        return
    raise ConfigError(
        f"{settings.host} can be reached from other machines, and there are no keys; make one with "
        "`penstock keys create NAME`, or say --insecure",
        param="gateway.host",
    )


def is_loopback(host: str) -> bool:
    """True where only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(settings: GatewaySettings, *, shared: bool = False) -> socket.socket:
    """A socket bound to the configured address.

    Args:
        shared: further processes bind the same address.

    Raises:
        ConfigError: the address is taken, or is none of this machine's.
    """
    place = f"{settings.host}:{settings.port}"
    try:
        family, _, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # The protocol is named so that asyncio sends small pieces at once (TCP_NODELAY).
        listener = socket.socket(family, socket.SOCK_STREAM, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {place}: {error.strerror or error}; choose another with --port",
            param="gateway.port",
        ) from None
    return listener


# -- one process ---------------------------------------------------------------------------------


def _work(
    plan: Plan,
    listener: socket.socket,
    on_started: Callable[[], None],
    siblings: Siblings | None = None,
) -> None:
    set_up_logs(quiet=plan.quiet)
    with contextlib.suppress(KeyboardInterrupt):  # the server has ended in order by then
        if sys.platform == "win32":
            asyncio.run(_serve(plan, listener, on_started, siblings))
        else:
            uvloop.run(_serve(plan, listener, on_started, siblings))


async def _serve(
    plan: Plan,
    listener: socket.socket,
    on_started: Callable[[], None],
    siblings: Siblings | None,
) -> None:
    settings = plan.settings()
    view = View(siblings)

    def reread() -> Settings:
        anew = plan.settings()
        check_exposure(
            msgspec.structs.replace(anew.gateway, host=settings.gateway.host),
            insecure=plan.insecure,
            store=key_file(),
        )
        return anew

    gateway = Gateway(
        Client(config=settings, observer=view),
        settings.gateway,
        reread=reread,
        key_file=key_file(),
        view=view,
    )

    def started() -> None:
        _spare_collector()
        on_started()

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload)
    if siblings is not None:
        end_with_parent()
    async with siblings.serving(view.told) if siblings else contextlib.nullcontext():
        await server_of(gateway, on_started=started).serve(sockets=[listener])


def _spare_collector() -> None:
    """Let the garbage collector look less often, and not at what lives as long as the process.

    A request makes hundreds of objects and next to no cycles; looking for some after every 700
    objects cost a tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def set_up_logs(*, quiet: bool) -> None:
    """One line of JSON for each request, and the gateway's own words, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("penstock.access")
    access.setLevel(logging.WARNING if quiet else logging.INFO)
    access.addHandler(handler)
    access.propagate = False
    own = logging.getLogger("penstock")
    told = logging.StreamHandler(sys.stderr)
    told.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    own.addHandler(told)
    own.setLevel(logging.INFO)
    # A line for everything that is no HTTP would let anybody fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


# -- several processes ---------------------------------------------------------------------------


def _watch_over(
    plan: Plan, settings: GatewaySettings, held: socket.socket, on_started: Callable[[], None]
) -> None:
    """Serve by workers; ``held`` keeps the port, on which only they listen."""
    held.close()
    spawning = multiprocessing.get_context("spawn")
    with (
        listen(settings, shared=True),
        # Where the workers tell each other their figures; only this user can open it.
        TemporaryDirectory(prefix="penstock-") as folder,
    ):

        def start(index: int, told: Connection) -> BaseProcess:
            siblings = Siblings(Path(folder), index, settings.workers)
            arguments = (plan, settings.port, siblings, told)
            worker = spawning.Process(target=_worker, args=arguments)
            worker.start()
            return worker

        Workers(settings.workers, start, on_started).run()


def _worker(plan: Plan, port: int, siblings: Siblings, told: Connection) -> None:
    stand_apart()
    try:
        settings = msgspec.structs.replace(plan.settings().gateway, port=port)
        _work(plan, listen(settings, shared=True), lambda: told.send(siblings.index), siblings)
    except PenstockError as error:
        sys.exit(f"ERROR penstock.gateway: a worker cannot start: {error}")
