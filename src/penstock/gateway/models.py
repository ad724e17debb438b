"""The models on offer: what the providers list, asked at most now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from penstock.client import Client
from penstock.errors import CallerError, PenstockError
from penstock.provider import ProviderConfig
from penstock.types import ModelInfo, Value

FRESH = 60.0
"""Seconds for which a provider's list is taken as it is; also an empty one."""
WAIT = 5.0
"""Seconds that one provider may take to list its models; a slower one cannot be asked."""


class _Told(Value, frozen=True):
    """What is known of a provider's models.

    Attributes:
        client: who asked.
        at: when, by the clock of the event loop.
        silent: the provider was asked and did not say: there may be others.
    """

    client: Client
    at: float
    models: list[ModelInfo]
    silent: bool = False


class Catalogue:
    """The models of all providers that can be used without further settings.

    Of one that cannot be asked just now they are those that it told last, as long as its settings
    are the same; of one that never told any, those that are documented.

    Args:
        client: gives the client of the moment.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._created = int(time.time())
        self._known: dict[str, _Told] = {}

    async def models(self) -> list[dict[str, Any]]:
        """The list in OpenAI's shape."""
        client = self._client()
        names = client.usable_providers()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of(client, name)) for name in names]
        short = [*client.settings.aliases, *client.settings.routing.pools]
        return [self._entry(name, "penstock") for name in sorted(short)] + [
            self._entry(info.id, name)
            for name, task in zip(names, tasks, strict=True)
            for info in task.result().models
        ]

    async def find(self, id: str) -> dict[str, Any] | None:
        """The model of that id or short name, if its provider has it; no other is asked.

        A server that takes any id and cannot be asked may have it.
        """
        client = self._client()
        if id in client.settings.aliases or id in client.settings.routing.pools:
            return self._entry(id, "penstock")
        name, rest = client.resolve(id)
        told = await self._of(client, name)
        known = id in (other for info in told.models for other in _names(info, name))
        if not known and told.silent and rest:
            known = client.capabilities(id).chat_completions
        return self._entry(id, name) if known else None

    def _entry(self, id: str, owner: str) -> dict[str, Any]:
        return {"id": id, "object": "model", "created": self._created, "owned_by": owner}

    async def _of(self, client: Client, name: str) -> _Told:
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is None or known.client is not client or known.at < now - FRESH:
            known = self._known[name] = await self._asked(client, name, now)
        return known

    async def _asked(self, client: Client, name: str, now: float) -> _Told:
        try:
            async with asyncio.timeout(WAIT):
                return _Told(client, now, await client.models(name))
        except (PenstockError, TimeoutError) as error:
            # Without a status nothing was sent: it cannot be used as it is set up.
            silent = not isinstance(error, CallerError) or error.status is not None
            return _Told(client, now, self._remembered(client, name, silent), silent)

    def _remembered(self, client: Client, name: str, silent: bool) -> list[ModelInfo]:
        last = self._known.get(name)
        if last is not None and _config(last.client, name) == _config(client, name):
            return last.models
        return client.documented_models(name) if silent else []


def _config(client: Client, name: str) -> ProviderConfig | None:
    return client.settings.providers.get(name)


def _names(info: ModelInfo, provider: str) -> list[str]:
    """The id of a model and the short names that mean it, too."""
    return [info.id, *(f"{provider}/{short}" for short in info.aliases)]
