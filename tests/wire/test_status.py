"""HTTP error answers to errors: kind, words, wait."""

from __future__ import annotations

import pytest

from penstock.errors import ResponseStatusError
from penstock.wire.status import kind_of_status, retry_after_of, status_error, words_of


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, "redirect"),
        (400, "bad_request"),
        (401, "auth"),
        (402, "payment"),
        (403, "forbidden"),
        (404, "not_found"),
        (413, "too_large"),
        (418, "bad_request"),
        (422, "bad_request"),
        (429, "rate_limited"),
        (500, "server"),
        (502, "server"),
        (503, "overloaded"),
        (504, "timeout"),
        (520, "server"),
        (100, "protocol"),
    ],
)
def test_kinds_by_status(status: int, kind: str) -> None:
    assert kind_of_status(status) == kind


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"code": 400, "message": "no  such\\nmodel"}}', "no such model"),
        (b'{"error":"Login first"}', "Login first"),
        (b'{"message":[{"loc":["body","a","b"],"msg":"bad","type":"t"}]}', "a.b: bad"),
        (b'{"detail":[{"loc":["body"],"msg":"m1"},{"loc":7,"msg":"m2"}]}', "m1; m2"),
        (b'{"title":"Insufficient credit","detail":"buy some"}', "Insufficient credit: buy some"),
        (b'{"title":"X","detail":"X: y"}', "X: y"),
        (b'{"title":"Only"}', "Only"),
        (b'"text"', "text"),
        (b"[]", ""),
        (b"7", ""),
        (b'{"detail":{"message":{"error":{"reason":{"description":"deep"}}}}}', ""),
        (b"Internal Server Error", "Internal Server Error"),
        (
            b"<html><head><title>502 Bad\n Gateway</title></head><script>x</script>",
            "502 Bad Gateway",
        ),
        (b"<p>no title <b>here</b></p>", "no title here"),
        (b"", ""),
    ],
)
def test_the_servers_own_words(body: bytes, words: str) -> None:
    assert words_of(body) == words


def test_words_are_short_and_without_secrets() -> None:
    said = words_of(b"Bearer r8_abcdefghijkl is wrong " + b"x" * 10_000)
    assert "r8_abc" not in said
    assert len(said) <= 200


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 00:01:00 GMT",
                "date": "Sat, 21 Nov 2026 00:00:00 GMT",
            },
            60.0,
        ),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 00:00:00 GMT",
                "date": "Sat, 21 Nov 2026 00:01:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 00:01:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
def test_the_wait_asked_for(headers: dict[str, str], seconds: float | None) -> None:
    """faults.md row 53."""
    assert retry_after_of(headers) == seconds


def test_an_error_has_its_facts_and_hides_secrets() -> None:
    headers = {"retry-after": "3", "x-request-id": "req-1"}
    body = b'{"message":"key mykey123 is over its limit"}'
    error = status_error(429, headers, body, provider="p", model="m", secrets=("mykey123",))
    assert (error.kind, error.status, error.retry_after) == ("rate_limited", 429, 3.0)
    assert (error.request_id, error.provider, error.model) == ("req-1", "p", "m")
    assert error.detail == "key *** is over its limit"
    assert str(error) == (
        "p: too many requests: key *** is over its limit (HTTP 429, retry after 3 s, request req-1)"
    )
    assert isinstance(error, ResponseStatusError)


def test_a_dialect_may_know_better() -> None:
    error = status_error(503, {}, b"<html>", provider="p", kind="server", detail="loading")
    assert (error.kind, error.detail) == ("server", "loading")
    assert status_error(404, {}, b"", provider="p").detail is None
