"""What both generations of chat-ui have in common on the wire: SvelteKit's habits.

Which form an error takes by ``Accept``, the session cookie, the check of form posts.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from aiohttp import web

from penstock.sandbox.server import reply

JSON_TYPE = "application/json"
COOKIE = "hf-chat"
_FORM_TYPES = frozenset({"multipart/form-data", "application/x-www-form-urlencoded", "text/plain"})


def wants_json(accept: str | None, *, otherwise: bool) -> bool:
    """Decide between JSON and HTML as SvelteKit does (wire/h2o.md section 2).

    Args:
        accept: The header's value.
        otherwise: The choice where the header is missing.
    """
    if not accept:
        return otherwise
    ranked = sorted(
        (_quality(one), position, one.partition(";")[0].strip())
        for position, one in enumerate(accept.split(","))
    )
    kinds = [kind for _, _, kind in ranked]
    for kind in kinds:
        if kind in (JSON_TYPE, "application/*", "*/*"):
            return True
        if kind in ("text/html", "text/*"):
            return False
    return False


def _quality(part: str) -> float:
    """Give minus the q value, so that the best sorts first."""
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return -float(value)
            except ValueError:
                return 0.0
    return -1.0


def early(request: web.Request, status: int, sentence: str) -> web.Response:
    """Refuse before the app is reached: ``error`` as JSON or the bare sentence."""
    asked = request.headers.get("accept", "") + request.headers.get("content-type", "")
    if JSON_TYPE in asked:
        return reply(status, compact({"error": sentence}), JSON_TYPE)
    return reply(status, sentence, "text/plain")


def error(request: web.Request, status: int, members: Mapping[str, object]) -> web.Response:
    """Refuse from inside the app: JSON with ``message``, or a page."""
    if wants_json(request.headers.get("accept"), otherwise=False):
        return reply(status, compact(members), JSON_TYPE)
    return page(status, str(members["message"]))


def page(status: int, message: str) -> web.Response:
    """Give an error page."""
    text = html.escape(message)
    body = (
        '<!DOCTYPE html>\n<html lang="en">\n\t<head>\n\t\t<meta charset="utf-8" />\n'
        f"\t\t<title>{text}</title>\n\t</head>\n\t<body>\n"
        f'\t\t<div class="error">\n\t\t\t<span class="status">{status}</span>\n'
        f'\t\t\t<div class="message">\n\t\t\t\t<h1>{text}</h1>\n\t\t\t</div>\n'
        "\t\t</div>\n\t</body>\n</html>\n"
    )
    return reply(status, body, "text/html; charset=utf-8")


def compact(value: object) -> str:
    """Write JSON as JavaScript does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_form(request: web.Request) -> bool:
    """Whether this is a post a web page could make without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    return request.method == "POST" and kind in _FORM_TYPES


def origin(url: str) -> str:
    """Give scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def session_cookie(value: str, life: timedelta, *, secure: bool) -> str:
    """Write the ``Set-Cookie`` of a session.

    The real one is ``Secure``, which no HTTP library sends back over plain http
    (wire/h2o.md section 2), so on plain http it is set without.
    """
    expires = (datetime.now(UTC) + life).strftime("%a, %d %b %Y %H:%M:%S GMT")
    mark = "Secure; SameSite=None" if secure else "SameSite=Lax"
    return f"{COOKIE}={value}; Path=/; Expires={expires}; HttpOnly; {mark}"
