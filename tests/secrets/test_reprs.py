"""What values show of themselves: no credential, in no form."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

from penstock import Client, ProviderConfig
from penstock.config import load
from penstock.errors import PenstockError, error_of
from penstock.provider import SessionConfig
from penstock.providers.framework import AsyncGeneratorProvider
from penstock.transport import Session
from penstock.wire.request import HttpRequest
from tests.secrets.callers import CREDENTIALS, MORE, WAYS, client_of, conversation_of, model_of
from tests.secrets.canaries import ANONYMOUS, API_KEY, COOKIE, PASSWORD, assert_unseen

PROXY = f"http://ann:{PASSWORD}@127.0.0.1:9"


def shown(value: Any) -> Iterator[str]:
    """All forms in which people show a value."""
    yield from (repr(value), str(value), f"{value}", f"{[value]}", f"{ {'value': value} }")
    assert not is_dataclass(value), "a dataclass would show its fields"


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_and_what_it_is_made_of(way: str) -> None:
    async with client_of(way, "http://127.0.0.1:9", proxy=PROXY, cleanup=True) as client:
        conversation = conversation_of(way, client)
        provider = client.provider(way.partition(",")[0])
        stream = client.stream(model_of(way), "hi", conversation=conversation)
        values = [client, client.session, client.settings, provider, stream]
        for value in [*values, conversation, client.session.outbox, client.registry]:
            assert_unseen(shown(value))
        assert_unseen(shown(copy.copy(conversation)))


@pytest.mark.parametrize("way", WAYS)
def test_a_configuration(way: str) -> None:
    config = ProviderConfig(
        name="x", base_url="http://h", proxy=PROXY, **{**CREDENTIALS, **MORE}[way]
    ).with_(dialect=None)
    assert_unseen(shown(config))
    assert_unseen(shown(SessionConfig(proxy=PROXY)))
    assert_unseen(shown(Session(SessionConfig(proxy=PROXY))))


def test_settings_read_from_the_environment() -> None:
    env = {
        "PENSTOCK_H2O_BASE_URL": "http://127.0.0.1:9",
        "PENSTOCK_OPENAI_API_KEY": API_KEY,
        "REPLICATE_API_TOKEN": API_KEY,
        "PENSTOCK_PROXY": PROXY,
    }
    settings = load(
        env=env, known={"h2o": None, "openai": None, "replicate": "REPLICATE_API_TOKEN"}
    )
    assert settings.session.proxy == PROXY
    assert settings.providers["replicate"].api_key == API_KEY
    assert_unseen(shown(settings))
    assert_unseen([repr(settings.shown), repr(settings.origins), repr(settings.warnings)])


def test_a_request() -> None:
    headers = (("Authorization", f"Bearer {API_KEY}"), ("Cookie", f"a={COOKIE}"))
    assert_unseen(shown(HttpRequest(method="GET", url="http://h/", headers=headers)))


async def test_a_conversation_that_is_kept_shows_no_account_but_keeps_it() -> None:
    async with Client(providers={"allenai": {"base_url": "http://127.0.0.1:9"}}) as client:
        conversation = client.conversation("allenai/tulu3-405b")
        conversation.x_anonymous_user_id = ANONYMOUS  # type: ignore[attr-defined]
        assert_unseen(shown(conversation))
        assert ANONYMOUS in repr(conversation.to_dict()), "what is stored is whole"


def test_an_error_that_forgets_stays_what_it_is() -> None:
    error = error_of(
        "auth", f"no: {API_KEY}", status=401, detail=f"{API_KEY[:12]}…", request_id=API_KEY
    )
    error.forget([API_KEY])
    assert_unseen([*shown(error), repr(error.__dict__), repr(error.args)])
    assert (error.kind, error.status, error.detail) == ("auth", 401, "***…")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, PenstockError)
    assert_unseen(shown(again))


def test_the_documented_classes() -> None:
    for cls in AsyncGeneratorProvider.__subclasses__():
        assert_unseen([cls.params, repr(cls.get_parameters())])
