"""The door: what is refused before anything of a request is done, and what a browser is told.

A page of another site that a browser shows can send requests to this machine. It is kept out:

* by the ``Host`` header. A site whose name is made to resolve to this machine still sends its own
  name. Names that are not ours are refused; an address in ``Host`` is none that a name could have
  been turned into, so addresses pass (threats row 26);
* by the ``Origin`` header, which browsers add to everything that is no plain reading;
* by saying nothing that would let a foreign page read an answer, but for the configured origins,
  and never with cookies (threats row 25).

A request that passes costs look-ups, and one SHA-256 where there are keys.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from penstock.config.gateway import GatewaySettings
from penstock.gateway.auth import Keyring
from penstock.gateway.errors import refusal
from penstock.gateway.exchange import Exchange, printable
from penstock.gateway.http import Header, Refused, Scope

PUBLIC = frozenset({"/health/live", "/health/ready"})
"""Paths that need no key, beside those of the page. Every other path does, also one that is not."""

SINGLE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"x-api-key",
    }
)
"""Headers of which two would mean that one of them goes unchecked."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
EXPOSED = b", ".join(
    (
        b"openai-processing-ms",
        b"request-id",
        b"retry-after",
        b"warnings",
        b"x-penstock-attempts",
        b"x-penstock-request-id",
        b"x-penstock-target",
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-requests",
        b"x-ratelimit-reset-tokens",
        b"x-request-id",
    )
)
_REMEMBERED = 256
"""Spellings of ``Host`` that are known to be right; with a port each name has many."""


class Admission:
    """Who comes in.

    Args:
        settings: the names, origins and limits.
        keyring: the keys; None where everybody may ask.
        public: paths that need no key.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        keyring: Keyring | None = None,
        public: frozenset[str] = PUBLIC,
    ) -> None:
        self._names = {"localhost", settings.host.lower(), *map(str.lower, settings.hosts)}
        self._origins = frozenset(origin.lower().encode() for origin in settings.origins)
        self._known: set[bytes] = set()
        self._limit = settings.limits.body
        self._public = public
        self.keyring = keyring

    def admit(self, exchange: Exchange, scope: Scope) -> bool:
        """Look at the head of a request; ``exchange.caller`` is known afterwards.

        Returns:
            True for a browser's question beforehand; ``exchange.further`` is all of the answer.

        Raises:
            Refused: it is not let in.
        """
        headers = exchange.headers
        if (
            headers.get(b"host") not in self._known
            or b"origin" in headers
            or len(headers) != len(scope["headers"])
        ):
            _check_single(scope)
            self._check_host(headers.get(b"host"), scope)
            if self._from_page(exchange):
                return True
        if self.keyring is not None and _path_of(scope) not in self._public:
            exchange.caller = self.keyring.caller_of(headers)
            exchange.key = exchange.caller.name
        return False

    def check_body(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a body by what its head says of it.

        Raises:
            Refused: it is encoded, or longer than the limit.
        """
        coded = headers.get(b"content-encoding", b"identity").lower()
        if (
            coded != b"identity"
            or headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked"
        ):
            raise Refused(refusal(415, "send the body as it is, not compressed", code="encoded"))
        if int(headers.get(b"content-length", b"0")) > self._limit:
            sentence = f"the body is larger than {self._limit} bytes"
            raise Refused(refusal(413, sentence, code="too_large"))

    def is_long(self, headers: Mapping[bytes, bytes]) -> bool:
        """True for a body that is not worth reading to its end only to get rid of it."""
        length = headers.get(b"content-length")
        return b"transfer-encoding" in headers or (length is not None and int(length) > self._limit)

    # -- browsers ------------------------------------------------------------------------------

    def _check_host(self, host: bytes | None, scope: Scope) -> None:
        if host is None:
            if scope.get("http_version") == "1.0":
                return
            raise Refused(refusal(400, "the request has no Host header"))
        if host in self._known:
            return
        name = _name_of(host.decode("latin-1"))
        if name not in self._names and not _is_address(name):
            sentence = f"this gateway is not {name[:100]!r}; if it is, name it in gateway.hosts"
            raise Refused(refusal(421, sentence, code="unknown_host"))
        if len(self._known) < _REMEMBERED:
            self._known.add(host)

    def _from_page(self, exchange: Exchange) -> bool:
        """Judge the page that sends a request, if one does; True for its question beforehand."""
        headers = exchange.headers
        origin = headers.get(b"origin")
        if origin is None:
            return False
        if origin.lower() in self._origins:
            exchange.further = (*exchange.further, *_allowing(origin))
            if exchange.method == "OPTIONS" and b"access-control-request-method" in headers:
                wanted = headers.get(b"access-control-request-headers", b"")
                exchange.further = (*exchange.further, *_allowing_further(wanted))
                return True
            return False
        own = origin.lower().partition(b"://")[2] == headers.get(b"host", b"").lower()
        if not own and exchange.method not in SAFE_METHODS:
            sentence = (
                "pages of other sites may not use this gateway; gateway.origins lists who may"
            )
            raise Refused(refusal(403, sentence, code="unknown_origin"))
        return False


def _check_single(scope: Scope) -> None:
    seen: set[bytes] = set()
    for name, _ in scope["headers"]:
        if name in SINGLE and name in seen:
            raise Refused(refusal(400, f"the header {name.decode()} may be sent once"))
        seen.add(name)


def _path_of(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _name_of(host: str) -> str:
    """The host of a ``Host`` header without its port, in one spelling."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _allowing(origin: bytes) -> list[Header]:
    """What lets a page of that origin read the answer; never with cookies."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED),
        (b"vary", b"origin"),
    ]


def _allowing_further(headers: bytes) -> list[Header]:
    return [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", printable(headers.decode("latin-1"))),
        (b"access-control-max-age", b"600"),
    ]
