"""Messages in, text out: reading what callers give, and folding a chat into one prompt.

Pure, but for ``get_cookies``, which reads files that the configuration names.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import unquote_to_bytes

from penstock.errors import BadRequestError
from penstock.types import (
    ROLES,
    ImagePart,
    Message,
    Messages,
    Part,
    TextPart,
    ToolCallPart,
)

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[^,;]*)*),(.*)", re.DOTALL)

_TEXTS = ("text", "input_text")

Media = Sequence[tuple[bytes, str]]
"""Images beside the messages: their bytes and file names."""


def parse_messages(messages: Messages, media: Media = ()) -> tuple[Message, ...]:
    """What a caller gave, as values. The caller's list is not changed.

    Args:
        messages: one question, or a list of messages in OpenAI's shape.
        media: images to go with the last user message.

    Raises:
        BadRequestError: an empty list, an unknown role, a missing content; it says which message.
    """
    if isinstance(messages, str):
        parsed = [Message(role="user", content=messages)]
    elif not isinstance(messages, (list, tuple)) or not messages:
        raise BadRequestError("messages must be a question or a list of messages", param="messages")
    else:
        parsed = [_message(message, index) for index, message in enumerate(messages)]
    if media:
        users = [index for index, message in enumerate(parsed) if message.role == "user"]
        if not users:
            raise BadRequestError("media needs a user message to go with", param="media")
        message = parsed[users[-1]]
        text: tuple[Part, ...] = (
            (TextPart(message.content),) if isinstance(message.content, str) else message.content
        )
        images = tuple(_image_file(item) for item in media)
        parsed[users[-1]] = Message(role="user", content=text + images, name=message.name)
    return tuple(parsed)


def _message(given: Message | Mapping[str, Any], index: int) -> Message:
    if type(given) is dict and len(given) == 2:  # nearly always
        role, content = given.get("role"), given.get("content")
        if role in ROLES and type(content) is str:
            return Message(role, content)
    if isinstance(given, Message):
        return given
    where = f"messages[{index}]"
    if not isinstance(given, Mapping):
        raise BadRequestError(f"{where} must be a mapping with role and content", param="messages")
    role, content = given.get("role"), given.get("content")
    if role not in ROLES:
        known = ", ".join(ROLES)
        raise BadRequestError(
            f"{where}.role must be one of {known}, not {role!r}", param="messages"
        )
    given_calls = given.get("tool_calls") or ()
    if not isinstance(given_calls, list | tuple):
        raise BadRequestError(f"{where}.tool_calls must be a list", param="messages")
    calls = tuple(_tool_call(call, where) for call in given_calls)
    if content is None and calls:
        content = ""
    return Message(
        role=role,
        content=_content(content, where),
        name=_text_or_none(given, "name", where),
        tool_calls=calls,
        tool_call_id=_text_or_none(given, "tool_call_id", where),
    )


def _text_or_none(given: Mapping[str, Any], key: str, where: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequestError(f"{where}.{key} must be a string", param="messages")
    return value


def _tool_call(call: Any, where: str) -> ToolCallPart:
    try:
        function = call["function"]
        return ToolCallPart(
            id=str(call["id"]), name=str(function["name"]), arguments=str(function["arguments"])
        )
    except (KeyError, TypeError):
        raise BadRequestError(
            f"{where}.tool_calls must hold id and function with name and arguments",
            param="messages",
        ) from None


def _content(content: object, where: str) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise BadRequestError(f"{where}.content must be text or a list of parts", param="messages")
    return tuple(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))


def _part(part: object, where: str) -> Part:
    if isinstance(part, TextPart | ImagePart):
        return part
    if isinstance(part, Mapping):
        kind = part.get("type")
        text = part.get("text")
        if kind in _TEXTS and isinstance(text, str):
            return TextPart(text)
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if kind in ("image_url", "input_image") and isinstance(url, str):
            return _image_url(url, where)
    raise BadRequestError(
        f"{where} must be a text part or an image_url part, not {part!r:.60}", param="messages"
    )


def _image_url(url: str, where: str) -> ImagePart:
    if url.startswith("https://"):
        return ImagePart(url=url)
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise BadRequestError(f"{where} must hold a data URL or an https URL", param="messages")
    media_type, options, data = match.groups()
    try:
        content = (
            base64.b64decode(data, validate=True)
            if ";base64" in options.lower()
            else unquote_to_bytes(data)
        )
    except (binascii.Error, ValueError):
        raise BadRequestError(f"{where} holds a broken data URL", param="messages") from None
    media_type = media_type or "text/plain"
    return ImagePart(data=content, media_type=media_type, name=_file_name(media_type))


def _image_file(item: object) -> ImagePart:
    if isinstance(item, tuple) and len(item) == 2:
        data, name = item
        if isinstance(data, bytes) and isinstance(name, str):
            return ImagePart(data=data, name=name, media_type=_sniff(data))
    raise BadRequestError("media must be a list of (bytes, file name)", param="media")


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def _sniff(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    found = (media_type for magic, media_type in _MAGIC if data.startswith(magic))
    return next(found, "application/octet-stream")


def _file_name(media_type: str) -> str:
    ending = media_type.partition("/")[2].partition("+")[0] or "bin"
    return f"image.{'jpg' if ending == 'jpeg' else ending}"


def data_url(image: ImagePart) -> str:
    """The image as a data URL, or its https URL."""
    if image.url is not None:
        return image.url
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def fold(messages: Iterable[Message], add_special_tokens: bool = False) -> str:
    """``format_prompt`` over message values.

    Raises:
        ValueError: there are no messages.
    """
    listed = list(messages)
    if not listed:
        raise ValueError("there are no messages to format")
    if len(listed) == 1 and not add_special_tokens:
        return listed[0].text
    lines = [f"{message.role.capitalize()}: {message.text}" for message in listed]
    return "\n".join(lines) + "\nAssistant:"


def format_prompt(messages: Messages, add_special_tokens: bool = False) -> str:
    """A chat as one prompt: ``Role: content`` lines and ``Assistant:`` at the end.

    One message without the flag is its own text. Content parts: the text parts joined.

    Raises:
        ValueError: the list is empty.
    """
    if not messages:
        raise ValueError("there are no messages to format")
    return fold(_texts(messages), add_special_tokens)


def last_user_text(messages: Sequence[Message]) -> str:
    """``get_last_user_message`` over message values."""
    run: list[str] = []
    for message in reversed(messages):
        if message.role != "user":
            break
        run.append(message.text.strip())
    return "\n".join(reversed(run))


def get_last_user_message(messages: Messages) -> str:
    """The trailing run of user messages, stripped, joined by LF. The list is not changed."""
    return last_user_text(_texts(messages)) if messages else ""


def _texts(messages: Messages) -> tuple[Message, ...]:
    """The messages without parts that are no text: nothing is sent, so none is looked at."""
    if isinstance(messages, str):
        return parse_messages(messages)
    return parse_messages([_without_images(message) for message in messages])


def _without_images(message: Any) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    kept = [p for p in content if not (isinstance(p, Mapping) and p.get("type") not in _TEXTS)]
    return {**message, "content": kept}


def new_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """What follows the last assistant message: the turn that travels in a native conversation."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return tuple(messages[index + 1 :])
    return tuple(messages)


def split_system(messages: Sequence[Message]) -> tuple[str | None, tuple[Message, ...]]:
    """The system text (all system and developer messages joined by LF) and the other messages."""
    system = [message.text for message in messages if message.role in ("system", "developer")]
    others = tuple(message for message in messages if message.role not in ("system", "developer"))
    return ("\n".join(system) if system else None), others


def filter_none(**values: Any) -> dict[str, Any]:
    """The arguments without the None values; 0, "", False and [] stay."""
    return {name: value for name, value in values.items() if value is not None}


def get_cookies(domain: str) -> dict[str, str]:
    """Name -> value of the cookies of ``domain``, from a cookie file or an installed browser.

    The mapping is fresh at each call; an empty one is not remembered.

    Raises:
        ConfigError: the configuration or the cookie file is wrong.
    """
    # By name: what folds messages is pure, and must not come to depend on what reads files.
    found: dict[str, str] = import_module("penstock.cookies").get_cookies(domain)
    return found
