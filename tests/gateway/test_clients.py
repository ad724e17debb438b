"""The client of the moment, and those that a reload replaced."""

from __future__ import annotations

import asyncio

from penstock.client import Client
from penstock.config import Settings
from penstock.gateway.clients import Clients
from penstock.observe import silent


async def test_a_client_that_was_replaced_is_closed_after_its_last_answer() -> None:
    first, second = Client(config=Settings()), Client(config=Settings())
    clients = Clients(first, silent)
    async with asyncio.TaskGroup() as clients.tasks:
        clients.take(first)
        clients.take(first)
        clients.replace(second)
        clients.give_back(first)
        await asyncio.sleep(0)
        assert not first.session.closed
        clients.give_back(first)
    assert first.session.closed
    assert not second.session.closed
    await clients.aclose()
    assert second.session.closed


async def test_the_end_closes_also_a_client_that_still_answers() -> None:
    first, second = Client(config=Settings()), Client(config=Settings())
    clients = Clients(first, silent)
    clients.take(first)
    clients.replace(second)
    await clients.aclose()
    assert first.session.closed
    assert second.session.closed
    clients.give_back(first)


async def test_settings_that_say_nothing_new_keep_the_client() -> None:
    settings = Settings()
    client = Client(config=settings)
    assert Clients(client, silent).made(settings) is client
    await client.aclose()
