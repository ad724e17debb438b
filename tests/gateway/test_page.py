"""The files of the page and the headers that keep what a model wrote from acting."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from penstock.gateway.http import Refused
from penstock.gateway.page import Page, PageAnswer
from tests.gateway.running import running_gateway

NONE: dict[bytes, bytes] = {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page as the build leaves it."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Page</title>")
    script = tmp_path / "assets" / "index-Bx1.js"
    script.write_text("let a = 1\n")
    script.with_name("index-Bx1.js.gz").write_bytes(gzip.compress(script.read_bytes()))
    (tmp_path / "built-from").write_text("digest")
    return tmp_path


def header(answer: PageAnswer, name: str) -> str | None:
    values = [value.decode() for key, value in answer.headers if key == name.encode()]
    assert len(values) <= 1
    return values[0] if values else None


def policy(answer: PageAnswer) -> dict[str, str]:
    said = header(answer, "content-security-policy")
    assert said is not None
    return {rule.split(" ")[0]: rule.partition(" ")[2] for rule in said.split("; ")}


def test_the_policy_lets_run_and_reach_nothing_but_the_gateway(folder: Path) -> None:
    for path in ("/", "/index.html", "/assets/index-Bx1.js"):
        answer = Page(folder).answer(path, "GET", NONE)
        rules = policy(answer)
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["img-src"] == "'self' data:"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in str(rules)
        assert header(answer, "x-content-type-options") == "nosniff"
        assert header(answer, "referrer-policy") == "no-referrer"


def test_names_with_a_hash_last_and_the_rest_is_asked_for_again(folder: Path) -> None:
    page = Page(folder)
    asset = page.answer("/assets/index-Bx1.js", "GET", NONE)
    assert header(asset, "cache-control") == "public, max-age=31536000, immutable"
    start = page.answer("/", "GET", NONE)
    assert header(start, "cache-control") == "no-cache"
    tag = header(start, "etag")
    assert tag is not None
    again = page.answer("/", "GET", {b"if-none-match": f'"other", W/{tag}'.encode()})
    assert (again.status, again.body) == (304, b"")
    assert policy(again), "a 304 renews the headers that a browser keeps"
    assert page.answer("/", "GET", {b"if-none-match": b'"other"'}).status == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        (b"gzip, deflate, br", True),
        (b"br;q=1.0, gzip;q=0.8", True),
        (b"GZIP", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.0", False),
        (b"xgzip", False),
        (b"", False),
    ],
)
def test_those_who_take_gzip_get_it(folder: Path, accepted: bytes, packed: bool) -> None:
    answer = Page(folder).answer("/assets/index-Bx1.js", "GET", {b"accept-encoding": accepted})
    assert header(answer, "content-encoding") == ("gzip" if packed else None)
    assert header(answer, "vary") == "accept-encoding"
    assert header(answer, "content-length") == str(len(answer.body))
    assert (gzip.decompress(answer.body) if packed else answer.body) == b"let a = 1\n"


def test_head_tells_the_same_without_the_body(folder: Path) -> None:
    page = Page(folder)
    whole = page.answer("/", "GET", NONE)
    head = page.answer("/", "HEAD", NONE)
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")


@pytest.mark.parametrize(
    "path",
    ["/built-from", "/assets/index-Bx1.js.gz", "/../page.py", "/assets/../index.html", "//", "/x"],
)
def test_nothing_else_is_served(folder: Path, path: str) -> None:
    page = Page(folder)
    assert path not in page.paths
    with pytest.raises(Refused) as refused:
        page.answer(path, "GET", NONE)
    assert refused.value.failure.status == 404


def test_other_methods_are_refused(folder: Path) -> None:
    with pytest.raises(Refused) as refused:
        Page(folder).answer("/", "POST", NONE)
    assert refused.value.failure.status == 405


def test_without_a_build_it_says_what_to_do(tmp_path: Path) -> None:
    page = Page(tmp_path)
    assert not page.built
    answer = page.answer("/", "GET", NONE)
    assert answer.status == 503
    assert b"python -m tools.build_page" in answer.body
    assert policy(answer)["default-src"] == "'none'"


async def test_below_another_application_the_paths_are_the_same(folder: Path) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the page reads no body")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"path": "/ai/assets/index-Bx1.js", "root_path": "/ai", "method": "GET", "headers": []}
    await Page(folder)(scope, receive, send)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"let a = 1\n")


async def test_the_gateway_shows_it_with_a_request_id() -> None:
    async with running_gateway({}) as gateway, gateway.http.get(gateway.url + "/") as answer:
        assert answer.status in {200, 503}  # 503 where nobody built the page
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"].startswith("req_")
        async with gateway.http.post(gateway.url + "/") as posted:
            assert posted.status == 405
