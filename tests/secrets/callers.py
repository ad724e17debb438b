"""A client with canaries for credentials, for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock import Client
from penstock.types import Conversation
from tests.places import MODELS as SERVED
from tests.secrets.canaries import ANONYMOUS, API_KEY, COOKIE, HEADER, SESSION, TRUSTED

MODELS = {name: SERVED[name] for name in SERVED if name != "openai"}
MODELS["openai_compatible"] = "openai_compatible/m"

_HEADERS = {"X-Gate": HEADER}
CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "allenai": {"api_key": API_KEY, "headers": _HEADERS, "dialect": "threads"},
    "openassistant": {"cookies": {"next-auth.session-token": SESSION, "other": COOKIE}},
    "h2o": {"cookies": {"hf-chat": COOKIE, "token": SESSION}, "headers": _HEADERS},
    "tgi": {"api_key": API_KEY, "headers": _HEADERS},
    "chatui": {"cookies": {"hf-chat": COOKIE, "token": SESSION}, "headers": _HEADERS},
    "replicate": {"api_key": API_KEY, "headers": _HEADERS},
    "cog": {"headers": _HEADERS},
    "openai_compatible": {"api_key": API_KEY, "headers": _HEADERS},
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "openassistant, native": {"api_key": API_KEY, "options": {"trusted_client": TRUSTED}},
    "allenai, 2025": {"headers": _HEADERS, "dialect": "message-stream"},
    "allenai, v5": {"api_key": API_KEY, "headers": _HEADERS, "dialect": "v5-chat"},
}
"""Further ways to use a provider, named ``provider, way``."""

WAYS = (*CREDENTIALS, *MORE)


def provider_of(way: str) -> str:
    return way.partition(",")[0]


def model_of(way: str) -> str:
    return MODELS[provider_of(way)]


def client_of(way: str, url: str, **more: Any) -> Client:
    """A client whose provider is at ``url``."""
    credentials = {**CREDENTIALS, **MORE}[way]
    config = {"base_url": url, **credentials, **more.pop("config", {})}
    return Client(providers={provider_of(way): config}, **more)


def conversation_of(way: str, client: Client) -> Conversation | None:
    """A conversation with a canary for an account; None where there are none."""
    if not client.provider(provider_of(way)).capabilities.conversations:
        return None
    conversation = client.conversation(model_of(way))
    if hasattr(conversation, "x_anonymous_user_id"):
        conversation.x_anonymous_user_id = ANONYMOUS
    return conversation
