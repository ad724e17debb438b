"""Requests to the 2023 chat-ui, and what its answers say (``wire/h2o.md`` sections 1 to 3).

``Accept: text/event-stream`` is never sent: it turns errors into HTML pages (section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.errors import ProtocolError
from penstock.providers.h2o.dialect.turn import Turn
from penstock.providers.h2o.models import ALIASES
from penstock.types import ModelInfo
from penstock.wire.request import (
    HttpRequest,
    decode_object,
    form_request,
    header_value,
    json_request,
    origin_of,
    path_of,
)

_ACCEPT = ("Accept", "*/*")


def headers_of(cookies: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers of every request; cookies are carried by hand, for they are Secure (rule 20).

    Raises:
        BadRequestError: a cookie cannot stand in a header.
    """
    if not cookies:
        return (_ACCEPT,)
    pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return (_ACCEPT, ("Cookie", header_value("cookies", pairs)))


def settings_request(
    base: str, model: str, cookies: Mapping[str, str], *, other_scheme: bool = False
) -> HttpRequest:
    """Accept the welcome modal; the texts are not shared with the models' authors (rule 18).

    Args:
        other_scheme: name the origin with the other of http and https. A server without ORIGIN
            takes itself for https, whatever it is reached by (section 2).
    """
    origin = origin_of(base)
    if other_scheme:
        scheme, _, rest = origin.partition("://")
        origin = f"{'http' if scheme == 'https' else 'https'}://{rest}"
    fields = [("ethicsModalAccepted", "true"), ("activeModel", model)]
    referer = ("Referer", f"{origin}/")
    return form_request("POST", f"{base}/settings", fields, *headers_of(cookies), referer)


def is_foreign_referer(status: int, body: bytes) -> bool:
    """The Referer's origin was not the one expected; a Referer that got lost is another matter."""
    return status == 403 and b"need to have a referer" not in body


def settings_done(status: int, location: str) -> bool:
    """The modal is accepted: 200, or a redirect back to the Referer where HTML was preferred."""
    return 200 <= status < 300 or (status == 303 and "login" not in location.lower())


def create_request(base: str, model: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Open a conversation with the model of that full id."""
    return json_request("POST", f"{base}/conversation", {"model": model}, *headers_of(cookies))


def created_id(body: bytes) -> str:
    """The id of the conversation that was opened.

    Raises:
        ProtocolError: there is none.
    """
    found = decode_object(body).get("conversationId")
    if not isinstance(found, str) or not found:
        raise ProtocolError("the server opened a conversation without naming it")
    return found


def message_request(
    base: str, conversation: str, turn: Turn, cookies: Mapping[str, str]
) -> HttpRequest:
    """Ask a question. The parameters go to the router unread (section 3)."""
    body = {
        "inputs": turn.inputs,
        "parameters": turn.parameters,
        "stream": True,
        "options": {
            "id": turn.id,
            "response_id": turn.response_id,
            "is_retry": turn.is_retry,
            "use_cache": False,
            "web_search_id": turn.web_search_id,
        },
    }
    url = _url(base, conversation)
    return json_request("POST", url, body, *headers_of(cookies), stream=True)


def stop_request(base: str, conversation: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Stop what is being generated; 200 whether or not something is (rule 5)."""
    url = f"{_url(base, conversation)}/stop-generating"
    return HttpRequest(method="POST", url=url, headers=headers_of(cookies))


def delete_request(base: str, conversation: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Delete a conversation; 404 says that it is gone."""
    return HttpRequest(method="DELETE", url=_url(base, conversation), headers=headers_of(cookies))


def models_request(base: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Ask for the page data, which lists the models."""
    return HttpRequest(
        method="GET", url=f"{base}/__data.json", headers=headers_of(cookies), follow=False
    )


def decode_models(body: bytes) -> list[ModelInfo]:
    """The models in the page data, whose values name each other by index (devalue).

    Raises:
        ProtocolError: the page data has another form (recorded in h2o-retry).
    """
    nodes = decode_object(body).get("nodes")
    try:
        for node in nodes or ():
            values = node["data"] if node and node.get("type") == "data" else ()
            if values and "models" in values[0]:
                return [_model(values, index) for index in values[values[0]["models"]]]
    except (AttributeError, IndexError, KeyError, TypeError):
        pass
    raise ProtocolError("the server's page data lists no models")


def _model(values: list[Any], index: int) -> ModelInfo:
    fields = values[index]

    def text(name: str) -> str:
        place = fields.get(name, -1)
        return str(values[place]) if place >= 0 else ""

    model = values[fields["id"]]
    return ModelInfo(
        id=model,
        name=text("displayName"),
        description=text("description"),
        aliases=tuple(short for short, meant in ALIASES.items() if meant == model),
    )


def _url(base: str, conversation: str) -> str:
    return f"{base}/conversation/{path_of(conversation, param='conversation')}"
