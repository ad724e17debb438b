"""The scripted site and a session that ends before it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from penstock.transport import Session
from tests.providers.openassistant.site import Site, running


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as one:
        yield one


@pytest_asyncio.fixture
async def session(site: Site) -> AsyncIterator[Session]:  # ends before the site does
    async with Session() as one:
        yield one
        await one.outbox.drain(2.0)
        assert one.open_connections == 0
