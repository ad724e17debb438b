"""The map of the HTTP library's exceptions is complete, and its texts never pass."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import aiohttp
import aiohttp_socks
import pytest
from aiohttp import client_exceptions, http_exceptions
from aiohttp.client_reqrep import ConnectionKey

from penstock.errors import (
    ModelError,
    NetworkError,
    PenstockError,
    ProtocolError,
    StreamTimeoutError,
    TruncatedError,
)
from penstock.transport.failures import Phase, failure_of, from_library

KEY = ConnectionKey("h", 443, True, True, None, None, None)
CANARY = "canary-secret"


def library_exceptions() -> Iterator[type[Exception]]:
    for module in (client_exceptions, http_exceptions, aiohttp_socks):
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and not issubclass(value, Warning)
                and value.__module__.partition(".")[0] in ("aiohttp", "aiohttp_socks")
                and not value.__name__.startswith("WS")  # websockets are not used
            ):
                yield value


def made(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, CANARY)
    for name, value in {
        "_conn_key": KEY,
        "_os_error": OSError(111, "Connection refused"),
        "_certificate_error": ssl.SSLCertVerificationError("x"),
        "status": 407,
    }.items():
        try:
            setattr(error, name, value)
        except AttributeError:
            continue
    return error


@pytest.mark.parametrize("kind", sorted(set(library_exceptions()), key=str))
def test_every_exception_of_the_library_is_mapped(kind: type[Exception]) -> None:
    error = made(kind)
    assert from_library(error)
    phases: tuple[Phase, ...] = ("open", "read")
    for phase in phases:
        ours = failure_of(error, phase, "host", 5.0)
        assert isinstance(ours, PenstockError)
        assert CANARY not in f"{ours} {ours!r}"


@pytest.mark.parametrize(
    ("error", "phase", "expected", "words"),
    [
        (TimeoutError(), "open", StreamTimeoutError, "could not connect to host within 5 s"),
        (TimeoutError(), "read", StreamTimeoutError, "host stalled"),
        (aiohttp.ServerDisconnectedError(), "open", NetworkError, "before it answered"),
        (aiohttp.ClientPayloadError(), "read", TruncatedError, "before the end"),
        (ConnectionResetError(), "read", TruncatedError, "before the end"),
        (ConnectionResetError(), "open", NetworkError, "before it answered"),
        (aiohttp.InvalidUrlClientError("http://127.1"), "open", NetworkError, "not four numbers"),
        (http_exceptions.BadHttpMessage("x"), "open", ProtocolError, "not proper HTTP"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "open", NetworkError, "TLS"),
        (asyncio.IncompleteReadError(b"", 2), "open", NetworkError, "proxy"),
    ],
)
def test_what_some_of_them_mean(
    error: Exception, phase: Phase, expected: type[PenstockError], words: str
) -> None:
    ours = failure_of(error, phase, "host", 5.0)
    assert type(ours) is expected
    assert words in str(ours)


@pytest.mark.parametrize("error", [ModelError("x"), KeyError("x"), AssertionError("x")])
def test_what_is_not_the_librarys_passes_untouched(error: Exception) -> None:
    assert not from_library(error)
