"""Bytes of both v4 versions of the Playground (wire/allenai.md sections 3.2, 3.7, 4.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.testing.constructed.build import JSON, Headers, Raw, answer, exchange

HOST = "olmo-api.allen.ai"
OLD = "/v4/message/stream"
NEW = "/v4/threads/"
USER = "7c0e171e-fec5-5695-b964-8a563aa21dbc"
ANONYMOUS = (("x-anonymous-user-id", USER),)
LINES = "application/jsonl"

ASKED, REPLY, SYSTEM = "msg_N7I7V4X0V1", "msg_I4P9Q2S3H4", "msg_A2B3C4D5E6"
CREATED = "2026-11-21T00:27:45.888246+00:00"
EXPIRES = "2026-11-22T00:27:45.887853+00:00"


def form(fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, str]] = ()) -> str:
    """A multipart body; ``files`` are name, media type and text."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    ]
    parts += [
        f'--cut\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n{text}\r\n"
        for name, media_type, text in files
    ]
    return "".join([*parts, "--cut--\r\n"])


def posted(
    path: str,
    fields: Mapping[str, str] | Sequence[tuple[str, str]],
    response: Raw,
    *,
    headers: Headers = ANONYMOUS,
    files: Iterable[tuple[str, str, str]] = (),
) -> Raw:
    """A turn posted as a form."""
    given = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    return exchange(
        "POST",
        path,
        response,
        host=HOST,
        headers=[("Accept", "*/*"), *headers],
        content_type="multipart/form-data; boundary=cut",
        body=form(given, files),
    )


def old_ask(
    response: Raw, content: str = "Hi there", *, headers: Headers = ANONYMOUS, **fields: str
) -> Raw:
    """A turn of 2025."""
    model = {"model": "tulu3-405b", "host": "inferd", "content": content, "private": "true"}
    return posted(OLD, {**model, **fields}, response, headers=headers)


def new_ask(
    response: Raw, content: str = "Hi there", *, headers: Headers = ANONYMOUS, **fields: str
) -> Raw:
    """A turn of 2026."""
    model = {"model": "Olmo-3-7B-Instruct", "content": content}
    return posted(NEW, {**model, **fields}, response, headers=headers)


def refused(status: int, message: str, *validation: tuple[list[str], str]) -> Raw:
    """An error before the stream, as the application sends it."""
    error: dict[str, Any] = {"code": status, "message": message}
    if validation:
        error["validation_errors"] = [
            {"loc": loc, "msg": msg, "type": "value_error", "url": "https://errors.pydantic.dev/"}
            for loc, msg in validation
        ]
    return answer(line({"error": error}).strip(), status=status, content_type=JSON)


def line(value: object, *, sort: bool = False) -> str:
    """One line, non-ASCII escaped."""
    return json.dumps(value, sort_keys=sort) + "\n"


# -- 2025 ----------------------------------------------------------------------------------------


def old_message(identifier: str, role: str, content: str, **more: Any) -> Raw:
    """A message object of 2025, keys in their order."""
    opts = {"max_tokens": 2048, "temperature": 0.7, "n": 1, "top_p": 1.0, "logprobs": None}
    told: Raw = {
        "id": identifier,
        "content": content,
        "snippet": content[:16],
        "creator": USER,
        "role": role,
        "opts": {**opts, "stop": []},
        "root": ASKED,
        "created": CREATED,
        "model_id": "tulu3-405b",
        "model_host": "inferd",
        "deleted": None,
        "parent": None,
        "template": None,
        "logprobs": None,
        "children": None,
        "completion": None,
        "final": False,
        "original": None,
        "private": True,
        "model_type": "chat" if role == "assistant" else None,
        "finish_reason": None,
        "harmful": None if role == "assistant" else False,
        "expiration_time": EXPIRES,
        "labels": [],
        "file_urls": None,
    }
    return {**told, **more}


def old_object(
    text: str = "",
    *,
    final: bool = False,
    finish: str | None = None,
    reply: str = REPLY,
    **user: Any,
) -> str:
    """The opening or final object: user above assistant."""
    parent = user.get("id", ASKED)
    below = old_message(reply, "assistant", text, parent=parent, final=final, finish_reason=finish)
    return line(old_message(ASKED, "user", "Hi there", children=[below], final=final) | user)


def old_piece(text: str | None, reply: str = REPLY, **more: Any) -> str:
    """A chunk line."""
    return line({"message": reply, "content": text, "logprobs": [], **more})


def old_error(reason: str, text: str, reply: str = REPLY) -> str:
    """The error line of either version."""
    return line({"message": reply, "error": text, "reason": reason})


def old_stream(*lines: str, closed: str = "clean") -> Raw:
    """A stream of 2025 behind its opening object."""
    return answer(old_object(), *lines, content_type=LINES, closed=closed)


# -- 2026 ----------------------------------------------------------------------------------------


UNSET = (
    *("agentId", "completion", "deleted", "errorCode", "errorDescription", "errorSeverity"),
    *("extraParameters", "fileUrls", "finishReason", "harmful", "inputParts", "modelType"),
    *("original", "parent", "template", "thinking", "toolDefinitions"),
)


def new_message(identifier: str, role: str, content: str, **more: Any) -> Raw:
    """A message of a thread object of 2026."""
    told: Raw = dict.fromkeys(UNSET)
    return {
        **told,
        "id": identifier,
        "role": role,
        "content": content,
        "snippet": content[:16],
        "creator": USER,
        "root": ASKED,
        "created": CREATED,
        "expirationTime": EXPIRES,
        "modelId": "Olmo-3-7B-Instruct",
        "modelHost": "ai2_model_hub",
        "children": [],
        "labels": [],
        "toolCalls": [],
        "final": False,
        "private": True,
        "isLimitReached": False,
        "isOlderThan30Days": False,
        "opts": {"maxTokens": 2048, "temperature": 0.7, "topP": 1.0, "stop": [], "n": 1},
        **more,
    }


def thread(*messages: Raw) -> str:
    """A thread object."""
    return line({"id": messages[0]["id"], "messages": list(messages)}, sort=True)


def turn(text: str = "", *, final: bool = False, **reply: Any) -> str:
    """The thread object of a first turn."""
    return thread(
        new_message(ASKED, "user", "Hi there", children=[REPLY], final=final),
        new_message(REPLY, "assistant", text, parent=ASKED, final=final, **reply),
    )


def typed(kind: str, message: str | None = REPLY, **more: Any) -> str:
    """A line with a ``type``."""
    return line({"message": message, "type": kind, **more}, sort=True)


def new_piece(text: str, message: str = REPLY) -> str:
    """A text piece."""
    return typed("modelResponse", message, content=text)


def thought(text: str) -> str:
    """A reasoning piece."""
    return typed("thinking", content=text, id=None)


START, END = typed("start", ASKED), typed("end", ASKED)


def new_stream(*lines: str, closed: str = "clean") -> Raw:
    """A stream of 2026 behind its first two lines."""
    return answer(START, turn(), *lines, content_type=LINES, closed=closed)


def new_whole(*pieces: str) -> Raw:
    """A healthy stream of 2026."""
    text = "".join(pieces)
    return new_stream(new_piece(""), *map(new_piece, pieces), turn(text, final=True), END)
