"""The pump that every provider reads with: what of a read counts in the limits of its call."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from penstock.errors import StreamTimeoutError, TruncatedError
from penstock.provider import ProviderConfig
from penstock.providers.common import Call
from penstock.transport import Session
from penstock.types import Timeouts
from penstock.wire.openai import ChatDecoder
from penstock.wire.request import HttpRequest
from penstock.wire.status import status_error
from tests.sockets import Peer, scripted


@pytest.mark.parametrize("limit", ["first_content", "total"])
async def test_the_wait_for_a_read_that_breaks_counts(limit: str) -> None:
    """A call that asks again has what is left of its time, not all of it once more."""

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.head(200, "Content-Type: text/event-stream")
        await peer.chunk(b":\n\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.6):
                await peer.gone()

    async def read(call: Call, url: str) -> None:
        request = HttpRequest(method="GET", url=url)
        async with call.open(request, lambda *given: status_error(*given, provider="p")) as answer:
            async for _ in call.pump(answer, ChatDecoder("p")):
                pass

    async with scripted(silent) as server, Session() as session:
        patient = {"first_content": 9.0, "idle": 9.0}
        limits = Timeouts(**{**patient, limit: 1.0})
        call = Call(session, ProviderConfig(name="p", timeouts=limits))
        with pytest.raises(TruncatedError):
            await read(call, server.url)
        with pytest.raises(StreamTimeoutError):
            await read(call, server.url)
