"""Who asks: sessions, bearer tokens, trusted clients (wire/openassistant.md sections 2 and 10).

A website session comes in a cookie whose name tells whether the site is on https, whole
or cut in numbered parts that are joined in the order of arrival; or as a bearer token.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import web

from penstock.sandbox.openassistant.posts import Problem

TOKEN = "sandbox-oa-session"  # noqa: S105 - the sandbox's own, known to everybody
"""A session that is always valid, as cookie and as bearer token, on both fronts."""

_NAME = "next-auth.session-token"
_LIFETIME = timedelta(days=30)
_TRUSTED_FIELDS = ("api_key", "client", "user_id", "provider_account_id", "username")


class Session(msgspec.Struct, frozen=True):
    """Somebody who is logged in."""

    user: str
    role: str = "general"


class Sessions:
    """All tokens that are valid.

    Args:
        given: Users by token, beside the one that always works.
        banned: Tokens of banned users.
        secure: Whether the site is on https.
        trusted_keys: Keys of clients that name their users themselves.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        *,
        banned: tuple[str, ...],
        secure: bool,
        trusted_keys: tuple[str, ...],
    ) -> None:
        users = {TOKEN: "sandbox", **given}
        self._sessions = {
            token: Session(user, "banned" if token in banned else "general")
            for token, user in users.items()
        }
        self._refresh: dict[str, str] = {}
        self._prefix = "__Secure-" if secure else ""
        self._keys = trusted_keys

    @property
    def cookie(self) -> str:
        """Name of the session cookie."""
        return self._prefix + _NAME

    def begin(self, user: str, role: str = "general") -> str:
        """Log somebody in; give the token."""
        token = made_token()
        self._sessions[token] = Session(user, role)
        return token

    def begin_refresh(self, user: str) -> str:
        """Give a token that brings new access tokens."""
        token = made_token()
        self._refresh[token] = user
        return token

    def refreshed(self, token: str) -> str:
        """Give the user of a refresh token.

        Raises:
            Problem: It is not valid.
        """
        if token not in self._refresh:
            raise Problem(401, "Invalid token")
        return self._refresh[token]

    def website(self, request: web.Request) -> Session | None:
        """Give the session of a website request; a banned user has none."""
        session = self._sessions.get(self._cookie(request) or bearer(request) or "")
        return None if session is None or session.role == "banned" else session

    def native(self, request: web.Request, users: set[str]) -> str:
        """Give the user of a native request.

        Raises:
            Problem: Nobody, or nobody that is known.
        """
        if request.headers.get("TrustedClient") is not None:
            user = str(self.trusted(request)["user_id"])
            if user not in users:
                raise Problem(404, "User not found")
            return user
        token = bearer(request)
        if token is None:
            raise Problem(403, "Not authenticated")
        session = self._sessions.get(token)
        if session is None:
            raise Problem(401, "Invalid token")
        users.add(session.user)
        return session.user

    def trusted(self, request: web.Request) -> dict[str, object]:
        """Give what a trusted client says of its user.

        Raises:
            Problem: The header cannot be read, or its key is wrong.
        """
        try:
            header = base64.b64decode(request.headers.get("TrustedClient", ""), validate=True)
            told = json.loads(header)
            client = {name: told[name] for name in _TRUSTED_FIELDS}
        except (ValueError, KeyError, TypeError) as error:
            raise Problem(500) from error
        if client["api_key"] not in self._keys:
            raise Problem(401, "Unauthorized client")
        return client

    def _cookie(self, request: web.Request) -> str | None:
        sent = [
            (name.strip(), value.strip())
            for header in request.headers.getall("Cookie", [])
            for name, _, value in (one.partition("=") for one in header.split(";"))
        ]
        parts = [value for name, value in sent if name == self.cookie]
        numbered = [
            value
            for name, value in sent
            if name.startswith(f"{self.cookie}.") and name.rpartition(".")[2].isdigit()
        ]
        return "".join(parts or numbered) or None


def bearer(request: web.Request) -> str | None:
    """Give the bearer token of a request."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def made_token() -> str:
    """Make a token that looks like an encrypted one."""
    head = base64.urlsafe_b64encode(b'{"alg":"dir","enc":"A256GCM"}').rstrip(b"=").decode()
    parts = (secrets.token_urlsafe(size) for size in (12, 96, 16))
    return f"{head}..{'.'.join(parts)}"


def expiry() -> datetime:
    """Give the moment a session that begins now ends."""
    return datetime.now(UTC) + _LIFETIME
