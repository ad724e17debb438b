"""The models on offer: what the providers list, asked at most now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from penstock.client import Client
from penstock.errors import PenstockError

FRESH = 60.0
"""Seconds for which a list is taken as it is."""
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
        self._asked: tuple[Client, float, list[dict[str, Any]]] | None = None
        self._lock = asyncio.Lock()

    async def models(self) -> list[dict[str, Any]]:
        """The list in OpenAI's shape; a provider that cannot say is left out."""
        async with self._lock:
            client, now = self._client(), asyncio.get_running_loop().time()
            if self._asked is None or self._asked[0] is not client or self._asked[1] < now - FRESH:
                self._asked = (client, now, await self._ask(client))
            return self._asked[2]

    async def _ask(self, client: Client) -> list[dict[str, Any]]:
        names = client.usable_providers()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_of(client, name)) for name in names]
        short = [self._entry(name, "penstock") for name in sorted(client.settings.aliases)]
        return short + [
            self._entry(id, name)
            for name, task in zip(names, tasks, strict=True)
            for id in task.result()
        ]

    def _entry(self, id: str, owner: str) -> dict[str, Any]:
        return {"id": id, "object": "model", "created": self._created, "owned_by": owner}


async def _of(client: Client, name: str) -> list[str]:
    try:
        async with asyncio.timeout(WAIT):
            return [info.id for info in await client.models(name)]
    except (PenstockError, TimeoutError):
        return []
