"""Requests as values, and the rules for URLs: what may become part of a path, what may be followed.

Model and conversation ids meet the grammar of ``threats.md`` row 6 where they become part of a
path, and each segment is percent-encoded. A URL that a server names is followed only to the hosts
it may name.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

import msgspec

from penstock.errors import BadRequestError, ProtocolError
from penstock.types import Value
from penstock.wire.decoder import JSON_ERRORS, bad_payload

_PROXY_SCHEMES = ("http", "https", "socks4", "socks5", "socks5h")
_SEGMENT = re.compile(r"[A-Za-z0-9._:~@+-]{1,256}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_PLAIN_HEADERS = frozenset(
    [
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "cancel-after",
        "content-encoding",
        "content-length",
        "content-type",
        "last-event-id",
        "origin",
        "prefer",
        "referer",
        "user-agent",
        "x-requested-with",
    ]
)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_URL = re.compile(r"(https?://[!\"$-.0->@-~]+)([!\"$-~]*)(?:#[!-~]*)?", re.IGNORECASE | re.ASCII)
"""Origin and path of what has nothing but visible ASCII; a fragment is never sent."""


class HttpRequest(Value, frozen=True, kw_only=True):
    """One HTTP request, complete.

    Attributes:
        url: absolute and already percent-encoded.
        stream: the answer is read piece by piece.
        follow: follow redirects within the same host (307 and 308 with body, others on GET).
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: bool = False
    follow: bool = True

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url!r})"

    def with_headers(self, *more: tuple[str, str]) -> HttpRequest:
        """The same request with more headers."""
        return msgspec.structs.replace(self, headers=self.headers + more)


def json_request(
    method: str,
    url: str,
    body: object,
    *headers: tuple[str, str],
    stream: bool = False,
) -> HttpRequest:
    """A request whose body is ``body`` as JSON.

    Raises:
        BadRequestError: the body holds what JSON cannot.
    """
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise BadRequestError(f"the request does not fit into JSON: {error}") from None
    content_type = ("Content-Type", "application/json")
    return HttpRequest(
        method=method, url=url, headers=(content_type, *headers), body=encoded, stream=stream
    )


def form_request(
    method: str, url: str, fields: Sequence[tuple[str, str]], *headers: tuple[str, str]
) -> HttpRequest:
    """A request with a url-encoded form."""
    content_type = ("Content-Type", "application/x-www-form-urlencoded")
    return HttpRequest(
        method=method, url=url, headers=(content_type, *headers), body=urlencode(fields).encode()
    )


