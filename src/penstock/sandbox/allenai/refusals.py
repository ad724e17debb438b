"""Error bodies of the API (wire/allenai.md sections 2, 3.7, 4.5 and 5).

A handler raises `Refused`; the server turns it into JSON with sorted keys and no newline
at its end, or into a page where the client prefers one. Validation failures carry a list
beside a message that repeats the input, cut in its middle, as pydantic writes it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

from penstock.sandbox.server import reply

# Werkzeug's standard texts, as in the recorded refusals.
STANDARD = {
    400: "The browser (or proxy) sent a request that this server could not understand.",
    401: (
        "The server could not verify that you are authorized to access the URL requested. "
        "You either supplied the wrong credentials (e.g. a bad password), or your browser "
        "doesn't understand how to supply the credentials required."
    ),
    403: (
        "You don't have the permission to access the requested resource. It is either "
        "read-protected or not readable by the server."
    ),
    404: (
        "The requested URL was not found on the server. If you entered the URL manually "
        "please check your spelling and try again."
    ),
    405: "The method is not allowed for the requested URL.",
    413: "The data value transmitted exceeds the capacity limit.",
    500: "Internal Server Error",
}
_SHOWN = 50  # characters of the input that a message repeats


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a body.

    Attributes:
        field: Where; empty for the body as a whole.
        shown: The input as Python writes it, or None where it is not repeated.
        shown_type: Name of the input's type.
    """

    message: str
    type: str = "value_error"
    field: str = ""
    shown: str | None = None
    shown_type: str = "dict"


class Refused(Exception):
    """The request gets an error instead of an answer."""

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(message or STANDARD[status])
        self.status = status
        self.message = message or STANDARD[status]
        self.complaints: tuple[Complaint, ...] = ()
        self.manual = ""


def invalid(title: str, release: str, complaints: Sequence[Complaint]) -> Refused:
    """Refuse a body that does not fit.

    Args:
        title: Name of the model that the body did not fit.
        release: Release of pydantic, part of the address of its manual.
        complaints: What is wrong; at least one.
    """
    many = "s" if len(complaints) > 1 else ""
    lines = [f"{len(complaints)} validation error{many} for {title}"]
    manual = f"https://errors.pydantic.dev/{release}/v/"
    for one in complaints:
        lines += [one.field] if one.field else []
        lines.append(f"  {one.message} [{_input(one)}]")
        lines.append(f"    For further information visit {manual}{one.type}")
    refused = Refused(400, "\n".join(lines))
    refused.complaints = tuple(complaints)
    refused.manual = manual
    return refused


def _input(complaint: Complaint) -> str:
    if complaint.shown is None:
        return f"type={complaint.type}"
    return (
        f"type={complaint.type}, input_value={shortened(complaint.shown)}, "
        f"input_type={complaint.shown_type}"
    )


def shortened(shown: str) -> str:
    """Cut a written value in its middle, as messages do."""
    if len(shown) <= _SHOWN:
        return shown
    return f"{shown[: _SHOWN // 2]}...{shown[1 - _SHOWN // 2 :]}"


def refusal(request: web.Request, refused: Refused) -> web.Response:
    """Answer with a refusal in the form the client asked for."""
    if prefers_html(request.headers.get("Accept", "*/*")):
        return reply(refused.status, _page(refused), "text/html; charset=utf-8")
    error: dict[str, object] = {"code": refused.status, "message": refused.message}
    if refused.complaints:
        error["validation_errors"] = [
            {
                "loc": [one.field] if one.field else [],
                "msg": one.message,
                "type": one.type,
                "url": refused.manual + one.type,
            }
            for one in refused.complaints
        ]
    body = json.dumps({"error": error}, sort_keys=True)
    return reply(refused.status, body, "application/json")


def problem(refused: Refused) -> web.Response:
    """Answer as the newest application does (allenai-2026-v5-whoami)."""
    phrase = HTTPStatus(refused.status).phrase
    slug = phrase.lower().replace(" ", "-")
    body: dict[str, object] = {
        "type": f"http-{slug}",
        "title": phrase,
        "status": refused.status,
        "detail": refused.message,
    }
    if refused.complaints:
        body["errors"] = [
            {
                "type": one.type,
                "loc": ["body", one.field] if one.field else ["body"],
                "msg": one.message,
                "input": one.shown,
            }
            for one in refused.complaints
        ]
    return reply(refused.status, msgspec.json.encode(body), "application/problem+json")


def _page(refused: Refused) -> str:
    phrase = HTTPStatus(refused.status).phrase
    title = f"{refused.status} {phrase}"
    text = html.escape(refused.message).replace("\n", "<br>")
    return (
        f"<!doctype html>\n<html lang=en>\n<title>{title}</title>\n"
        f"<h1>{phrase}</h1>\n<p>{text}</p>\n"
    )


def proxy_page(status: int) -> web.Response:
    """Answer as the proxy in front does, which knows no JSON."""
    title = f"{status} {HTTPStatus(status).phrase}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return reply(status, body, "text/html")


def prefers_html(accept: str) -> bool:
    """Say whether an Accept header ranks a page above JSON."""
    wanted = dict(_weighted(part) for part in accept.lower().split(","))
    page, data = (
        next((wanted[one] for one in (kind, family, "*/*") if one in wanted), 0.0)
        for kind, family in (("text/html", "text/*"), ("application/json", "application/*"))
    )
    return page > data


def _weighted(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    written = next((one[2:] for one in parameters if one.startswith("q=")), "1")
    try:
        return name, float(written)
    except ValueError:
        return name, 0.0
