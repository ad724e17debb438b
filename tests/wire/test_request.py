"""Requests as values, and which URLs are made or followed."""

from __future__ import annotations

import pytest

from penstock.errors import BadRequestError, ProtocolError
from penstock.wire.request import (
    Address,
    HttpRequest,
    address_of,
    base_url_of,
    credentials_of,
    credentials_of_url,
    decode_object,
    form_request,
    header_value,
    json_request,
    origin_of,
    path_of,
    trusted_url,
    url_of,
)


def test_json_bodies_are_utf_8() -> None:
    request = json_request("POST", "http://h/x", {"text": "Привет 🙂"}, ("A", "b"), stream=True)
    assert request.body == '{"text":"Привет 🙂"}'.encode()
    assert request.headers == (("Content-Type", "application/json"), ("A", "b"))
    assert request.stream
    assert request.with_headers(("C", "d")).headers[-1] == ("C", "d")


def test_what_is_shown_of_a_request_holds_neither_headers_nor_body() -> None:
    request = json_request("POST", "http://h/x", {"prompt": "secret"}, ("Cookie", "a=secret"))
    assert repr(request) == "HttpRequest(POST 'http://h/x')"


@pytest.mark.parametrize("body", [object(), "\ud800", {1: {2, 3}, "a": object()}])
def test_what_json_cannot_hold_is_refused(body: object) -> None:
    with pytest.raises(BadRequestError):
        json_request("POST", "http://h/x", body)


def test_forms_are_url_encoded() -> None:
    assert form_request("POST", "http://h/", [("a", "b c&d")]).body == b"a=b+c%26d"


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://host", "https://host"),
        (" http://host:8080/a/b/ ", "http://host:8080/a/b"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_base_urls(given: str, base: str) -> None:
    assert base_url_of(given) == base


@pytest.mark.parametrize(
    "given",
    [
        "",
        "host",
        "ftp://host",
        "http://",
        "http://u:p@host",
        "http://h/?q",
        "http://h/#f",
        "http://h:x/",
        "http://h ost/",
        "http://hö/",
        "http://h/\r\nX: y",
    ],
)
def test_what_is_no_base_url_is_refused(given: str) -> None:
    with pytest.raises(BadRequestError):
        base_url_of(given)


def test_origins_and_queries() -> None:
    assert origin_of("https://h:1/a/b?c") == "https://h:1"
    assert url_of("http://h/p", "/x", {"a": "1 2"}) == "http://h/p/x?a=1+2"
    assert url_of("http://h", "/x", {"a": "é&=", "b": "1"}) == "http://h/x?a=%C3%A9%26%3D&b=1"
    assert url_of("http://h", "/x", {"a": "x-1_2.~", "b": ""}) == "http://h/x?a=x-1_2.~&b="
    assert url_of("http://h", "/x") == "http://h/x"


def test_ids_become_segments() -> None:
    assert path_of("owner/name-1.5", slashes=True) == "owner/name-1.5"
    assert path_of("msg_A1", "x:y") == "msg_A1/x:y"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "a/../b",
        "a/",
        "/a",
        "a b",
        "a?b",
        "a#b",
        "a%2e",
        "a\r\nb",
        "ä",
        "a\\b",
        "x" * 300,
    ],
)
def test_ids_outside_the_grammar_are_refused(bad: str) -> None:
    """threats.md rows 6 to 8."""
    with pytest.raises(BadRequestError):
        path_of(bad, slashes=True)


def test_an_id_without_slashes_may_hold_none() -> None:
    with pytest.raises(BadRequestError, match="conversation"):
        path_of("a/b", param="conversation")


def test_header_values_are_stripped_and_checked() -> None:
    assert header_value("api_key", " r8_abc\n") == "r8_abc"
    with pytest.raises(BadRequestError) as caught:
        header_value("api_key", "secret\r\nX: y")
    assert "secret" not in str(caught.value)
    with pytest.raises(BadRequestError):
        header_value("api_key", "ключ")


@pytest.mark.parametrize(
    "url",
    ["https://api.x.com/v1/a", "https://stream.x.com/b", "https://a.svc.y.net/c"],
)
def test_urls_a_server_may_name(url: str) -> None:
    assert trusted_url(url, base="https://api.x.com/v1", hosts=("stream.x.com", ".y.net")) == url


def test_a_self_hosted_server_may_name_other_ports_of_its_own_host() -> None:
    url = "http://127.0.0.1:9001/s"
    assert trusted_url(url, base="http://127.0.0.1:9000") == url
    listed = "http://other:1/s"
    assert trusted_url(listed, base="http://127.0.0.1:9000", hosts=("other",)) == listed


@pytest.mark.parametrize(
    "url",
    [
        "http://api.x.com/a",
        "https://evil.com/",
        "https://api.x.com.evil.com/",
        "file:///etc/passwd",
        "https://u:p@api.x.com/",
        "https://api.x.com@evil.com/",
        "//api.x.com/",
        "https://y.net/",
        "http://169.254.169.254/",
        "https://api.x.com:x/",
        "https://api.x.com/ a",
        "",
        "https://ä.com/",
    ],
)
def test_urls_a_server_may_not_name(url: str) -> None:
    """threats.md row 3."""
    with pytest.raises(ProtocolError, match="may not name"):
        trusted_url(url, base="https://api.x.com/v1", hosts=("stream.x.com", ".y.net"))


def test_objects() -> None:
    assert decode_object(b'{"a":1}') == {"a": 1}
    for bad in (b"[1]", b"", b"\xff", b"[" * 100_000, b"NaN", b'{"a":"\xff"}'):
        with pytest.raises(ProtocolError):
            decode_object(bad)


def test_a_request_follows_redirects_unless_told() -> None:
    assert HttpRequest(method="GET", url="http://h/").follow


def test_credentials_are_what_is_not_known_to_be_plain() -> None:
    headers = (
        ("Authorization", "Bearer key-0"),
        ("cookie", "a=one; b = two=2;c="),
        ("X-Gate", "long enough"),
        ("X-Short", "short"),
        ("User-Agent", "penstock/0.1"),
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
    )
    assert credentials_of(headers) == ["key-0", "one", "two=2", "long enough"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1", ["Og=="]),
        ("http://ann:p%40ss@h:1", ["p@ss", "p%40ss", "YW5uOnBAc3M="]),
        ("socks5://token@h:1", ["token", "token", "dG9rZW46"]),
    ],
)
def test_credentials_of_a_proxy(url: str, expected: list[str]) -> None:
    assert credentials_of_url(url) == expected


@pytest.mark.parametrize(
    ("url", "origin", "path", "host"),
    [
        ("http://h", "http://h", "/", "h"),
        ("http://h?x=1", "http://h", "/?x=1", "h"),
        ("https://user:word@h:8/a/b?c=/d#e", "https://user:word@h:8", "/a/b?c=/d", "h:8"),
        ("HTTP://[::1]:1/%2e", "HTTP://[::1]:1", "/%2e", "[::1]:1"),
    ],
)
def test_the_parts_of_an_address(url: str, origin: str, path: str, host: str) -> None:
    assert address_of(url) == Address(origin, path, host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/x",
        "ftp://h",
        "http://",
        "http:///x",
        "http://h:x",
        "http://h/a b",
        "http://h/\n",
        "http://h/\u212a",
        "http://h/\u017f",
        "http://\u0131/",
        "http://h\x7f/",
        "http://h/#\n",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequestError):
        address_of(url)
