"""Request bodies, read back: what a client wrote is what is read."""

from __future__ import annotations

import json

import pytest

from penstock.testing.replay.body import File, Form, cookies_of, read_form, read_json
from penstock.wire.multipart import FilePart, encode_multipart


def test_a_multipart_form_is_read_as_it_was_meant() -> None:
    fields = [("content", "a\r\nb --x"), ("stop", "1"), ("stop", "2"), ('odd "name"', "ü")]
    files = [FilePart("files", 'p"h.png', b"\x89\r\n--\x00", "image/png")]
    content_type, body = encode_multipart(fields, files)
    form = read_form(content_type, body)
    assert form.fields == tuple(fields)
    assert form.files == (File("files", 'p"h.png', "image/png", b"\x89\r\n--\x00"),)
    assert form.first("none", "content") == "a\r\nb --x"
    assert form.all("stop") == ("1", "2")
    assert form.first("none") is None


def test_a_quoted_boundary_and_a_file_without_type() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nhi\r\n--b--\r\n'
    (file,) = read_form('multipart/form-data; boundary="b"', body).files
    assert file == File("f", "x", "application/octet-stream", b"hi")


def test_a_multipart_type_without_boundary_holds_nothing() -> None:
    assert read_form("multipart/form-data", b"x") == Form()


def test_a_url_encoded_form() -> None:
    form = read_form("application/x-www-form-urlencoded", b"a=1&b=&c=h%C3%A4+x")
    assert form.fields == (("a", "1"), ("b", ""), ("c", "hä x"))


def test_a_json_object_may_stand_for_a_form() -> None:
    body = {"a": "x", "n": 1, "f": True, "l": ["p", "q"], "o": {"k": 1}, "none": None}
    form = read_form("application/json", json.dumps(body).encode())
    assert form.fields == (
        ("a", "x"),
        ("n", "1"),
        ("f", "true"),
        ("l", "p"),
        ("l", "q"),
        ("o", '{"k": 1}'),
    )


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_json_object_reads_as_an_empty_one(content: bytes) -> None:
    assert read_json(content) == {}


def test_cookies_keep_their_order() -> None:
    assert list(cookies_of("b.1=x; a=y=z;;b.0=w").items()) == [
        ("b.1", "x"),
        ("a", "y=z"),
        ("b.0", "w"),
    ]
    assert cookies_of("") == {}
