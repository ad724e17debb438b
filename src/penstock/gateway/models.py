"""The models on offer: what the providers list, asked at most now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from penstock.client import Client
from penstock.errors import PenstockError
from penstock.types import ModelInfo

FRESH = 60.0
"""Seconds for which a provider's list is taken as it is; also an empty one."""
WAIT = 5.0
"""Seconds that one provider may take to list its models; a slower one is left out."""


class Catalogue:
    """The models of all providers that can be used without further settings.

    Args:
        client: gives the client of the moment.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._created = int(time.time())
        self._known: dict[str, tuple[Client, float, list[ModelInfo]]] = {}

    async def models(self) -> list[dict[str, Any]]:
        """The list in OpenAI's shape; a provider that cannot say is left out."""
        client = self._client()
        names = client.usable_providers()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of(client, name)) for name in names]
        short = [*client.settings.aliases, *client.settings.routing.pools]
        return [self._entry(name, "penstock") for name in sorted(short)] + [
            self._entry(info.id, name)
            for name, task in zip(names, tasks, strict=True)
            for info in task.result()
        ]

    async def find(self, id: str) -> dict[str, Any] | None:
        """The model of that id or short name, if its provider has it; no other is asked."""
        client = self._client()
        if id in client.settings.aliases or id in client.settings.routing.pools:
            return self._entry(id, "penstock")
        name = client.resolve(id)[0]
        known = [other for info in await self._of(client, name) for other in _names(info, name)]
        return self._entry(id, name) if id in known else None

    def _entry(self, id: str, owner: str) -> dict[str, Any]:
        return {"id": id, "object": "model", "created": self._created, "owned_by": owner}

    async def _of(self, client: Client, name: str) -> list[ModelInfo]:
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is None or known[0] is not client or known[1] < now - FRESH:
            known = self._known[name] = (client, now, await _asked(client, name))
        return known[2]


def _names(info: ModelInfo, provider: str) -> list[str]:
    """The id of a model and the short names that mean it, too."""
    return [info.id, *(f"{provider}/{short}" for short in info.aliases)]


async def _asked(client: Client, name: str) -> list[ModelInfo]:
    try:
        async with asyncio.timeout(WAIT):
            return await client.models(name)
    except (PenstockError, TimeoutError):
        return []
