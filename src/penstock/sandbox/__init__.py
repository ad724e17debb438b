"""Local servers that speak the back ends' real wire protocols.

Nothing here imports the rest of penstock: the sandbox is the twin that the product is
tested against, and recorded exchanges with the real servers judge both. Use it as a
library (`Sandbox`) or as the command ``penstock sandbox``.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from penstock.sandbox.faults import checked
from penstock.sandbox.script import SCRIPTS, Script, ScriptError, load_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.sandbox.backend import Backend
    from penstock.sandbox.faults import Rule
    from penstock.sandbox.received import Received
    from penstock.sandbox.server import Server

__all__ = ["SANDBOX_PROVIDERS", "SCRIPTS", "Sandbox", "Script", "ScriptError", "load_script"]

_SERVERS = {
    "allenai": "penstock.sandbox.allenai:AllenAIServer",
    "openassistant": "penstock.sandbox.openassistant:OpenAssistantServer",
    "h2o": "penstock.sandbox.h2o:H2oServer",
    "tgi": "penstock.sandbox.tgi:TgiServer",
    "chatui": "penstock.sandbox.chatui:ChatUiServer",
    "replicate": "penstock.sandbox.replicate:ReplicateServer",
    "cog": "penstock.sandbox.cog:CogServer",
    "openai": "penstock.sandbox.openai:OpenAIServer",
}

# Where a client's name for the back end is another.
_PROVIDERS = {"openai": "openai_compatible"}

SANDBOX_PROVIDERS: tuple[str, ...] = tuple(_SERVERS)
"""Names of the back ends there is a server for."""


class Sandbox:
    """Servers on loopback ports, from entering to leaving ``async with``.

    Attributes:
        urls: Base URLs by name; a further port is ``name.origin``, for instance
            ``replicate.stream``.
        servers: The servers by name.
    """

    def __init__(
        self,
        providers: Sequence[str] = SANDBOX_PROVIDERS,
        *,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] | None = None,
        port: int | None = None,
        script: str | Script = "echo",
        pace: float = 0.0,
        backend: Backend | None = None,
        options: Mapping[str, Mapping[str, object]] | None = None,
        faults: Sequence[Rule] = (),
        on_request: Callable[[Received], None] | None = None,
    ) -> None:
        """Choose the servers; nothing listens yet.

        Args:
            providers: Names from `SANDBOX_PROVIDERS`. ``kind:tag`` makes a further
                server of that kind with options of its own.
            host: The address to listen on.
            ports: Port by name (of `urls`), for those that need a fixed one.
            port: First of consecutive ports for the others; 0 or None takes free ones.
            script: What the model says: a built-in name, a file, or a `Script`.
            pace: Seconds between two pieces.
            backend: Answers of a real model; it takes the place of the script.
            options: Options by name; a tagged server takes those of its full name only.
            faults: Which requests get which fault, as `penstock.sandbox.faults.Rule`s;
                `load_scenario` reads them from a file.
            on_request: Told of each request before it is answered.

        Raises:
            ValueError: An unknown provider, options for one that is not started, or a fault
                that cannot be read.
            ScriptError: The script cannot be used.
        """
        self.urls: dict[str, str] = {}
        self.servers: dict[str, Server] = {}
        self._names = tuple(providers)
        self._host = host
        self._ports = dict(ports or {})
        self._port = port or None
        self._script: Script = backend or load_script(script)
        self._pace = pace
        self._options = dict(options or {})
        self._faults = checked(faults)
        self._on_request = on_request
        self._check()

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        try:
            numbers = self._numbers()
            for name in self._names:
                await self._start(name, numbers)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def providers(self) -> dict[str, dict[str, str]]:
        """What a client must know to use the servers: settings by provider.

        ``penstock.Client(providers=sandbox.providers)`` takes them as they are. A tagged
        server is not among them: two servers cannot be one provider.
        """
        settings: dict[str, dict[str, str]] = {}
        for name, server in self.servers.items():
            if ":" not in name:
                entry = settings[_PROVIDERS.get(name, name)] = {"base_url": self.urls[name]}
                if server.api_key is not None:
                    entry["api_key"] = server.api_key
        return settings

    def state(self, name: str) -> dict[str, object]:
        """Give what ``GET /_sandbox/state`` answers on that server's port."""
        return self.servers[name].state()

    def _check(self) -> None:
        known = ", ".join(SANDBOX_PROVIDERS)
        for name in self._names:
            if name.partition(":")[0] not in _SERVERS:
                raise ValueError(f"no sandbox server {name!r}; there are: {known}")
        if len(set(self._names)) != len(self._names):
            raise ValueError("a sandbox server was named twice; tag one, as in 'h2o:second'")
        for name in self._options:
            if name not in self._names:
                raise ValueError(f"options for {name!r}, which is not started")

    def _numbers(self) -> Iterator[int]:
        following = self._port
        while True:
            yield following or 0
            following = following + 1 if following else None

    async def _start(self, name: str, numbers: Iterator[int]) -> None:
        from penstock.sandbox.server import Setup

        module, _, class_name = _SERVERS[name.partition(":")[0]].partition(":")
        kind: type[Server] = getattr(importlib.import_module(module), class_name)
        server = kind(
            Setup(
                name=name,
                script=self._script,
                tasks=self._tasks,
                pace=self._pace,
                options=self._options.get(name, {}),
                rules=self._faults,
                on_request=self._on_request,
            )
        )
        self.servers[name] = server
        names = (name, *(f"{name}.{origin}" for origin in server.extra_origins))
        chosen = [self._ports[one] if one in self._ports else next(numbers) for one in names]
        await server.open(self._host, chosen)
        self.urls.update(zip(names, server.urls.values(), strict=True))

    async def _close(self) -> None:
        for server in self.servers.values():
            server.end_runs()
        try:
            for server in self.servers.values():
                await server.aclose()
        finally:
            # The group joins the runs, which are all cancelled by now. An exception of
            # the caller's block is not the group's business: it stays what it is.
            await self._tasks.__aexit__(None, None, None)
