"""Case files built from parts: answers, exchanges, expectations (wire/README.md)."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

Raw = dict[str, Any]
Headers = Sequence[tuple[str, str]]

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain; charset=utf-8"


def answer(
    *parts: bytes | str,
    status: int = 200,
    content_type: str | None = JSON,
    headers: Headers = (),
    closed: str = "clean",
    pause: float = 0.05,
    **more: Any,
) -> Raw:
    """A response whose reads are ``parts``, ``pause`` seconds apart."""
    typed = [] if content_type is None else [("content-type", content_type)]
    return {
        "status": status,
        "headers": [*typed, *headers],
        "chunks": [
            {"t": round(number * pause, 3), "b64": b64encode(as_bytes(part)).decode()}
            for number, part in enumerate(parts)
        ],
        "closed": closed,
        **more,
    }


def exchange(
    method: str,
    path: str,
    response: Raw,
    *,
    host: str,
    query: str = "",
    headers: Headers = (),
    body: bytes | str = "",
    content_type: str | None = None,
) -> Raw:
    """One request and its response."""
    typed = [] if content_type is None else [("Content-Type", content_type)]
    return {
        "request": {
            "method": method,
            "path": path,
            "query": query,
            "headers": [("Host", host), *headers, *typed],
            "body": body if isinstance(body, str) else body.decode(),
        },
        "response": response,
    }


def case(
    name: str, provider: str, exchanges: Sequence[Raw], expected: Raw, notes: str, **more: Any
) -> Raw:
    """A case file as a value."""
    return {
        "case": name,
        "provider": provider,
        "server": "constructed",
        "notes": notes,
        "exchanges": list(exchanges),
        "expected": expected,
        **more,
    }


def said(*pieces: str, finish: str | None = "stop", **more: Any) -> Raw:
    """An answer that came whole."""
    listed = list(pieces)
    return {"text": "".join(pieces), "pieces": listed, "finish": finish, "error": None, **more}


def failed(kind: str, status: int | None, message: Any = "", *pieces: str, **more: Any) -> Raw:
    """An answer that failed, with what came of it."""
    error = {"kind": kind, "status": status, "message": message}
    return {**said(*pieces, finish="error"), "error": error, **more}


def cut(data: bytes | str, *sizes: int) -> Iterator[bytes]:
    """``data`` in reads of these sizes, in turn."""
    left = as_bytes(data)
    for size in cycle(sizes):
        if not left:
            return
        yield left[:size]
        left = left[size:]


def page(title: str) -> str:
    """The page of a proxy."""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1>"
        "</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    )


def compact(value: object) -> str:
    """JSON without spaces, raw UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_bytes(part: bytes | str) -> bytes:
    """Text as UTF-8; halves of characters as they are."""
    return part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
