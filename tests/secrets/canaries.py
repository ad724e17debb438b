"""Canary secrets, and the search for them in all that an error, a log or a value shows.

A canary counts as shown where eight of its characters stand together: half a key is a leak, too.
"""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

WINDOW = 8

API_KEY = "kZq81xWv7Kp2mTb9RfY3s"
BEARER = "bHd50uNc4Gj6aQe8LwX1t"
COOKIE = "cVn37oSi2Bk9yDz5MrP4g"
PASSWORD = "pJt64hEx1Ul8fCq7OvA2d"
SESSION = "sRm92bKw5Zy3nGa6TiF8e"
ANONYMOUS = "aXe17vLd9Qo4uHp2SjN6c"
TRUSTED = "tGw83yPf6Ir1kMc5BzU9q"
HEADER = "hOb29rTs7Va4jEn8DxL3w"

ALL = (API_KEY, BEARER, COOKIE, PASSWORD, SESSION, ANONYMOUS, TRUSTED, HEADER)


def windows(secret: str) -> Iterator[str]:
    """Every part of a secret that is long enough to give it away."""
    forms = {secret, quote(secret, safe=""), base64.b64encode(f"ann:{secret}".encode()).decode()}
    for form in forms:
        yield from (form[at : at + WINDOW] for at in range(len(form) - WINDOW + 1))


# What a secret's base64 shares with that of any other password of the same user is none.
_COMMON = {
    part
    for secret in ("", "0", "z")
    for encoded in [base64.b64encode(f"ann:{secret}".encode()).decode()]
    for part in (encoded[at : at + WINDOW] for at in range(len(encoded) - WINDOW + 1))
}
PARTS = frozenset(part for secret in ALL for part in windows(secret)) - _COMMON


def found_in(text: str, allowed: Iterable[str] = ()) -> str | None:
    """The first part of a canary that the text holds, with what stands around it."""
    if PARTS.isdisjoint(text[at : at + WINDOW] for at in range(len(text) - WINDOW + 1)):
        return None
    for part in sorted(PARTS):
        at = text.find(part)
        if at >= 0 and not any(part in one for one in allowed):
            return f"...{text[max(0, at - 60) : at + 30]}..."
    return None


def texts_of(error: BaseException) -> Iterator[str]:
    """All that an error shows, with what caused it, also where a traceback would not say it."""
    yield "".join(traceback.format_exception(error))
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield f"{one} {one!r} {one.args!r} {getattr(one, '__dict__', {})!r}"
        yield " ".join(getattr(one, "__notes__", []))
        waiting += [next_one for next_one in (one.__cause__, one.__context__) if next_one]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def texts_of_records(records: Iterable[logging.LogRecord]) -> Iterator[str]:
    """All that log records show, in any format."""
    formatter = logging.Formatter()
    for record in records:
        yield f"{formatter.format(record)} {record.__dict__!r}"


def assert_unseen(texts: Iterable[str] | Mapping[str, str]) -> None:
    """Fail where a text holds a canary, and say where."""
    named = texts.items() if isinstance(texts, Mapping) else enumerate(texts)
    for name, text in named:
        shown = found_in(text)
        assert shown is None, f"{name}: {shown}"
