"""Refusals by status; rows 53 to 55 of faults.md. Retrying is the router's: here the facts are."""

from __future__ import annotations

import pytest

from penstock.errors import ResponseStatusError
from penstock.sandbox.byte_server import Hang
from penstock.sandbox.faults import Rule
from tests.faults.ground import saying, sends, site
from tests.places import MODELS

DATE = "Date: Sat, 21 Nov 2026 05:00:00 GMT"


def refusal(status: int, *headers: str, body: bytes = b'{"error":{"message":"no"}}') -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", *headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        pytest.param(["Retry-After: 7"], 7.0, id="seconds"),
        pytest.param(["Retry-After: 0.5"], 0.5, id="part-of-a-second"),
        pytest.param(["Retry-After: 86400"], 86400.0, id="over-any-cap"),
        pytest.param([DATE, "Retry-After: Sat, 21 Nov 2026 05:01:00 GMT"], 60.0, id="date"),
        pytest.param([DATE, "Retry-After: Sat, 21 Nov 2020 05:01:00 GMT"], 0.0, id="past"),
        pytest.param(["Retry-After: soon"], None, id="garbage"),
        pytest.param(["Retry-After: -3"], None, id="negative"),
        pytest.param(["Retry-After: 1e9"], None, id="exponent"),
        pytest.param(["Retry-After: " + "9" * 400], None, id="overflow"),
        pytest.param(["Retry-After: nan"], None, id="nan"),
        pytest.param([DATE, "Retry-After: Sat, 99 Nov 2026 99:99:99 GMT"], None, id="bad-date"),
        pytest.param([], None, id="none"),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limited"), (503, "overloaded")])
async def test_rows_53_54_the_wait_asked_for(
    status: int, kind: str, headers: list[str], wait: float | None
) -> None:
    async with saying(sends(refusal(status, *headers), Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.failure.status) == (kind, status)
        assert outcome.failure.retry_after == wait
        assert outcome.failure.retryable
        assert len(here.server.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (500, "server", False),  # a question that may have run is not repeated blindly
        (502, "server", False),
        (503, "overloaded", True),
        (504, "timeout", True),
        (401, "auth", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (451, "bad_request", False),
        (599, "server", False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html><title>Bad</title>", b'{"error":"no"}', b"\xff\0"])
async def test_rows_54_55_a_status(status: int, kind: str, again: bool, body: bytes) -> None:
    async with saying(sends(refusal(status, body=body), Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.failure.status) == (kind, status)
        assert outcome.failure.retryable is again
        assert isinstance(outcome.failure, ResponseStatusError)


@pytest.mark.parametrize("status", [401, 403])
async def test_row_55_no_key_is_shown_although_the_server_repeats_it(status: int) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: sk-c4nary-secret"}}'
    async with saying(sends(refusal(status, body=body), Hang())) as here:
        error = (await here.ask()).failure
        assert "Incorrect API key" in str(error)
        assert "c4nary" not in f"{error} {error!r} {error.__dict__} {error.__cause__!r}"


KINDS = {429: "rate_limited", 503: "overloaded", 401: "auth", 403: "forbidden", 502: "server"}
OWN = {
    ("openassistant", 403): "auth",  # no session: wire/openassistant.md section 3
    ("allenai", 503): "server",  # its ingress, the application is down
    ("replicate", 503): "server",  # wire/replicate.md section 7: it may have run and be billed
}
"""What a protocol means by a status, where it is not the usual."""


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("status", KINDS)
async def test_rows_53_to_55_at_each_request_of_every_back_end(
    name: str, which: int, status: int
) -> None:
    """What was opened before is closed, and the refusal is told as what it is."""
    rule = Rule(fault=f"status={status}; retry-after=3", request=which)
    async with site(name, faults=[rule]) as here:
        outcome = await here.ask("one two")
        here.undone = which <= len(here.calls) and here.calls[which - 1].startswith("DELETE")
        if outcome.error is None:
            assert outcome.text == "one two"  # it was a question beside the way
            return
        assert outcome.text == ""
        assert outcome.kind == OWN.get((name, status), KINDS[status])
        assert outcome.error.status == status
        assert outcome.error.retry_after == 3
