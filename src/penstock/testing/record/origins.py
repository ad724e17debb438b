"""Addresses that an answer names, so that the next request comes through the recorder, too. Pure.

Replicate names the stream of a prediction by its whole URL (wire/replicate.md section 2). In JSON
answers a string that begins with such an address gets ours in its place. Only whole strings of
JSON are touched, never an answer's text in a stream, and nothing is held back longer than the few
bytes that may be the beginning of an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

_ADDRESS = re.compile(rb'"(https?://[^/"\s\\]{1,255})(?=[/"])')
_BEGUN = re.compile(rb'"(?:h|ht|htt|http|https|https?:|https?:/|https?://[^/"\s\\]{0,255})?\Z')
_LONGEST = 270

KNOWN_SIBLINGS: Mapping[str, tuple[str, ...]] = {
    "api.replicate.com": (".replicate.com", ".replicate.net"),
}
"""Host -> hosts that its answers name and that belong to it; a dot stands for all below it."""


def may_name(origin: str, upstream: str, also: tuple[str, ...] = ()) -> bool:
    """Whether requests to ``origin``, named by an answer of ``upstream``, are recorded, too."""
    parts, own = urlsplit(origin), urlsplit(upstream)
    host, ours = parts.hostname or "", own.hostname or ""
    if parts.scheme == "http" and own.scheme == "https":
        return False
    listed = (*also, *KNOWN_SIBLINGS.get(ours, ()))
    return host == ours or any(
        host == entry or (entry.startswith(".") and host.endswith(entry)) for entry in listed
    )


class OriginRewriter:
    """Puts our addresses in the place of theirs, in JSON that comes in pieces.

    Args:
        local: their origin -> ours; it may grow between two pieces.
    """

    def __init__(self, local: Mapping[str, str]) -> None:
        self._local = local
        self._held = b""

    def named(self, data: bytes) -> Iterator[str]:
        """The origins that would come out with the next piece."""
        for found in _ADDRESS.finditer(self._held + data):
            yield found.group(1).decode("latin-1")

    def feed(self, data: bytes) -> bytes:
        """The next piece, rewritten as far as it is certain."""
        data = self._held + data
        begun = _BEGUN.search(data, max(0, len(data) - _LONGEST))
        end = begun.start() if begun else len(data)
        self._held = data[end:]
        return _ADDRESS.sub(self._replaced, data[:end])

    def eof(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        origin = found.group(1).decode("latin-1")
        return b'"' + self._local.get(origin, origin).encode("latin-1")


def local_url(url: str, local: Mapping[str, str]) -> str:
    """``url`` with its origin replaced by ours, whatever its scheme (wire/allenai.md 4.1)."""
    parts = urlsplit(url)
    for origin, ours in local.items():
        if parts.netloc and parts.netloc == urlsplit(origin).netloc:
            rest = parts._replace(scheme="", netloc="").geturl()
            return f"{ours}{rest}"
    return url


def upstream_url(url: str, local: Mapping[str, str]) -> str:
    """``url`` of a client, such as its ``Referer``, with our origin replaced by theirs."""
    for origin, ours in local.items():
        if url == ours or url.startswith(f"{ours}/"):
            return origin + url[len(ours) :]
    return url
