"""A server and a session for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from penstock.transport import Session
from tests.providers.replicate.upstream import Upstream, upstream


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


@pytest_asyncio.fixture
async def session() -> AsyncIterator[Session]:
    async with Session() as running:
        yield running
        assert running.open_connections == 0