def base_url_of(text: str) -> str:
    """A base URL as it is used: scheme, host, optional path prefix, no slash at the end.

    Raises:
        BadRequestError: not an http(s) URL, or it carries credentials, a query or a fragment.
    """
    parts = _split(text.strip())
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequestError(
            "base_url must be an http or https URL, as in https://host/prefix", param="base_url"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadRequestError(
            "base_url must not hold credentials, a query or a fragment", param="base_url"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def proxy_scheme(proxy: str) -> str:
    """The scheme of a proxy URL.

    Raises:
        BadRequestError: it is not one; its text is not shown, for it may hold a password.
    """
    with suppress(ValueError):
        parts = urlsplit(proxy)
        if parts.scheme in _PROXY_SCHEMES and parts.hostname and parts.port != 0:
            return parts.scheme
    raise BadRequestError(
        "proxy must be a URL such as http://host:3128 or socks5://user:password@host:1080",
        param="proxy",
    )


def origin_of(url: str) -> str:
    """Scheme, host and port of ``url``, for ``Origin`` and ``Referer``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def path_of(*ids: str, param: str = "model", slashes: bool = False) -> str:
    """Ids as percent-encoded path segments, joined by a slash.

    Args:
        slashes: each id may itself hold slashes (``owner/name``).

    Raises:
        BadRequestError: an id does not fit the grammar; nothing was sent.
    """
    segments = [part for item in ids for part in (item.split("/") if slashes else (item,))]
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or set(segment) <= {"."}:
            raise BadRequestError(f"{param} {'/'.join(ids)[:80]!r} is not an id", param=param)
    return "/".join(quote(segment, safe=":@+~") for segment in segments)


def url_of(base: str, path: str, query: Mapping[str, str] | None = None) -> str:
    """``base`` + ``path`` (percent-encoded already) + query."""
    return f"{base}{path}" + (f"?{urlencode(query)}" if query else "")


def header_value(name: str, value: str) -> str:
    """A value that may stand in a header, without blanks around it.

    Raises:
        BadRequestError: it holds control or non-Latin characters. The value is not shown.
    """
    value = value.strip()
    if not _HEADER_VALUE.fullmatch(value):
        raise BadRequestError(
            f"{name} holds characters that cannot stand in an HTTP header", param=name
        )
    return value


def credentials_of(headers: Sequence[tuple[str, str]]) -> list[str]:
    """The values in ``headers`` that must not be shown: keys, cookies, ids of accounts.

    A header that is not known to be plain may be somebody's own gate and counts as one.
    """
    found: list[str] = []
    for name, value in headers:
        match name.lower():
            case "cookie":
                found += (part.partition("=")[2].strip() for part in value.split(";"))
            case "authorization":
                found.append(value.rpartition(" ")[2])
            case other if other not in _PLAIN_HEADERS and len(value) >= 8:
                found.append(value)
    return [value for value in found if value]


def credentials_of_url(url: str) -> list[str]:
    """The password in ``url``, as it stands there and as it is sent; without one the user."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sent = b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()
    shown = [password, parts.password] if password else [user, parts.username]
    return [value for value in (*shown, sent) if value]


class Address(msgspec.Struct, frozen=True, gc=False):
    """The parts of a URL that is asked.

    Attributes:
        origin: scheme, credentials, host and port.
        path: with its query; it begins with a slash.
        host: the host, and its port where that is named.
    """

    origin: str
    path: str
    host: str


@lru_cache(maxsize=256)
def address_of(url: str) -> Address:
    """The parts of ``url``, which HTTP libraries would not mend silently.

    Raises:
        BadRequestError: it is no http or https URL.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise _no_address()
    origin, path = found.groups()
    return Address(origin, path if path.startswith("/") else f"/{path}", _host_of(origin))


@lru_cache(maxsize=256)
def _host_of(origin: str) -> str:
    parts = _split(origin)
    if parts is None or not parts.hostname:
        raise _no_address()
    return parts.netloc.rpartition("@")[2]


def _no_address() -> BadRequestError:
    return BadRequestError("the request's address is not an http or https URL")


def check_headers(headers: Sequence[tuple[str, str]]) -> None:
    """Refuse a header that HTTP libraries would send as two.

    Raises:
        BadRequestError: names the header; no value is shown (``threats.md`` rows 8 and 9).
    """
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise BadRequestError(
                f"header {name[:40]!r} holds characters that cannot stand in an HTTP header",
                param=name,
            )


def trusted_url(url: str, *, base: str, hosts: Sequence[str] = ()) -> str:
    """``url`` as named by a server, if it may name that host.

    Allowed are the host of ``base`` on any port, with the scheme of ``base`` or https, and the
    hosts in ``hosts``; an entry that starts with a dot allows every host below it, by https.

    Raises:
        ProtocolError: any other URL; it is not followed.
    """
    parts, own = _split(url), urlsplit(base)
    host = parts.hostname if parts is not None else None
    if parts is not None and host and not (parts.username or parts.password):
        if host == own.hostname and parts.scheme in (own.scheme, "https"):
            return url
        listed = any(
            host == entry or (entry.startswith(".") and host.endswith(entry)) for entry in hosts
        )
        if listed and (parts.scheme == "https" or own.scheme == parts.scheme == "http"):
            return url
    raise ProtocolError(f"the server named a host it may not name: {(host or 'none')[:80]}")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if url.isascii() and url.isprintable() and " " not in url else None


def decode_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ProtocolError: it is something else.
    """
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except JSON_ERRORS as error:
        raise bad_payload(error, data) from None
