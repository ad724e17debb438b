"""Error bodies of the API (wire/replicate.md section 6).

Two writers exist: the edge says ``application/problem+json`` and ends with a line feed, the
web part is a plain ``{"detail": ...}``. What has no recorded or quoted wording has ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.server import reply

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"

_PAGE = (
    "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\n"
    "<center><h1>502 Bad Gateway</h1></center>\n<hr><center>cloudflare</center>\n"
    "</body>\n</html>\n"
)


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a body; an empty field is the body itself."""

    type: str
    field: str
    description: str

    @property
    def line(self) -> str:
        """How it stands in the detail."""
        return f"- {self.field}: {self.description}" if self.field else f"- {self.description}"


def problem(
    status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer of the edge."""
    return reply(status, msgspec.json.encode(body) + b"\n", PROBLEM_TYPE, headers)


def unauthenticated(shown: bool) -> web.Response:
    """401, for a wrong token (``shown``) or none."""
    what = "a valid authentication token" if shown else "an authentication token"
    detail = f"You did not pass {what}"
    return problem(401, {"title": "Unauthenticated", "detail": detail, "status": 401})


def no_credit() -> web.Response:
    """402."""
    detail = "You have insufficient credit to run this model."
    return problem(402, {"title": "Insufficient credit", "detail": detail, "status": 402})


def no_resource() -> web.Response:
    """404 of the edge; also said of a community model that was called without a version."""
    return problem(404, {"detail": "The requested resource could not be found.", "status": 404})


def not_found(detail: str = "Not found.") -> web.Response:
    """404 of the web part."""
    return reply(404, msgspec.json.encode({"detail": detail}), JSON_TYPE)


def no_versions() -> web.Response:
    """404 for the versions of an official model (replicate/replicate-javascript#258)."""
    detail = "This model is an official model and does not expose a list of versions."
    body = {"status": 404, "title": "Not found", "detail": detail}
    return reply(404, msgspec.json.encode(body), JSON_TYPE)


def invalid_input(faults: Sequence[Fault]) -> web.Response:
    """422 for a body or an input that does not fit."""
    body = {
        "detail": "".join(f"{fault.line}\n" for fault in faults),
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": faults,
    }
    return problem(422, body)


def invalid_version() -> web.Response:
    """422 for a version that does not exist."""
    detail = (
        "The specified version does not exist (or perhaps you don't have permission to use it?)"
    )
    title = "Invalid version or not permitted"
    return problem(422, {"title": title, "detail": detail, "status": 422})


def throttled(seconds: float) -> web.Response:
    """429 with the wait in three places."""
    wait = max(1, round(seconds))
    detail = f"Request was throttled. Your rate limit resets in ~{wait}s."
    body = {"detail": detail, "status": 429, "retry_after": wait}
    return problem(429, body, {"Retry-After": str(wait)})


def no_json() -> web.Response:
    """400 for a body that is no JSON object; its wording is not known."""
    return problem(400, {"title": "Bad request", "detail": "Malformed JSON", "status": 400})


def quoted(which: str) -> web.Response:
    """Give a refusal that others have quoted, by its name among the values of ``refusal``."""
    wait = "Request was throttled. Your rate limit resets in ~2s."
    match which:
        case "expired-key":
            return problem(401, {"detail": "Invalid or expired API token."})
        case "forbidden":
            return problem(403, {"title": "Forbidden", "detail": "Not allowed.", "status": 403})
        case "throttled-body":
            return problem(429, {"detail": "Too many requests.", "status": 429, "retry_after": 2})
        case "throttled-detail":
            return problem(429, {"detail": wait, "status": 429})
        case "too-large":
            return problem(413, {"detail": "The request body is too large.", "status": 413})
        case _:
            return reply(502, _PAGE, "text/html")
