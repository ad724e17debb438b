"""An HTTP error answer to one of our errors: its kind, the server's words, the wait asked for.

A dialect that knows better changes the kind; this is the common part. Bodies are JSON in several
shapes, HTML pages of gateways, or bare text (the "errors" sections of ``wire/*.md``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, error_of, one_sentence, redact
from penstock.wire.decoder import JSON_ERRORS

_KINDS: dict[int, Kind] = {
    400: "bad_request",
    401: "auth",
    402: "payment",
    403: "forbidden",
    404: "not_found",
    405: "forbidden",
    407: "network",
    408: "timeout",
    410: "unknown_model",
    413: "too_large",
    415: "bad_request",
    422: "bad_request",
    429: "rate_limited",
    499: "cancelled",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}

_WORDS: dict[str, str] = {
    "auth": "the server wants a valid credential",
    "payment": "the account has no credit",
    "forbidden": "the server does not allow this",
    "not_found": "the server does not know this path, conversation or message",
    "unknown_model": "the server does not know this model",
    "bad_request": "the server refused the request",
    "context_length": "the prompt is too long for the model",
    "too_large": "the request is too large for the server",
    "moderation": "the server refused the content",
    "captcha": "the site demands a human check, which Penstock never gets round",
    "rate_limited": "too many requests",
    "overloaded": "the server has no free slot",
    "server": "the server failed",
    "timeout": "the server gave up waiting",
    "redirect": "the server sends elsewhere, which is not followed",
    "protocol": "the server's answer does not follow its protocol",
}


def kind_of_status(status: int) -> Kind:
    """The kind that ``status`` means where nothing better is known."""
    if 300 <= status < 400:
        return "redirect"
    if status in _KINDS:
        return _KINDS[status]
    if status >= 500:
        return "server"
    return "bad_request" if status >= 400 else "protocol"


def words_of(body: bytes) -> str:
    """The server's own words in an error body: one sentence without secrets, or nothing."""
    text = body.decode("utf-8", "replace")
    try:
        return one_sentence(_phrase(msgspec.json.decode(body)))
    except JSON_ERRORS:
        pass
    title = re.search(r"(?i)<title[^<>]*>([^<]*)</title", text[:20_000])
    return one_sentence(title.group(1) if title else text[:4000])


def _phrase(value: Any, depth: int = 4) -> str:
    if isinstance(value, str):
        return value
    if depth == 0 or value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_phrase(item, depth - 1) for item in value[:5])))
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("msg"), str):  # pydantic: {"loc", "msg", "type"}
        place = value.get("loc")
        names = [str(name) for name in place if name != "body"] if isinstance(place, list) else []
        return f"{'.'.join(names)}: {value['msg']}" if names else str(value["msg"])
    title = value.get("title")
    for key in ("detail", "message", "error", "errors", "reason", "description"):
        if found := _phrase(value.get(key), depth - 1):
            named = isinstance(title, str) and title and not found.startswith(title)
            return f"{title}: {found}" if named and key == "detail" else found
    return title if isinstance(title, str) else ""


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``Retry-After``: a number, or a date measured by the ``Date`` header."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value):
        return float(value)
    try:
        until, now = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max((until - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def status_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str | None = None,
    kind: Kind | None = None,
    detail: str | None = None,
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for an HTTP answer that is not a success.

    Args:
        headers: names in lower case.
        kind: what the dialect knows better than the status.
        detail: the server's words, where the dialect reads them better.
        secrets: values that must not be shown, should the server echo them.
    """
    kind = kind or kind_of_status(status)
    said = redact(words_of(body) if detail is None else detail, secrets)
    return error_of(
        kind,
        f"{_WORDS.get(kind, 'the server answered with an error')}{f': {said}' if said else ''}",
        provider=provider,
        model=model,
        status=status,
        retry_after=retry_after_of(headers),
        request_id=one_sentence(headers.get("x-request-id", ""), 80) or None,
        detail=said or None,
    )
