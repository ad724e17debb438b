"""The documented classes and the sync client keep the same silence: own sessions, other threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import penstock
from penstock.errors import PenstockError
from penstock.providers import AllenAI, H2o, OpenAssistant, Replicate
from penstock.providers.framework import AsyncGeneratorProvider
from tests.secrets.canaries import (
    API_KEY,
    COOKIE,
    PASSWORD,
    SESSION,
    assert_unseen,
    found_in,
    texts_of,
    texts_of_records,
)
from tests.secrets.echo import FORMS, Echo, echo_in_a_thread

CLASSES: Mapping[type[AsyncGeneratorProvider], Mapping[str, Any]] = {
    AllenAI: {"api_key": API_KEY},
    OpenAssistant: {"cookies": {"next-auth.session-token": SESSION}},
    H2o: {"cookies": {"hf-chat": COOKIE}},
    Replicate: {"api_key": API_KEY},
}
MODELS = {Replicate: "meta/meta-llama-3-8b-instruct", H2o: "falcon-40b"}
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[Echo]:
    """The echo in a thread of its own, for callers that block."""
    with echo_in_a_thread() as running:
        yield running


@pytest.mark.parametrize("form", ["nested", "text", "html"])
@pytest.mark.parametrize("status", [401, 200])
@pytest.mark.parametrize("cls", CLASSES)
def test_a_documented_class(
    cls: type[AsyncGeneratorProvider],
    status: int,
    form: str,
    server: Echo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.status, server.form = status, FORMS[form]
    given = {**CLASSES[cls], "base_url": server.url, "timeout": 2}
    model = MODELS.get(cls, "")
    with pytest.raises(PenstockError) as streamed:
        list(cls.create_completion(model, MESSAGES, **given))
    with pytest.raises(PenstockError) as whole:
        asyncio.run(cls.create_async(model, MESSAGES, **given))
    assert any(map(found_in, server.sent)), "the server was told"
    for caught in (streamed, whole):
        assert_unseen(texts_of(caught.value))
    assert_unseen(texts_of_records(caplog.records))


@pytest.mark.parametrize("status", [401, 200])
def test_the_sync_client(status: int, server: Echo, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.status, server.form = status, FORMS["nested"]
    config = {"base_url": server.url, "api_key": API_KEY}
    proxy = f"http://ann:{PASSWORD}@{server.url[7:]}"
    with penstock.sync.Client(providers={"openai_compatible": config}, proxy=proxy) as client:
        with pytest.raises(PenstockError) as caught:
            client.complete("openai_compatible/m", "hi")
        with pytest.raises(PenstockError) as listed:
            client.models("openai_compatible")
        assert_unseen([repr(client), repr(client.stream("openai_compatible/m", "hi"))])
    assert_unseen([*texts_of(caught.value), *texts_of(listed.value)])
    assert_unseen(texts_of_records(caplog.records))
