"""Refusals of the hosted API as our errors (wire/replicate.md section 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, one_sentence
from penstock.wire.decoder import JSON_ERRORS
from penstock.wire.status import kind_of_status, status_error

_WAIT = re.compile(r"resets in ~?(\d{1,6}(?:\.\d{1,3})?)\s*s")


class Problem(msgspec.Struct, frozen=True):
    """The fields of an error body that say something; any of them may be missing."""

    status: Any = None
    title: Any = None
    detail: Any = None
    retry_after: Any = None
    invalid_fields: Any = None


def _problem(body: bytes) -> Problem:
    try:
        return msgspec.json.decode(body, type=Problem)
    except JSON_ERRORS:
        return Problem()


def _kind(status: int, problem: Problem, creating: bool) -> Kind:
    if status >= 500:
        return "server"  # 503 and 504 too: a POST may have run and be billed
    missing = status == 404 or (
        status == 422
        and isinstance(problem.title, str)
        and "invalid version" in problem.title.lower()
    )
    if missing and creating and _is_the_api(problem):
        return "unknown_model"
    return kind_of_status(status)


def _is_the_api(problem: Problem) -> bool:
    """Its 404 says why; other servers send a page, nothing, or their framework's two words."""
    if problem.status is None and problem.title is None:
        return isinstance(problem.detail, str) and problem.detail != "Not Found"
    return True


def _words(problem: Problem) -> str | None:
    fields = problem.invalid_fields
    if isinstance(fields, list):
        said = [
            f"{item['field']}: {item['description']}"
            for item in fields[:5]
            if isinstance(item, dict) and {"field", "description"} <= item.keys()
        ]
        if said:
            return one_sentence("; ".join(said))
    return one_sentence(problem.detail) if isinstance(problem.detail, str) else None


def _wait(problem: Problem) -> float | None:
    given = problem.retry_after
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return float(given)
    detail = problem.detail if isinstance(problem.detail, str) else ""
    found = _WAIT.search(detail)
    return float(found.group(1)) if found else None


def hosted_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str,
    creating: bool = False,
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for an answer of the API that is not a success.

    Args:
        creating: the answer refuses a new prediction, so that 404 speaks of the model.
    """
    problem = _problem(body)
    kind = _kind(status, problem, creating)
    error = status_error(
        status,
        headers,
        body,
        provider=provider,
        model=model,
        kind=kind,
        detail=_words(problem),
        secrets=secrets,
    )
    if kind == "unknown_model":
        said = f": {error.detail.rstrip('.')}" if error.detail else ""
        error.message = f"Model not found{said}. A community model is owner/name:version."
        error.args = (error.message,)
    if status == 429 and error.retry_after is None:
        error.retry_after = _wait(problem)
    return error
