"""Requests of the three dialects as values (wire/allenai.md sections 2, 3.1, 3.8, 4.1, 4.6, 5).

All post a form. ``message-stream`` gets snake_case names, ``host`` and numbers on its grid; the
later two get camelCase names. Multipart, for only that carries files; v5 asks for a url-encoded
form where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.errors import BadRequestError, ConfigError
from penstock.providers.allenai.dialect.turns import Turn
from penstock.providers.allenai.models import STEP
from penstock.types import Sampling, Tool, Value
from penstock.wire.multipart import FilePart, encode_multipart
from penstock.wire.request import HttpRequest, form_request, path_of, url_of

PATHS = {
    "message-stream": "/v4/message/stream",
    "threads": "/v4/threads/",
    "v5-chat": "/v5/threads/chat",
}
"""Dialect -> where a turn is posted. The slash at the end of the second is part of it: without
it the server answers 308 (2026-redirect-missing-slash)."""

DIALECTS = tuple(PATHS)

Headers = tuple[tuple[str, str], ...]

_CAMEL = {"max_tokens": "maxTokens", "top_p": "topP"}
_JSON_FIELDS = frozenset({"toolDefinitions", "extraParameters"})
_GRID = ("temperature", "top_p")


class Post(Value, frozen=True, kw_only=True):
    """What is posted, whatever the dialect.

    Attributes:
        parent: the message this turn goes on from; None for a new thread.
        host: where ``message-stream`` finds the model.
        private: False shows the thread of a signed-in user to others.
        extra: fields by the server's own names, which win over all others.
    """

    model: str
    turn: Turn
    parent: str | None = None
    host: str = ""
    private: bool = True
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    extra: Mapping[str, Any] = {}


def identity(anonymous_id: str, api_key: str | None) -> Headers:
    """Who we are: one of two headers, never both.

    A bearer token that is not valid fails even beside a valid anonymous id (section 2). ``Accept``
    must not prefer HTML, or every error comes as a page.
    """
    accept = ("Accept", "*/*")
    if api_key is not None:
        return (accept, ("Authorization", f"Bearer {api_key}"))
    return (accept, ("x-anonymous-user-id", anonymous_id))


def post_request(dialect: str, base: str, post: Post, headers: Headers) -> HttpRequest:
    """The request that posts a turn and is answered by a stream."""
    fields = _fields(dialect, post)
    files = [
        FilePart(name="files", filename=image.name, content=image.data, media_type=image.media_type)
        for image in post.turn.images
    ]
    url = url_of(base, PATHS[dialect])
    if dialect == "v5-chat" and not files:
        return msgspec.structs.replace(form_request("POST", url, fields, *headers), stream=True)
    content_type, body = encode_multipart(fields, files)
    return HttpRequest(
        method="POST",
        url=url,
        headers=(("Content-Type", content_type), *headers),
        body=body,
        stream=True,
    )


def delete_request(base: str, root: str, headers: Headers) -> HttpRequest:
    """Deletes a thread for good, by its root; every version keeps this path (section 4.6)."""
    path = f"/v3/message/{path_of(root, param='conversation')}"
    return HttpRequest(method="DELETE", url=url_of(base, path), headers=headers)


def list_request(dialect: str, base: str, creator: str, headers: Headers) -> HttpRequest:
    """Asks which threads an anonymous id owns."""
    path, query = "/v4/threads/", {"limit": "10"}
    if dialect == "message-stream":
        path, query = "/v3/messages", {"limit": "10", "creator": creator}
    return HttpRequest(method="GET", url=url_of(base, path, query), headers=headers)


def models_request(dialect: str, base: str) -> HttpRequest:
    """Asks for the models; needs no credentials (sections 3.8 and 4.6)."""
    path = "/v3/models" if dialect == "message-stream" else "/v4/models/"
    return HttpRequest(method="GET", url=url_of(base, path), headers=(("Accept", "*/*"),))


def check_grid(sampling: Sampling) -> None:
    """Refuse what ``message-stream`` would refuse: steps of 0.01 (2025-err-top-p-step).

    Raises:
        BadRequestError: names the parameter.
    """
    for name in _GRID:
        value = getattr(sampling, name)
        if value is not None and abs(value - round(value, 2)) > 1e-9:
            raise BadRequestError(
                f"{name} must be a multiple of {STEP:g} on this server, not {value!r}", param=name
            )


def check_dialect(dialect: str | None) -> None:
    """Refuse a dialect that does not exist.

    Raises:
        ConfigError: names those that do.
    """
    if dialect is not None and dialect not in PATHS:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"no dialect {dialect!r}; there are {known}", param="dialect")


def _fields(dialect: str, post: Post) -> list[tuple[str, str]]:
    old = dialect == "message-stream"
    turn = post.turn
    fields: dict[str, Any] = {"model": post.model}
    if old:
        fields["host"] = post.host
    fields["content"] = turn.content or None
    if dialect != "v5-chat":  # there a follow-up with it is refused (section 5)
        fields["private"] = post.private
    if dialect == "v5-chat" or turn.role != "user":
        fields["role"] = turn.role
    fields["parent"] = post.parent
    fields["toolCallId"] = turn.tool_call_id
    for name, value in post.sampling.given().items():
        fields[name if old else _CAMEL.get(name, name)] = (
            round(value, 2) if old and name in _GRID else value
        )
    if post.tools and post.parent is None:  # later turns inherit them (section 4.1)
        fields["enableToolCalling"] = True
        fields["toolDefinitions"] = [_tool(tool) for tool in post.tools]
    for name, value in post.extra.items():
        fields[name if old else _CAMEL.get(name, name)] = value
    return [pair for name, value in fields.items() for pair in _pairs(name, value)]


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """A value as form fields: lists repeat the name, but for what the server reads as JSON."""
    if value is None:
        return []
    if name not in _JSON_FIELDS and isinstance(value, Sequence) and not isinstance(value, str):
        return [pair for item in value for pair in _pairs(name, item)]
    if isinstance(value, str):
        return [(name, value)]
    try:
        return [(name, msgspec.json.encode(value).decode())]
    except (TypeError, ValueError) as error:
        raise BadRequestError(f"{name} does not fit into JSON: {error}", param=name) from None
