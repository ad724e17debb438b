"""Refusals at four levels to one error each (``wire/h2o.md`` section 5).

The app's own status; a status of the router passed on; an error frame in the stream; a lost line,
which the transport tells. The router names the reason in ``error_type`` at two of these levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, error_of
from penstock.wire.decoder import JSON_ERRORS
from penstock.wire.status import status_error, words_of

_ERROR_TYPES: dict[str, Kind] = {
    "overloaded": "overloaded",
    "validation": "bad_request",
    "generation": "model",
    "incomplete_generation": "truncated",
}
_WORDS: dict[str, str] = {
    "overloaded": "the model has no free slot",
    "bad_request": "the model's router refused the request",
    "context_length": "the prompt is too long for the model; shorten it or set truncate",
    "truncated": "the model's router lost the rest of the answer",
    "model": "the model failed",
}
_TOO_LONG = re.compile(r"`?inputs`? (?:tokens\b|must have less than)")
_LOGIN = re.compile(r"log-?in|sign-?in|oauth|authorize", re.IGNORECASE)


class _Refusal(msgspec.Struct):
    error: Any = None
    error_type: str | None = None
    estimated_time: float | None = None


def kind_of_failure(error_type: str | None, message: str) -> Kind:
    """The kind of a failure in the router's own words."""
    if error_type == "validation" and _TOO_LONG.search(message):
        return "context_length"
    return _ERROR_TYPES.get(error_type or "", "model")


def frame_error(error_type: str | None, data: bytes, provider: str) -> PenstockError:
    """The failure that an error frame tells; the answer that carried it had status 200."""
    said = words_of(data)
    kind = kind_of_failure(error_type, said)
    words = f"{_WORDS[kind]}: {said}" if said else _WORDS[kind]
    return error_of(kind, words, provider=provider, status=200, detail=said or None)


def answer_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str,
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for a status that is no success, of the app or passed on by it."""
    refusal = _refusal(body)
    kind: Kind | None = None
    if refusal.error_type is not None:
        kind = kind_of_failure(refusal.error_type, str(refusal.error))
    elif status == 424:
        kind = "model"
    elif status == 504:
        kind = "server"  # a gateway's page, like 502 (section 5b); none of our limits
    elif 300 <= status < 400 and _LOGIN.search(headers.get("location", "")):
        kind = "auth"
    error = status_error(
        status, headers, body, provider=provider, model=model, kind=kind, secrets=secrets
    )
    if error.retry_after is None and refusal.estimated_time is not None:
        error.retry_after = max(refusal.estimated_time, 0.0)  # loading, h2o-http-503-loading
    return error


def _refusal(body: bytes) -> _Refusal:
    try:
        return msgspec.json.decode(body, type=_Refusal)
    except JSON_ERRORS:
        return _Refusal()
