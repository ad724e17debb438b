"""Requests to the provider under test, and servers for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from penstock.provider import Provider, ProviderConfig
from penstock.providers.chatui.provider import create
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

ID = "6b00e63d1e8869ece49896c1"
MESSAGE = f"/conversation/{ID}"
TREE = f"/api/v2/conversations/{ID}"
MODEL = "h2oai/h2ogpt-4096-llama2-13b-chat"
JSONL = {"content-type": "application/jsonl"}
COOKIE = "hf-chat=00000000-0000-4000-8000-000000000000; Path=/; HttpOnly; Secure; SameSite=None"
CREATED = {
    "conversationId": ID,
    "conversation": json.dumps({"json": {"rootMessageId": "root"}, "meta": {}}),
}


def line(kind: str, **more: object) -> bytes:
    return json.dumps({"type": kind, **more}).encode() + b"\n"


def token(text: str) -> bytes:
    return line("stream", token=text.ljust(16, "\0"))


def ending(text: str) -> bytes:
    final = line("finalAnswer", text=text, interrupted=False)
    return final + b" " * 4096 + line("status", status="finished")


def tree(*messages: tuple[str, str, list[str]]) -> Answer:
    listed = [{"id": i, "from": f, "ancestors": a} for i, f, a in messages]
    return said(200, {"json": {"messages": listed}})


STORED = tree(("root", "system", []), ("q", "user", ["root"]), ("a", "assistant", ["root", "q"]))


def provider(session: Session, url: str | None, **config: Any) -> Provider:
    return create(session, ProviderConfig(name="chatui", base_url=url, **config))


def request(
    *texts: str, conversation: Conversation | None = None, model: str = MODEL, **more: Any
) -> ChatRequest:
    roles: tuple[Any, ...] = ("user", "assistant")
    messages = [Message(role=roles[index % 2], content=text) for index, text in enumerate(texts)]
    return ChatRequest(model=model, messages=tuple(messages), conversation=conversation, **more)


def asked(provider: Provider, *texts: str, **more: Any) -> AnswerStream:
    made = request(*(texts or ("Hi",)), **more)
    return AnswerStream(lambda: provider.stream(made), provider="chatui", model=made.model)


def routed(server: Stage, *answers: Answer) -> None:
    """All routes of a server that works, with these answers to messages."""
    server.on("POST", "/conversation", said(200, CREATED, **{"set-cookie": COOKIE}))
    server.on("POST", MESSAGE, *answers)
    server.on("POST", f"{MESSAGE}/stop-generating", Answer())
    server.on("GET", TREE, STORED)
    server.on("DELETE", MESSAGE, Answer())


@asynccontextmanager
async def sandboxed(
    script: Held | str = "echo", **options: object
) -> AsyncIterator[tuple[Sandbox, Session, Provider]]:
    """A sandbox, and at the end the proof that nothing is open or left."""
    async with (
        Sandbox(["chatui"], script=script, options={"chatui": options}) as sandbox,
        leaving_nothing(sandbox, "chatui") as session,
    ):
        yield sandbox, session, provider(session, sandbox.urls["chatui"])
