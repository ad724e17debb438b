"""Legal case files in unusual clothes: what ``wire/README.md`` allows, and no recording shows."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.testing.constructed.build import Raw

Change = Callable[[Raw], None]
"""Dresses a case in place."""

BASES = (
    "made-allenai-2025-broken-turn-retried",
    "made-allenai-2026-follow-up",
    "made-oa-follow-up",
    "made-h2o-two-turns",
    "made-chatui-two-turns",
    "made-replicate-resume",
    "made-replicate-poll-string",
    "made-replicate-cog-stream-all-events",
)


def unknown_members(case: Raw) -> None:
    case["recorded_at"] = {"when": [1, None]}
    case["expected"]["confidence"] = 0.5
    for exchange in case["exchanges"]:
        exchange["label"] = "x"
        exchange["request"]["http_version"] = "1.1"
        exchange["response"]["reason"] = "OK"
        for chunk in exchange["response"]["chunks"]:
            chunk["note"] = None


def bodies_in_base64(case: Raw) -> None:
    for exchange in case["exchanges"]:
        request = exchange["request"]
        request["body_b64"] = b64encode(request.pop("body").encode()).decode()


def both_bodies_one_null(case: Raw) -> None:
    for number, exchange in enumerate(case["exchanges"]):
        request = exchange["request"]
        request["body_b64"] = None
        if number % 2:
            request["body_b64"] = b64encode(request["body"].encode()).decode()
            request["body"] = None


def header_names(change: Callable[[str], str]) -> Change:
    def dress(case: Raw) -> None:
        for exchange in case["exchanges"]:
            for side in ("request", "response"):
                message = exchange[side]
                message["headers"] = [[change(name), value] for name, value in message["headers"]]

    return dress


def headers_of_the_wire(case: Raw) -> None:
    """The body's framing is gone, its headers are not (wire/h2o.md section 11)."""
    for exchange in case["exchanges"]:
        exchange["response"]["headers"] += [
            ["Transfer-Encoding", "chunked"],
            ["Content-Length", "7"],
            ["Connection", "keep-alive"],
            ["Keep-Alive", "timeout=5"],
            ["Date", "Sat, 21 Nov 2026 00:27:45 GMT"],
            ["Set-Cookie", "a=1; Path=/"],
            ["Set-Cookie", "b=2; Path=/; Secure"],
        ]


def empty_reads(case: Raw) -> None:
    for chunks in _chunks(case):
        blank = {"t": 0.0, "b64": ""}
        chunks[:] = [item for chunk in chunks for item in (blank, chunk, blank)]


def strange_times(case: Raw) -> None:
    for chunks in _chunks(case):
        for number, chunk in enumerate(chunks):
            chunk["t"] = (86_400.5, 0, 12, 3e-7)[number % 4]


def no_times(case: Raw) -> None:
    for chunks in _chunks(case):
        for chunk in chunks:
            del chunk["t"]


def two_byte_reads(case: Raw) -> None:
    for chunks in _chunks(case):
        body = b"".join(b64decode(chunk["b64"]) for chunk in chunks)
        if len(body) < 3000:
            pairs = [body[at : at + 2] for at in range(0, len(body), 2)]
            chunks[:] = [{"t": 0.0, "b64": b64encode(pair).decode()} for pair in pairs]


def zipped_json(case: Raw) -> None:
    """JSON answers may be compressed where the client offers it; streams never are."""
    for exchange in case["exchanges"]:
        response = exchange["response"]
        kinds = [value for name, value in response["headers"] if name.lower() == "content-type"]
        body = b"".join(b64decode(chunk["b64"]) for chunk in response["chunks"])
        named = b"replicate.com" in body  # URLs that the replayer must read to replace them
        if body and not named and kinds and kinds[0].startswith("application/json"):
            response["headers"].append(["Content-Encoding", "gzip"])
            packed = gzip.compress(body, mtime=0)
            response["chunks"] = [{"t": 0.0, "b64": b64encode(packed).decode()}]


def bare(case: Raw) -> None:
    for name in ("notes", "server"):
        del case[name]
    for exchange in case["exchanges"]:
        if not exchange["request"]["query"]:
            del exchange["request"]["query"]


def nulls(case: Raw) -> None:
    case["notes"] = None
    for exchange in case["exchanges"]:
        exchange["request"]["query"] = exchange["request"]["query"] or None
        exchange["response"]["closed_note"] = ""


def never_sent(case: Raw) -> None:
    """Exchanges of the recorder that no client needs."""
    host = _host(case)
    for method, path in (("GET", "/healthcheck"), ("OPTIONS", "/settings"), ("GET", "/")):
        case["exchanges"].append(
            {
                "request": {"method": method, "path": path, "headers": [["Host", host]]},
                "response": {"status": 200, "headers": [], "chunks": [], "closed": "clean"},
            }
        )


def digest_for_text(case: Raw) -> None:
    """A long text stands as its digest (wire/README.md)."""
    for told in (case["expected"], *case["expected"].get("turns", ())):
        text, pieces = told["text"], told.get("pieces") or []
        told["text_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        told["text_chars"] = len(text)
        if pieces and case["case"] != "made-replicate-poll-string":
            told["pieces_chars"] = [len(piece) for piece in pieces]
        told["text"] = told["pieces"] = None
        if told.get("final_content"):
            told["final_content"] = None


def no_pieces(case: Raw) -> None:
    for told in (case["expected"], *case["expected"].get("turns", ())):
        told["pieces"] = None


CHANGES: dict[str, Change] = {
    "unknown-members": unknown_members,
    "bodies-in-base64": bodies_in_base64,
    "both-bodies": both_bodies_one_null,
    "upper-case-headers": header_names(str.upper),
    "lower-case-headers": header_names(str.lower),
    "headers-of-the-wire": headers_of_the_wire,
    "empty-reads": empty_reads,
    "strange-times": strange_times,
    "no-times": no_times,
    "two-byte-reads": two_byte_reads,
    "zipped-json": zipped_json,
    "bare": bare,
    "nulls": nulls,
    "never-sent": never_sent,
    "digest-for-text": digest_for_text,
    "no-pieces": no_pieces,
}


def cases(known: Sequence[Raw]) -> Iterator[Raw]:
    """Every dress on every second base, in turn: each base wears half of them."""
    by_name = {case["case"]: case for case in known}
    for turn, (name, change) in enumerate(CHANGES.items()):
        for base in BASES[turn % 2 :: 2]:
            if change is never_sent and "allenai" in base:
                continue  # there the last exchange is what the case is about (section 9)
            case = json.loads(json.dumps(by_name[base]))
            change(case)
            case["case"] = f"{base}-{name}"
            yield case


def _chunks(case: Raw) -> Iterator[list[dict[str, Any]]]:
    for exchange in case["exchanges"]:
        yield exchange["response"]["chunks"]


def _host(case: Raw) -> str:
    headers = case["exchanges"][0]["request"]["headers"]
    return next(str(value) for name, value in headers if name.lower() == "host")
