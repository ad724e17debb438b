"""Requests to today's chat-ui, and what its answers say (``wire/h2o.md`` section 9, "Calls")."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import BadRequestError, ProtocolError
from penstock.prompts import fold, new_turn, split_system
from penstock.types import ChatRequest, ImagePart, ModelInfo, Value
from penstock.wire.decoder import JSON_ERRORS, bad_payload
from penstock.wire.multipart import FilePart, encode_multipart
from penstock.wire.request import (
    HttpRequest,
    decode_object,
    header_value,
    json_request,
    origin_of,
    path_of,
)

_ACCEPT = ("Accept", "*/*")


class Question(Value, frozen=True):
    """One question as it goes out.

    Attributes:
        inputs: the text.
        preprompt: the system text, for a conversation that is opened with it.
        images: sent as files.
    """

    inputs: str
    preprompt: str | None = None
    images: tuple[ImagePart, ...] = ()


class Created(Value, frozen=True):
    """A conversation that was opened.

    Attributes:
        root: id of its first message, the parent of the first question.
    """

    id: str
    root: str


def question_of(request: ChatRequest, provider: str, *, going_on: bool) -> Question:
    """The question of a request.

    Args:
        going_on: the conversation exists: the server has history and system text, and only what
            follows the last answer travels. Else a chat is folded into one text.

    Raises:
        BadRequestError: nothing to ask, or an image by its URL, which the protocol cannot carry.
    """
    system, messages = split_system(request.messages)
    if going_on:
        messages = new_turn(messages)
    images = tuple(image for message in messages for image in message.images)
    if any(image.url is not None for image in images):
        raise BadRequestError(
            "images must be given as bytes or data URLs; the server takes no addresses",
            provider=provider,
            param="messages",
        )
    inputs = fold(messages) if messages else ""
    if not inputs and not images:
        raise BadRequestError(
            "there is nothing to ask: the last message must be a question",
            provider=provider,
            param="messages",
        )
    return Question(inputs, system, images)


def headers_of(cookies: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers of every request; cookies are carried by hand, for they are Secure (section 2).

    Raises:
        BadRequestError: a cookie cannot stand in a header.
    """
    if not cookies:
        return (_ACCEPT,)
    pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return (_ACCEPT, ("Cookie", header_value("cookies", pairs)))


def create_request(
    base: str, model: str, preprompt: str | None, cookies: Mapping[str, str]
) -> HttpRequest:
    """Open a conversation."""
    body = {"model": model} if preprompt is None else {"model": model, "preprompt": preprompt}
    return json_request("POST", f"{base}/conversation", body, *headers_of(cookies))


def decode_created(body: bytes) -> Created:
    """The conversation that was opened; its tree comes as a string that holds superjson.

    Raises:
        ProtocolError: id or first message are missing.
    """
    answer = decode_object(body)
    identity, tree = answer.get("conversationId"), answer.get("conversation")
    root = decode_object(tree.encode()).get("json") if isinstance(tree, str) else None
    first = root.get("rootMessageId") if isinstance(root, dict) else None
    if not isinstance(identity, str) or not isinstance(first, str) or not identity or not first:
        raise ProtocolError("the server opened a conversation without naming its first message")
    return Created(identity, first)


def message_request(
    base: str,
    conversation: str,
    parent: str,
    question: Question,
    generation: str,
    cookies: Mapping[str, str],
) -> HttpRequest:
    """Ask a question below the message ``parent``.

    The form needs an ``Origin`` of the server's own host. An image is a file whose name says
    that it is base64.

    Raises:
        BadRequestError: the question cannot be sent as JSON.
    """
    data = {
        "inputs": question.inputs,
        "id": parent,
        "is_retry": False,
        "is_continue": False,
        "generationId": generation,
        "selectedMcpServerNames": [],
        "selectedMcpServers": [],
        "timezone": "UTC",
    }
    try:
        text = msgspec.json.encode(data).decode()
    except UnicodeEncodeError as error:
        raise BadRequestError(
            f"the question does not fit into JSON: {error.reason}", param="messages"
        ) from None
    files = [
        FilePart("files", f"base64;{image.name}", base64.b64encode(image.data), image.media_type)
        for image in question.images
    ]
    content_type, body = encode_multipart([("data", text)], files)
    return HttpRequest(
        method="POST",
        url=_url(base, conversation),
        headers=(
            *headers_of(cookies),
            ("Origin", origin_of(base)),
            ("Content-Type", content_type),
        ),
        body=body,
        stream=True,
    )


def stop_request(
    base: str, conversation: str, generation: str, cookies: Mapping[str, str]
) -> HttpRequest:
    """Stop that generation; 200 whether or not it runs."""
    url = f"{_url(base, conversation)}/stop-generating"
    return json_request("POST", url, {"generationId": generation}, *headers_of(cookies))


def delete_request(base: str, conversation: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Delete a conversation; 404 says that it is gone."""
    return HttpRequest(method="DELETE", url=_url(base, conversation), headers=headers_of(cookies))


def tree_request(base: str, conversation: str, cookies: Mapping[str, str]) -> HttpRequest:
    """Ask for the messages: the stream never names the answer's id (chatui-two-turns)."""
    path = path_of(conversation, param="conversation")
    url = f"{base}/api/v2/conversations/{path}"
    return HttpRequest(method="GET", url=url, headers=headers_of(cookies), follow=False)


class _Message(msgspec.Struct):
    id: str
    from_: str = msgspec.field(name="from", default="")
    ancestors: list[str] = []


class _Tree(msgspec.Struct):
    messages: list[_Message]


class _Stored(msgspec.Struct):
    json: _Tree


def decode_answer_id(body: bytes, parent: str | None) -> str | None:
    """Id of the newest answer below ``parent`` (None: below anything), or None without one.

    Raises:
        ProtocolError: the tree is not one.
    """
    try:
        messages = msgspec.json.decode(body, type=_Stored).json.messages
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    for message in reversed(messages):
        if message.from_ == "assistant" and (parent is None or parent in message.ancestors):
            return message.id
    return None


def models_request(base: str, cookies: Mapping[str, str], *, plain: bool = False) -> HttpRequest:
    """Ask for the models, by the newer list or by the plain one."""
    path = "/api/models" if plain else "/api/v2/models"
    return HttpRequest(method="GET", url=f"{base}{path}", headers=headers_of(cookies), follow=False)


class _Model(msgspec.Struct):
    id: str
    displayName: str | None = None
    description: str | None = None
    multimodal: bool = False
    supportsTools: bool = False
    supportsReasoning: bool = False
    unlisted: bool = False


def decode_models(body: bytes) -> list[ModelInfo]:
    """The listed models, the server's default first; both lists' forms (chatui-api-lists).

    Raises:
        ProtocolError: it is not a list of models.
    """
    try:
        decoded: Any = msgspec.json.decode(body)
        listed = decoded["json"] if isinstance(decoded, dict) else decoded
        models = msgspec.convert(listed, list[_Model])
    except (*JSON_ERRORS, KeyError) as error:
        raise bad_payload(error, body) from None
    return [
        ModelInfo(
            id=model.id,
            name=model.displayName or "",
            description=model.description or "",
            images=model.multimodal,
            reasoning=model.supportsReasoning,
        )
        for model in models
        if not model.unlisted
    ]


def _url(base: str, conversation: str) -> str:
    return f"{base}/conversation/{path_of(conversation, param='conversation')}"
