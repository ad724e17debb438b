"""Who asks: session cookies, a bearer token, or a trusted client (sections 2 and 10).

The site reads its session from the cookie whose name fits its own address: one name for http, one
for https. A long session comes cut into numbered cookies, which it joins in the order in which
they arrive, so they are sent in the order of their numbers. Behind a proxy the address we use and
the site's own may differ; then the cookies tell the name, and both names are sent.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

import msgspec

from penstock.errors import BadRequestError
from penstock.providers.openassistant.dialect.answers import NAME
from penstock.wire.request import header_value

SESSION_COOKIES = ("next-auth.session-token", "__Secure-next-auth.session-token")
_SESSION = re.compile(r"((?:__Secure-)?next-auth\.session-token)(?:\.(\d{1,3}))?")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r"[^\x00-\x1f;\x7f\u0100-\U0010ffff]*")
_TRUSTED = ("api_key", "client", "user_id", "provider_account_id", "username")


def cookie_header(cookies: Mapping[str, str], base: str) -> str:
    """The ``Cookie`` header for ``base``.

    A cookie named ``session`` is taken for the session's value, as in the documented examples.

    Raises:
        BadRequestError: a name or value cannot stand in a cookie; the value is not shown.
    """
    for name, value in cookies.items():
        fits = isinstance(value, str) and _COOKIE_VALUE.fullmatch(value.strip())
        if not fits or not _COOKIE_NAME.fullmatch(name):
            raise BadRequestError(
                f"the cookie {name[:40]!r} holds characters that cannot stand in a cookie",
                provider=NAME,
                param="cookies",
            )
    given = {name: value.strip() for name, value in cookies.items()}
    pairs = sorted(given.items(), key=lambda pair: _number(pair[0]))
    wanted = SESSION_COOKIES[base.startswith("https:")]
    if not any(_session_name(name) == wanted for name in given) and (token := _token(given)):
        pairs.append((wanted, token))
    return "; ".join(f"{name}={value}" for name, value in pairs)


def _token(cookies: Mapping[str, str]) -> str:
    """The whole session, out of whichever cookies hold it."""
    for wanted in SESSION_COOKIES:
        parts = {_number(name): cookies[name] for name in cookies if _session_name(name) == wanted}
        if parts:
            return "".join(parts[number] for number in sorted(parts))
    return cookies.get("session", "")


def _session_name(name: str) -> str | None:
    match = _SESSION.fullmatch(name)
    return match.group(1) if match else None


def _number(name: str) -> int:
    match = _SESSION.fullmatch(name)
    return int(match.group(2)) if match and match.group(2) else -1


def bearer_header(token: str) -> str:
    """The ``Authorization`` header.

    Raises:
        BadRequestError: the token cannot stand in a header; it is not shown.
    """
    token = header_value("api_key", token)
    return token if token[:7].lower() == "bearer " else f"Bearer {token}"


def trusted_header(client: object) -> str:
    """The ``TrustedClient`` header.

    Args:
        client: the five fields that the server requires, or the finished header value.

    Raises:
        BadRequestError: a field is missing; no value is shown.
    """
    if isinstance(client, str):
        return header_value("trusted_client", client)
    if not isinstance(client, Mapping) or not all(
        isinstance(client.get(name), str) and client.get(name) for name in _TRUSTED
    ):
        raise BadRequestError(
            f"trusted_client must hold the texts {', '.join(_TRUSTED)}",
            provider=NAME,
            param="trusted_client",
        )
    fields = {name: client[name] for name in _TRUSTED}
    return base64.b64encode(msgspec.json.encode(fields)).decode()


def digest_of(base: str, *secrets: str) -> str:
    """A name for an account, without its secrets."""
    return hashlib.blake2b("\0".join((base, *secrets)).encode(), digest_size=16).hexdigest()
