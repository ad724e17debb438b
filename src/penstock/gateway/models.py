"""The models on offer: what the providers list, asked at most now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from penstock.client import Client
from penstock.errors import PenstockError

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
        self._known: dict[str, tuple[Client, float, list[str]]] = {}

    async def models(self) -> list[dict[str, Any]]:
        """The list in OpenAI's shape; a provider that cannot say is left out."""
        client = self._client()
        names = client.usable_providers()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of(client, name)) for name in names]
        short = [*client.settings.aliases, *client.settings.routing.pools]
        return [self._entry(name, "penstock") for name in sorted(short)] + [
            self._entry(id, name)
            for name, task in zip(names, tasks, strict=True)
            for id in task.result()
        ]

    async def find(self, id: str) -> dict[str, Any] | None:
        """The model of that id, if its provider lists it; no other provider is asked."""
        client = self._client()
        if id in client.settings.aliases or id in client.settings.routing.pools:
            return self._entry(id, "penstock")
        name = client.resolve(id)[0]
        return self._entry(id, name) if id in await self._of(client, name) else None

    def _entry(self, id: str, owner: str) -> dict[str, Any]:
        return {"id": id, "object": "model", "created": self._created, "owned_by": owner}

    async def _of(self, client: Client, name: str) -> list[str]:
        now = asyncio.get_running_loop().time()
        known = self._known.get(name)
        if known is None or known[0] is not client or known[1] < now - FRESH:
            known = self._known[name] = (client, now, await _asked(client, name))
        return known[2]


async def _asked(client: Client, name: str) -> list[str]:
    try:
        async with asyncio.timeout(WAIT):
            return [info.id for info in await client.models(name)]
    except (PenstockError, TimeoutError):
        return []
