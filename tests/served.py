"""An application of a test's own on a free port of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(application: web.Application, *, cancelling: bool = False) -> AsyncIterator[str]:
    """Its origin; with ``cancelling`` a handler is cancelled when its caller leaves."""
    runner = web.AppRunner(
        application, handler_cancellation=cancelling, access_log=None, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
