"""The client that answers, and what becomes of it when the configuration changes.

A reload replaces the client. Answers under way keep the one they began with; it is closed after the
last of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import msgspec

from penstock.client import Client
from penstock.config import Settings
from penstock.observe import Observer

_log = logging.getLogger("penstock.gateway")


class Clients:
    """The client of the moment, and those before it that still answer.

    Args:
        observer: of the clients that are made here.

    Attributes:
        current: who answers from now on.
        tasks: where a client that was replaced is closed; without it that is left to ``aclose``.
    """

    def __init__(self, client: Client, observer: Observer) -> None:
        self.current = client
        self.tasks: asyncio.TaskGroup | None = None
        self._observer = observer
        self._answers: Counter[Client] = Counter()

    def made(self, settings: Settings) -> Client:
        """The client for ``settings``; the same one where they say nothing new to it.

        With it stays what is known of failing targets and used limits.

        Raises:
            PenstockError: they are wrong.
        """
        if _say_the_same(settings, self.current.settings):
            return self.current
        return Client(config=settings, observer=self._observer)

    def replace(self, client: Client) -> None:
        """``client`` answers from now on."""
        old, self.current = self.current, client
        if old is not client and not self._answers[old]:
            self._retire(old)

    def take(self, client: Client) -> None:
        """``client`` makes one more answer; ``give_back`` follows."""
        self._answers[client] += 1

    def give_back(self, client: Client) -> None:
        """An answer of ``client`` has ended."""
        self._answers[client] -= 1
        if not self._answers[client] and client is not self.current:
            self._retire(client)

    async def aclose(self) -> None:
        """Close all of them, also while they answer; what they leave behind is told to the log."""
        for client in {self.current, *self._answers}:
            await _close(client)

    def _retire(self, client: Client) -> None:
        if self.tasks is not None:
            self._answers.pop(client, None)
            self.tasks.create_task(_close(client))


def _say_the_same(new: Settings, old: Settings) -> bool:
    """Whether a client is not concerned: ``[gateway]`` aside, and where things were said."""
    same = ("gateway", "origins", "shown", "warnings")
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in same}) == old


async def _close(client: Client) -> None:
    for label in await client.aclose():
        _log.warning("left behind on a remote server: %s", label)
