"""Requests of the two dialects: the website's routes and those of the inference server.

``wire/openassistant.md`` sections 1, 3, 5 and 10. Ids that become part of a path meet the grammar.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.types import Value
from penstock.wire.request import HttpRequest, json_request, path_of, url_of

Headers = tuple[tuple[str, str], ...]
_STREAM = ("Accept", "text/event-stream")


class Website(Value, frozen=True):
    """The ``/api/chat`` routes of the website.

    Attributes:
        base: the site's origin, with an optional path prefix.
        headers: the credential.
    """

    base: str
    headers: Headers = ()
    name = "website"

    def __repr__(self) -> str:
        return f"Website({self.base!r})"

    def create_chat(self) -> HttpRequest:
        """A new chat."""
        return self._bare("POST", "/api/chat")

    def post_question(self, chat: str, parent: str | None, text: str) -> HttpRequest:
        """The user's text, below ``parent``."""
        body = {"chat_id": chat, "content": text, "parent_id": parent}
        return json_request("POST", f"{self.base}/api/chat/prompter_message", body, *self.headers)

    def order_answer(self, chat: str, parent: str, order: Mapping[str, Any]) -> HttpRequest:
        """An answer to the question ``parent``; ``order`` says by which model and how."""
        body = {"chat_id": chat, "parent_id": parent, **order}
        return json_request("POST", f"{self.base}/api/chat/assistant_message", body, *self.headers)

    def events(self, chat: str, message: str) -> HttpRequest:
        """The event stream of an answer, to be opened once only (section 7).

        The route takes any method. POST is the one that no HTTP library repeats by itself when a
        connection breaks.
        """
        query = {"chat_id": chat, "message_id": message}
        return self._bare("POST", "/api/chat/events", query).with_headers(_STREAM)

    def message(self, chat: str, message: str) -> HttpRequest:
        """One message."""
        return self._bare("GET", "/api/chat/message", {"chat_id": chat, "message_id": message})

    def chat(self, chat: str) -> HttpRequest:
        """A chat with its messages."""
        return self._bare("GET", "/api/chat", {"chat_id": chat})

    def delete(self, chat: str) -> HttpRequest:
        """Delete a chat. Only when no message of it is unfinished (section 8)."""
        return self._bare("DELETE", "/api/chat", {"chat_id": chat})

    def hide(self, chat: str) -> HttpRequest:
        """Take a chat off the user's list (section 9)."""
        body = {"chat_id": chat, "hidden": True}
        return json_request("PUT", f"{self.base}/api/chat", body, *self.headers)

    def models(self) -> HttpRequest:
        """The models of the site."""
        return self._bare("GET", "/api/chat/models")

    def _bare(self, method: str, path: str, query: Mapping[str, str] | None = None) -> HttpRequest:
        return HttpRequest(method=method, url=url_of(self.base, path, query), headers=self.headers)


class Native(Value, frozen=True):
    """The routes of the inference server. Attributes and requests as for ``Website``."""

    base: str
    headers: Headers = ()
    name = "native"

    def __repr__(self) -> str:
        return f"Native({self.base!r})"

    def create_chat(self) -> HttpRequest:
        """A new chat; without a body it would be a 422."""
        return json_request("POST", f"{self.base}/chats", {}, *self.headers)

    def post_question(self, chat: str, parent: str | None, text: str) -> HttpRequest:
        """The user's text, below ``parent``."""
        url = f"{self._chat(chat)}/prompter_message"
        return json_request("POST", url, {"parent_id": parent, "content": text}, *self.headers)

    def order_answer(self, chat: str, parent: str, order: Mapping[str, Any]) -> HttpRequest:
        """An answer to the question ``parent``."""
        url = f"{self._chat(chat)}/assistant_message"
        return json_request("POST", url, {"parent_id": parent, **order}, *self.headers)

    def events(self, chat: str, message: str) -> HttpRequest:
        """The event stream of an answer."""
        return self._bare("GET", f"{self._message(chat, message)}/events").with_headers(_STREAM)

    def message(self, chat: str, message: str) -> HttpRequest:
        """One message."""
        return self._bare("GET", self._message(chat, message))

    def chat(self, chat: str) -> HttpRequest:
        """A chat with its messages."""
        return self._bare("GET", self._chat(chat))

    def delete(self, chat: str) -> HttpRequest:
        """Delete a chat."""
        return self._bare("DELETE", self._chat(chat))

    def hide(self, chat: str) -> HttpRequest:
        """Take a chat off the user's list."""
        return json_request("PUT", self._chat(chat), {"hidden": True}, *self.headers)

    def models(self) -> HttpRequest:
        """The models of the server; it asks for no credential."""
        return self._bare("GET", f"{self.base}/configs/model_configs")

    def register(self) -> HttpRequest:
        """Make the user that a ``TrustedClient`` header names known to the server."""
        return self._bare("POST", f"{self.base}/auth/trusted")

    def _chat(self, chat: str) -> str:
        return f"{self.base}/chats/{path_of(chat, param='conversation')}"

    def _message(self, chat: str, message: str) -> str:
        return f"{self._chat(chat)}/messages/{path_of(message, param='conversation')}"

    def _bare(self, method: str, url: str) -> HttpRequest:
        return HttpRequest(method=method, url=url, headers=self.headers)


Dialect = Website | Native


def is_native_404(status: int, body: bytes) -> bool:
    """True where ``POST /api/chat`` met the inference server, which answers so to unknown paths.

    The website's own 404 has no body (section 3).
    """
    return status == 404 and body.replace(b" ", b"") == b'{"detail":"NotFound"}'
