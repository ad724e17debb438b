"""The one place where the HTTP library's exceptions become ours.

``tests/transport/test_failures.py`` walks over that library's exceptions and proves the map
complete. Texts of the library are never passed on: they may hold a proxy's password
(``threats.md`` row 9).
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import Literal

import aiohttp
from aiohttp import http_exceptions

from penstock.errors import (
    NetworkError,
    PenstockError,
    ProtocolError,
    StreamTimeoutError,
    TruncatedError,
)

Phase = Literal["open", "read"]

_LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    aiohttp.ClientError,
    http_exceptions.HttpProcessingError,
    asyncio.IncompleteReadError,
    ssl.SSLError,
    OSError,
    ValueError,
)
# ``TimeoutError`` is an ``OSError``.


def from_library(error: Exception) -> bool:
    """True for what the HTTP library, or the SOCKS package below it, raises; not for our own."""
    if isinstance(error, PenstockError):
        return False
    return isinstance(error, _LIBRARY_ERRORS) or _from_socks(error)


def failure_of(
    error: Exception, phase: Phase, host: str, connect: float | None, *, tls: bool = True
) -> PenstockError:
    """Our error for ``error`` of the library.

    Args:
        phase: ``open`` until the headers have come, ``read`` in the body.
        host: what we talked to, for people.
        connect: the connect limit in force.
        tls: it was to be TLS.
    """
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        reason = _tls_reason(error)
        return _network(f"the TLS connection to {host} failed: {reason}{_tls_hint(reason)}", False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _network(f"the proxy refused to connect to {host} ({error.status})", False)
    if (
        isinstance(error, aiohttp.ClientProxyConnectionError | asyncio.IncompleteReadError)
        or _from_socks(error)
    ) and phase == "open":
        return _network(f"the proxy in front of {host} could not be used", True)
    if isinstance(error, TimeoutError):
        return _timeout(host, phase, connect)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _network(f"the name {host} could not be resolved", True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _network(f"could not connect to {host}: {_os_reason(error.os_error)}", True)
    if isinstance(error, aiohttp.InvalidURL):  # nothing was sent
        words = "its address, or that of a proxy, is no name and not four numbers as in 127.0.0.1"
        return _network(f"could not connect to {host}: {words}", False)
    if isinstance(
        error, http_exceptions.HttpProcessingError | aiohttp.ClientResponseError | ValueError
    ) and not isinstance(error, aiohttp.ClientPayloadError):
        hint = "; check that the address is right, and its http or https" if phase == "open" else ""
        return ProtocolError(f"{host} sent an answer that is not proper HTTP{hint}")
    if phase == "read":
        return TruncatedError(f"the connection to {host} broke before the end of the answer")
    hint = "" if tls else "; if it speaks TLS, its address begins with https://"
    return _network(f"{host} closed the connection before it answered{hint}", True)


def _network(message: str, retryable: bool) -> NetworkError:
    return NetworkError(message, retryable=retryable)


def _timeout(host: str, phase: Phase, connect: float | None) -> StreamTimeoutError:
    limit = "" if connect is None else f" within {connect:g} s"
    error = StreamTimeoutError(
        f"could not connect to {host}{limit}" if phase == "open" else f"{host} stalled"
    )
    error.phase = "connect" if phase == "open" else "idle"
    return error


def _tls_reason(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    # An SSLError that the ssl module did not make itself lacks these attributes.
    said = getattr(cause, "verify_message", "") or getattr(cause, "reason", None) or ""
    return str(said).lower().replace("_", " ") or "the handshake failed"


def _tls_hint(reason: str) -> str:
    if reason in _NO_TLS:
        return "; it seems to speak none: its address then begins with http://"
    if "certificate" in reason:
        return "; name an authority of your own by ca_bundle in [connection]"
    return ""


_NO_TLS = ("wrong version number", "record layer failure", "packet length too long")
"""What the library makes of an answer in plain text, by its version."""


def _os_reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "nothing listens there"
    if error.errno:  # the library's own text repeats the address
        return os.strerror(error.errno).lower()
    return error.strerror or type(error).__name__


def _from_socks(error: Exception) -> bool:
    # The optional SOCKS package has a tree of its own; its module names are stable, its import
    # is not ours to force.
    return type(error).__module__.partition(".")[0] in ("aiohttp_socks", "python_socks")
