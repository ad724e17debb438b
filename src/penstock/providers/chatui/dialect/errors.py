"""Refusals by status, and failures told inside a good answer (``wire/h2o.md`` section 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from penstock.errors import Kind, PenstockError, error_of, one_sentence
from penstock.wire.status import kind_of_status, status_error, words_of

Step = Literal["create", "message", "other"]
"""What the refused request wanted: the same status means different things."""

_CONTEXT = re.compile(
    r"context (?:length|window)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)
_TOO_LONG = re.compile(r"too long|too large|message length", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"\bmodel\b.*\b(?:not found|not exist|does not exist|unknown)", re.IGNORECASE | re.DOTALL
)
_WORDS: dict[str, str] = {
    "auth": "the server's own back end refused its credential",
    "rate_limited": "the server's back end has too many requests",
    "overloaded": "the server's back end has no free slot",
    "context_length": "the prompt is too long for the model",
    "bad_request": "the server's back end refused the request",
    "unknown_model": "the server's back end does not know the model",
}


def answer_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str = "",
    step: Step = "other",
    url: str = "",
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for a status that is no success.

    Args:
        step: what the request wanted.
        url: where the request went, to tell a login page from a moved server.
    """
    kind: Kind | None = None
    if status == 400 and step == "create":
        kind = "unknown_model"  # chatui-unknown-model-400
    elif status == 400 and step == "message" and _TOO_LONG.search(words_of(body)):
        kind = "too_large"  # over messageLength
    elif status == 504:
        kind = "server"  # a gateway's page; none of our limits
    elif status in (302, 303) and not _moved(url, headers.get("location", "")):
        kind = "auth"  # on to the identity provider: a login is configured
    return status_error(
        status, headers, body, provider=provider, model=model, kind=kind, secrets=secrets
    )


def _moved(url: str, location: str) -> bool:
    here, there = urlsplit(url), urlsplit(location)
    return bool(url) and there.path == here.path and there.hostname == here.hostname


def line_error(message: str, status: int | None, provider: str) -> PenstockError:
    """The failure that a status/error line tells; the answer that carried it had status 200.

    Args:
        message: the server's words.
        status: the back end's HTTP status, where the line has one.
    """
    kind = _kind_of_line(message, status)
    said = one_sentence(message)
    words = _WORDS.get(kind, "the model failed")
    return error_of(
        kind,
        f"{words}: {said}" if said else words,
        provider=provider,
        status=200,
        detail=said or None,
    )


def _kind_of_line(message: str, status: int | None) -> Kind:
    if _CONTEXT.search(message) and status in (None, 400, 413, 422):
        return "context_length"
    if status is None or not 400 <= status < 600:
        return "model"
    if status in (400, 404) and _NO_MODEL.search(message):
        return "unknown_model"
    # No failure in a line is a timeout (section 11, "error kinds used"): no limit of ours.
    return "server" if status == 504 else kind_of_status(status)
