"""Logging in by the site's development credentials (wire/openassistant.md section 2)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from penstock.sandbox.openassistant.sessions import Session, expiry
from penstock.sandbox.openassistant.website import written

if TYPE_CHECKING:
    from penstock.sandbox.openassistant.server import OpenAssistantServer

_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


class Login:
    """The routes below ``/api/auth``."""

    def __init__(self, server: OpenAssistantServer) -> None:
        self._server = server
        self._csrf: set[str] = set()

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        if not self._server.options.debug_login:
            return ()
        return (
            web.get("/api/auth/csrf", self._token),
            web.post("/api/auth/callback/credentials", self._credentials),
            web.get("/api/auth/session", self._session),
        )

    async def _token(self, request: web.Request) -> web.Response:
        token = secrets.token_hex(32)
        self._csrf.add(token)
        response = written(request, {"csrfToken": token})
        site = self._site(request).replace(":", "%3A").replace("/", "%2F")
        value = f"{token}%7C{secrets.token_hex(32)}"
        self._set(response, f"next-auth.csrf-token={value}")
        self._set(response, f"next-auth.callback-url={site}")
        return response

    async def _credentials(self, request: web.Request) -> web.Response:
        form = await request.post()
        site = self._site(request)
        token, user = str(form.get("csrfToken", "")), str(form.get("username", ""))
        if token not in self._csrf or token not in request.headers.get("Cookie", "") or not user:
            return written(request, {"url": f"{site}/api/auth/signin?csrf=true"})
        response = written(request, {"url": site})
        self._begin(response, self._server.sessions.begin(user, str(form.get("role", "general"))))
        return response

    async def _session(self, request: web.Request) -> web.Response:
        session = self._server.sessions.website(request)
        if session is None:
            return written(request, {})
        response = written(request, self._told(session))
        token = self._server.sessions.begin(session.user, session.role)
        self._begin(response, token)
        return response

    def _told(self, session: Session) -> dict[str, object]:
        created = session.user in self._server.inference.users
        return {
            "user": {
                "name": session.user,
                "image": None,
                "role": session.role,
                "isNew": False,
                "tosAcceptanceDate": "2023-06-01T00:00:00",
            },
            "expires": expiry().strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "inference": {"isAuthenticated": created},
        }

    def _begin(self, response: web.Response, token: str) -> None:
        until = expiry().strftime(_HTTP_DATE)
        self._set(response, f"{self._server.sessions.cookie}={token}", f" Expires={until};")

    def _set(self, response: web.Response, pair: str, extra: str = "") -> None:
        response.headers.add("Set-Cookie", f"{pair}; Path=/;{extra} HttpOnly; SameSite=Lax")

    def _site(self, request: web.Request) -> str:
        return f"{request.scheme}://{request.host}"
