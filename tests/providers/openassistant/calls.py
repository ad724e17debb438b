"""A provider on a scripted site, and its answers."""

from __future__ import annotations

from typing import Any

from penstock.provider import ProviderConfig
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.reader import Pace
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Message, Reply
from tests.providers.openassistant.site import Site

QUICK = Pace(silence=0.2, look_every=0.02, poll=0.005, poll_most=0.01, patience=2.0)
COOKIE = {"next-auth.session-token": "t0ken"}
TIDY = ["POST chat", "POST question", "POST answer", "POST events", "DELETE chat"]


def provider(
    session: Session, site: Site, pace: Pace = QUICK, **config: Any
) -> OpenAssistantProvider:
    if not config.keys() & {"api_key", "options", "cookies"}:
        config["cookies"] = COOKIE
    return OpenAssistantProvider(
        session, ProviderConfig(name="openassistant", base_url=site.url, **config), pace=pace
    )


def answer(
    one: OpenAssistantProvider, text: str = "Why?", conversation: Conversation | None = None
) -> AnswerStream:
    request = ChatRequest(model="m", messages=(Message("user", text),), conversation=conversation)
    return AnswerStream(lambda: one.stream(request), provider="openassistant", model="m")


async def ask(one: OpenAssistantProvider, **more: Any) -> Reply:
    return await answer(one, **more).reply()
