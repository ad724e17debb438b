"""Recorded cases for the tests of the kit: the cassettes, and small ones made up here."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.testing.replay.case import Case, load_case, parse_case

CASSETTES = Path(__file__).resolve().parent.parent / "cassettes"

H2O_MODEL = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
COOKIE = ("cookie", "hf-chat=one")


def cassette(name: str) -> Case:
    """The recorded case of this name."""
    (path,) = CASSETTES.rglob(f"{name}.json")
    return load_case(path)


def exchange(
    method: str,
    path: str,
    body: object = None,
    *,
    status: int = 200,
    answer: object = b"",
    content_type: str = "application/json",
    headers: Sequence[tuple[str, str]] = (),
    host: str = "example.org",
    query: str = "",
    chunks: Sequence[bytes] | None = None,
    sent_as: str = "application/json",
    **response: Any,
) -> dict[str, Any]:
    """One exchange as a case file has it. Bodies that are no bytes become JSON."""
    parts = [_bytes(answer)] if chunks is None else chunks
    sent: list[Sequence[str]] = [("host", host), *headers]
    if body is not None:
        sent.append(("content-type", sent_as))
    return {
        "request": {
            "method": method,
            "path": path,
            "query": query,
            "headers": sent,
            "body_b64": base64.b64encode(_bytes(body)).decode(),
        },
        "response": {
            "status": status,
            "headers": [("content-type", content_type)] if content_type else [],
            "chunks": [
                {"t": number / 10, "b64": base64.b64encode(part).decode()}
                for number, part in enumerate(parts)
                if part
            ],
            "closed": "clean",
            **response,
        },
    }


def case_of(
    provider: str, exchanges: Sequence[dict[str, Any]], expected: object = None, **more: Any
) -> Case:
    """A case made of exchanges."""
    raw = {
        "case": "made-up",
        "provider": provider,
        "exchanges": exchanges,
        "expected": expected or {"text": "", "pieces": [], "finish": None, "error": None},
        **more,
    }
    return parse_case(json.dumps(raw).encode(), "made-up")


def settings(**more: Any) -> dict[str, Any]:
    """POST /settings of the chat-ui of 2023."""
    form = f"ethicsModalAccepted=true&activeModel={H2O_MODEL.replace('/', '%2F')}".encode()
    more = {"headers": [("referer", "https://example.org/")], **more}
    return exchange("POST", "/settings", form, sent_as="application/x-www-form-urlencoded", **more)


def opened(model: str = H2O_MODEL, **more: Any) -> dict[str, Any]:
    """POST /conversation of either chat-ui."""
    more = {"answer": {"conversationId": "6b00e63deb3580645cb56caf"}, "headers": [COOKIE], **more}
    return exchange("POST", "/conversation", {"model": model}, **more)


def asked(inputs: str, **more: Any) -> dict[str, Any]:
    """POST of a message to the chat-ui of 2023."""
    body = {"inputs": inputs, "options": {}, **more.pop("body", {})}
    more = {"content_type": "text/event-stream", "headers": [COOKIE], **more}
    return exchange("POST", "/conversation/6b00e63deb3580645cb56caf", body, **more)


def deleted(**more: Any) -> dict[str, Any]:
    """DELETE of the conversation."""
    more = {"headers": [COOKIE], "content_type": "", **more}
    return exchange("DELETE", "/conversation/6b00e63deb3580645cb56caf", **more)


def frame(text: str, *, whole: str | None = None, special: bool = False) -> bytes:
    """A frame of text-generation-inference."""
    token = {"id": 1, "text": text, "logprob": -0.1, "special": special}
    data = {"token": token, "generated_text": whole, "details": None}
    return b"data:" + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
