"""What a caller of the gateway is told: every error as an HTTP status and a body, in one place.

Pure. Sources: ``openai-surface.md`` section 3; the kinds are those of ``penstock.errors``.
"""

from __future__ import annotations

import math

import msgspec

from penstock.errors import Kind, PenstockError
from penstock.types import Value

CREDENTIAL_KINDS: frozenset[Kind] = frozenset({"auth", "payment", "forbidden", "captcha"})
"""Refusals of *our* credential at an upstream: the caller can do nothing about them."""

_STATUS: dict[Kind, int] = {
    "bad_request": 400,
    "context_length": 400,
    "moderation": 400,
    "too_large": 413,
    "unknown_model": 404,
    "not_found": 404,
    "rate_limited": 429,
    "overloaded": 503,
    "server": 502,
    "model": 502,
    "protocol": 502,
    "truncated": 502,
    "network": 502,
    "redirect": 502,
    "timeout": 504,
    "cancelled": 499,
    "config": 500,
}

_CODES: dict[Kind, str] = {
    "context_length": "context_length_exceeded",
    "moderation": "moderation",
    "unknown_model": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
}

_KEPT = frozenset({400, 404, 408, 413, 422, 429, 503})
"""What an OpenAI-compatible upstream says about the caller's request stays as it is."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class Failure(Value, frozen=True):
    """An error as the caller sees it.

    Attributes:
        status: HTTP status, where nothing was sent yet.
        message: one sentence.
        type: OpenAI's word for the family.
        retry_after: seconds, for the header of that name.
        hopeless: asking again cannot help, although the status looks as if it could.
    """

    status: int
    message: str
    type: str = "server_error"
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    hopeless: bool = False

    def body(self) -> bytes:
        """``{"error": ...}`` with all four members, null where nothing is known."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that official clients obey."""
        made: list[tuple[bytes, bytes]] = []
        if self.retry_after is not None:
            made.append((b"retry-after", b"%d" % math.ceil(self.retry_after)))
        if self.hopeless:
            made.append((b"x-should-retry", b"false"))
        return made


def refusal(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    retry_after: float | None = None,
) -> Failure:
    """A refusal of the gateway's own."""
    return Failure(status, message, type_of(status), param, code, retry_after)


def type_of(status: int) -> str:
    """OpenAI's word for a family of statuses."""
    return _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def failure_of(error: PenstockError, *, openai_compatible: bool = False) -> Failure:
    """``error`` as the caller sees it.

    Args:
        openai_compatible: the upstream speaks OpenAI's protocol, so its own statuses about the
            request mean the same to the caller.
    """
    kind = error.kind
    if kind in CREDENTIAL_KINDS:
        return Failure(502, str(error), "server_error", None, f"upstream_{kind}", hopeless=True)
    status = _STATUS[kind]
    if openai_compatible and error.status is not None and error.status >= 400:
        if error.status in _KEPT:
            status = error.status
        elif error.status >= 500:
            status = 502
    return Failure(
        status,
        _sentence(error),
        type_of(status),
        error.param,
        _CODES.get(kind, kind),
        error.retry_after,
        hopeless=kind == "config",
    )


def _sentence(error: PenstockError) -> str:
    """What happened, with the upstream's own words where it sent some."""
    said = error.message
    if error.detail and error.detail not in said:
        said = f"{said}: {error.detail}"
    return f"{error.provider}: {said}" if error.provider else said
