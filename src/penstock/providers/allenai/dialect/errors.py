"""Refusals and error lines of the Playground as our errors (wire/allenai.md 3.4, 3.7, 4.4, 4.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, error_of, one_sentence
from penstock.wire.decoder import JSON_ERRORS
from penstock.wire.status import status_error

_KIND_BY_WORDS: tuple[tuple[str, Kind], ...] = (
    ("inappropriate_prompt", "moderation"),
    ("invalid_captcha", "captcha"),
    ("failed_captcha_assessment", "captcha"),
    ("Invalid model", "unknown_model"),
)

_KIND_BY_REASON: dict[str, Kind] = {"length": "context_length", "model overloaded": "overloaded"}

_HINTS: dict[str, str] = {
    "context_length": "the prompt is too long for the model; shorten it",
    "overloaded": "the model gave no first token in time; try again later",
    "model": "the model or its worker failed",
}

_ADDRESSES = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s'\"<>,)}]+"  # URLs
    r"|\bipv[46]:[^\s'\"{]+"  # gRPC's own spelling
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"
    r"|\[[0-9A-Fa-f:]{2,}\](?::\d+)?"
    r"|\b[\w-]+(?:\.[\w-]+)+:\d{2,5}\b"  # host.name:port
    r"|\blocalhost:\d+"
)


def is_gone(status: int, headers: Mapping[str, str]) -> bool:
    """True for the JSON 404 of a server that does not have this path: nothing ran.

    A proxy's page with the same status says nothing about the software behind it
    (2026-old-endpoint-gone; wire/allenai.md section 3.7: an unknown parent is a 400).
    """
    return status == 404 and "json" in headers.get("content-type", "").lower()


def is_refusal(status: int, headers: Mapping[str, str]) -> bool:
    """True where the application itself said no before anything ran: the path is right."""
    return status in (400, 401, 403, 422) and "json" in headers.get("content-type", "").lower()


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str,
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for an answer that is no success: JSON, problem+json, or a gateway's page."""
    said, captcha = _said(body)
    kind: Kind | None = None
    if captcha:
        kind = "captcha"
    elif status < 500:
        kind = next((kind for words, kind in _KIND_BY_WORDS if said.startswith(words)), None)
    else:
        # 502, 503 and 504 come from the ingress: the application is down (section 3.7).
        kind = "server"
    detail = without_addresses(one_sentence(said)) if said else None
    return status_error(
        status,
        headers,
        body,
        provider=provider,
        model=model,
        kind=kind,
        detail=detail,
        secrets=secrets,
    )


def _said(body: bytes) -> tuple[str, bool]:
    """The server's useful words in a JSON body, and whether it misses a captcha token.

    ``validation_errors[].msg`` is the useful part; ``message`` is then a dump that repeats the
    input (section 3.7). The v5 application sends ``errors`` and ``detail`` (section 5).
    """
    try:
        value = msgspec.json.decode(body, type=dict[str, Any])
    except JSON_ERRORS:
        return "", False
    inner = value.get("error")
    inner = inner if isinstance(inner, dict) else value
    listed = inner.get("validation_errors") or inner.get("errors")
    if isinstance(listed, list):
        found = [item for item in listed if isinstance(item, dict)]
        words = "; ".join(filter(None, map(_validation, found[:5])))
        if words:
            return words, any("captcha" in str(item.get("loc")).lower() for item in found)
    for key in ("message", "detail", "title"):
        if isinstance(inner.get(key), str):
            return str(inner[key]), False
    return "", False


def _validation(item: dict[str, Any]) -> str:
    words = str(item.get("msg") or "").removeprefix("Value error, ")
    loc = item.get("loc")
    place = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    return f"{place}: {words}" if place and words else words


def line_error(reason: str, text: str) -> PenstockError:
    """The error for an error line: ``reason`` decides, ``text`` is for people.

    The text of a gRPC failure names back-end addresses and is not shown
    (2025-grpc-error-mid-stream).
    """
    kind = _KIND_BY_REASON.get(reason, "model")
    said = without_addresses(one_sentence(text.removeprefix("Unknown Error").strip()))
    if "grpc" in reason:
        said = ""
    shown = said or reason
    return error_of(
        kind,
        f"{_HINTS[kind]}{f': {shown}' if shown else ''}",
        status=200,
        detail=shown or None,
        # The same request gives the same refusal.
        retryable=False if reason == "value error" else None,
    )


def without_addresses(text: str) -> str:
    """``text`` without addresses of machines behind the server."""
    return _ADDRESSES.sub("…", text)
