"""Requests to the provider under test, and servers for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from penstock.provider import Provider, ProviderConfig
from penstock.providers.h2o.provider import create
from penstock.sandbox import Sandbox
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Message,
)
from tests.providers.stage import (
    Answer,
    Held,
    Stage,
    leaving_nothing,
    said,
)

ID = "6b00e63deb3580645cb56caf"
MESSAGE = f"/conversation/{ID}"
SSE = {"content-type": "text/event-stream"}
COOKIE = "hf-chat=00000000-0000-4000-8000-000000000000; Path=/; HttpOnly; Secure; SameSite=None"


def token(text: str, *, special: bool = False, whole: str | None = None) -> bytes:
    frame = {"token": {"id": 1, "text": text, "special": special}, "generated_text": whole}
    return b"data:" + json.dumps(frame).encode() + b"\n\n"


END = token("<|endoftext|>", special=True, whole=" a")


def provider(session: Session, url: str | None, **config: Any) -> Provider:
    return create(session, ProviderConfig(name="h2o", base_url=url, **config))


def request(
    *texts: str, conversation: Conversation | None = None, model: str = "", **extra: Any
) -> ChatRequest:
    roles: tuple[Any, ...] = ("user", "assistant")
    messages = [Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    return ChatRequest(
        model=model, messages=tuple(messages), conversation=conversation, extra=extra
    )


def asked(provider: Provider, *texts: str, **more: Any) -> AnswerStream:
    made = request(*(texts or ("Hi",)), **more)
    return AnswerStream(lambda: provider.stream(made), provider="h2o", model=made.model)


def routed(server: Stage, *answers: Answer) -> None:
    """All routes of a server that works, with these answers to messages."""
    server.on("POST", "/settings", said(200, {"type": "redirect"}, **{"set-cookie": COOKIE}))
    server.on("POST", "/conversation", said(200, {"conversationId": ID}))
    server.on("POST", MESSAGE, *answers)
    server.on("POST", f"{MESSAGE}/stop-generating", Answer())
    server.on("DELETE", MESSAGE, Answer())


@asynccontextmanager
async def sandboxed(
    script: Held | str = "echo", **options: object
) -> AsyncIterator[tuple[Sandbox, Session, Provider]]:
    """A sandbox, and at the end the proof that nothing is open or left."""
    async with (
        Sandbox(["h2o"], script=script, options={"h2o": options}) as sandbox,
        leaving_nothing(sandbox, "h2o") as session,
    ):
        yield sandbox, session, provider(session, sandbox.urls["h2o"])
