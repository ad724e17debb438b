"""One caller: asks by any of the surfaces, reads to the end or leaves, and says what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from benchmarks.soak.questions import Heard, Question, Surface

PATHS: dict[Surface, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
Event = dict[str, Any]


def body_of(asked: Question) -> dict[str, object]:
    """The question in the words of its surface."""
    message = {"role": "user", "content": asked.text}
    said: dict[str, object] = {"model": asked.model, "stream": asked.stream}
    match asked.surface:
        case "chat":
            return {**said, "messages": [message]}
        case "responses":
            return {**said, "input": asked.text}
        case "messages":
            return {**said, "messages": [message], "max_tokens": 1000}


async def ask(http: aiohttp.ClientSession, url: str, asked: Question) -> Heard:
    """Ask, and read as far as this caller reads; leaving closes the connection."""
    heard = Heard()
    # What a back end cannot honour (Anthropic's surface demands max_tokens) is left out.
    headers = {"x-penstock-lenient": "true"}
    posted = http.post(url + PATHS[asked.surface], json=body_of(asked), headers=headers)
    try:
        async with asyncio.timeout(None if asked.stream else asked.leaves):
            async with posted as answer:
                if answer.status != 200:
                    heard.error = sentence(await answer.json())
                elif asked.stream:
                    await _read(answer, asked, heard)
                else:
                    heard.text, heard.ended = whole(asked.surface, await answer.json())
    except TimeoutError:
        heard.left = True
    return heard


async def _read(answer: aiohttp.ClientResponse, asked: Question, heard: Heard) -> None:
    enough = len(asked.text) * asked.leaves if asked.leaves is not None else None
    async for data in _events(answer):
        if data == "[DONE]":
            heard.ended = True
            continue
        event = json.loads(data)
        text, ended, error = heard_in(asked.surface, event)
        heard.text += text
        heard.ended = heard.ended or ended
        heard.error = heard.error or error
        if enough is not None and len(heard.text) > enough:
            heard.left = True
            answer.close()
            return


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of each event; only LF and CR end a line here."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data: "):
                    yield line[6:].decode()
    assert rest == b"", f"a body that ends inside an event: {rest!r}"


def heard_in(surface: Surface, event: Event) -> tuple[str, bool, str | None]:
    """Text, end and error of one event of a stream."""
    if surface == "chat":
        if "error" in event:
            return "", False, sentence(event)
        text = "".join(one["delta"].get("content") or "" for one in event["choices"])
        return text, False, None
    kind = event["type"]
    if kind in ("error", "response.failed"):
        return "", False, sentence(event)
    if kind == "response.output_text.delta":
        return event["delta"], False, None
    if kind == "content_block_delta":
        return event["delta"].get("text", ""), False, None
    return "", kind in ("response.completed", "message_stop"), None


def whole(surface: Surface, body: Event) -> tuple[str, bool]:
    """Text of a whole answer, and whether it says that it ended well."""
    match surface:
        case "chat":
            choice = body["choices"][0]
            return choice["message"]["content"], choice["finish_reason"] == "stop"
        case "responses":
            parts = [part for item in body["output"] for part in item["content"]]
            return "".join(part["text"] for part in parts), body["status"] == "completed"
        case "messages":
            text = "".join(part["text"] for part in body["content"])
            return text, body["stop_reason"] == "end_turn"


def sentence(told: Event) -> str:
    """The sentence of an error, in whatever shape a surface tells it."""
    error = told.get("error") or told.get("response", {}).get("error") or told
    said: str = error["message"]
    assert said
    return said
