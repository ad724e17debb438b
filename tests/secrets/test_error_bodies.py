"""A server that tells the credential back: no error, log record or repr holds it.

threats.md rows 9 and 10.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from penstock import Client
from penstock.errors import PenstockError
from tests.secrets.callers import WAYS, client_of, conversation_of, model_of, provider_of
from tests.secrets.canaries import assert_unseen, found_in, texts_of, texts_of_records
from tests.secrets.echo import FORMS, Echo, echo

QUICK = (200, 302, 401, 500)
FURTHER = (204, 301, 307, 400, 402, 403, 404, 407, 408, 409, 410, 413, 422, 429, 502, 503, 504, 529)
STATUSES = (*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in FURTHER))
CUTS = range(104, 201, 12)
"""Characters before the secret; errors keep 200 of a server's words, and 80 of an id."""
SEARCHING = frozenset({"allenai, 2025"})
"""Where a failure is followed by a search for what it may have made, which takes a second."""


async def failures(way: str, client: Client) -> AsyncIterator[PenstockError]:
    """The errors of everything that a caller can do."""
    model = model_of(way)
    conversation = conversation_of(way, client)
    for whole in (True, False):
        try:
            if whole:
                await client.complete(model, "hi")
            else:
                async with client.stream(model, "hi", conversation=conversation) as answer:
                    async for _ in answer:
                        pass
        except PenstockError as error:
            yield error
    try:
        await client.models(provider_of(way))
    except PenstockError as error:
        yield error
    if conversation is not None:
        conversation.id = conversation.id or "64d3c0ffee64d3c0ffee64d3"
        try:
            await client.delete(model, conversation)
        except PenstockError as error:
            yield error


async def judge(way: str, server: Echo, caplog: pytest.LogCaptureFixture) -> int:
    """How many errors there were, none of which shows a canary."""
    count = 0
    async with client_of(way, server.url, timeout=2) as client:
        async for error in failures(way, client):
            count += 1
            assert_unseen(texts_of(error))
    assert_unseen(texts_of_records(caplog.records))
    caplog.clear()
    return count


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", WAYS)
async def test_no_status_shows_a_secret(
    way: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with echo() as server:
        server.status = status
        for form in ("detail", "nested") if way in SEARCHING else FORMS:
            server.form = FORMS[form]
            count = await judge(way, server, caplog)
            assert count or status < 300
        assert any(map(found_in, server.sent)), "the server was never told a secret"


@pytest.mark.parametrize("way", WAYS)
async def test_half_a_secret_is_not_left_where_a_text_is_cut(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with echo() as server:
        server.status = 400
        for form in ("text", "nested"):
            server.form = FORMS[form]
            for cut in CUTS:
                server.before = "x" * (cut % 7) + " y" * (cut // 2)
                assert await judge(way, server, caplog)
