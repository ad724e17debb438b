"""Hosts that are reached without the proxy."""

from __future__ import annotations

import pytest

from penstock.wire.no_proxy import is_direct


@pytest.mark.parametrize(
    ("netloc", "entry"),
    [
        ("anything.example:8080", "*"),
        ("example.org", "example.org"),
        ("EXAMPLE.org:443", " Example.ORG "),
        ("api.example.org", "example.org"),
        ("api.example.org", ".example.org"),
        ("example.org", "example.org:8080"),
        ("127.0.0.1:9000", "127.0.0.1"),
        ("[::1]:9000", "::1"),
        ("[::1]:9000", "[::1]"),
        ("10.1.2.3:80", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.99/24"),
        ("[fd00::7]:80", "fd00::/8"),
    ],
)
def test_what_is_reached_directly(netloc: str, entry: str) -> None:
    assert is_direct(netloc, ["other.test", entry])


@pytest.mark.parametrize(
    ("netloc", "entry"),
    [
        ("example.org", ""),
        ("example.org", "."),
        ("badexample.org", "example.org"),
        ("example.org", "api.example.org"),
        ("11.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "fd00::/8"),
        ("ten.example", "10.0.0.0/8"),
        ("10.1.2.3", "10.0.0.0/99"),
        ("example.org", "[example"),
        ("example.org", "example.org/path"),
    ],
)
def test_what_goes_through_the_proxy(netloc: str, entry: str) -> None:
    assert not is_direct(netloc, [entry])
