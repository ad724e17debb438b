"""Every kind of error as the caller of the gateway sees it."""

from __future__ import annotations

from typing import get_args

import pytest

from penstock.errors import Kind, error_of
from penstock.gateway.errors import failure_of

STATUS = {
    "bad_request": 400,
    "context_length": 400,
    "moderation": 400,
    "too_large": 413,
    "auth": 502,
    "payment": 502,
    "forbidden": 502,
    "captcha": 502,
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


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_kind_has_its_status(kind: Kind) -> None:
    failure = failure_of(error_of(kind, "it failed"))
    assert failure.status == STATUS[kind]
    assert "it failed" in failure.message
    if kind in ("auth", "payment", "forbidden", "captcha"):
        assert failure.code == f"upstream_{kind}"
        assert (b"x-should-retry", b"false") in failure.headers()


@pytest.mark.parametrize(
    ("kind", "upstream", "status"),
    [
        ("bad_request", 400, 400),
        ("bad_request", 422, 422),
        ("not_found", 404, 404),
        ("timeout", 408, 408),
        ("too_large", 413, 413),
        ("rate_limited", 429, 429),
        ("overloaded", 503, 503),
        ("overloaded", 529, 502),
        ("server", 500, 502),
        ("timeout", 504, 502),
        ("auth", 401, 502),
        ("payment", 402, 502),
        ("forbidden", 403, 502),
    ],
)
def test_an_upstream_of_the_same_protocol_keeps_what_it_says_of_the_request(
    kind: Kind, upstream: int, status: int
) -> None:
    error = error_of(kind, "it failed", status=upstream, retry_after=1.5)
    failure = failure_of(error, openai_compatible=True)
    assert failure.status == status
    if failure.code is None or not failure.code.startswith("upstream_"):
        assert (b"retry-after", b"2") in failure.headers()
