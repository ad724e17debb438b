"""Bytes of Open-Assistant's website and of the native API (wire/openassistant.md 3 to 6, 10)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from tests.testing.constructed.build import JSON, Headers, Raw, answer, compact, exchange

CHAT = "06b00e54-ca6f-7bfc-8000-b7fe21c13f14"
QUESTION = "06b00e54-caa6-770c-8000-9855c278170e"
REPLY = "06b00e54-cbb6-7e34-8000-a40196f87b7b"
MODEL = "OA_SFT_Llama_30B_6"
HOST = "127.0.0.1:21110"
COOKIE = (("Cookie", "next-auth.session-token=eyJhbGciOiJkaXIi..one.two"),)
BEARER = (("Authorization", "Bearer eyJhbGciOiJkaXIi..native.token"),)
SITE_JSON = "application/json; charset=utf-8"
SAMPLING = {"top_k": 50, "top_p": None, "typical_p": None, "temperature": 0.35}


def message(
    state: str,
    content: str | None,
    *,
    identifier: str = REPLY,
    parent: str | None = QUESTION,
    role: str = "assistant",
) -> Raw:
    """A message object."""
    return {
        "id": identifier,
        "parent_id": parent,
        "content": content,
        "chat_id": CHAT,
        "created_at": "2026-11-21T00:26:52.732168",
        "role": role,
        "state": state,
        "score": 0,
        "reports": [],
        "work_parameters": None,
        "safe_content": None,
        "safety_level": None,
        "safety_label": None,
        "safety_rots": None,
        "used_plugin": None,
    }


def prompter(text: str, identifier: str = QUESTION, parent: str | None = None) -> Raw:
    """A question as the server keeps it."""
    return message("manual", text, identifier=identifier, parent=parent, role="prompter")


# -- events --------------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> str:
    """One event of the stream: ASCII, CRLF CRLF."""
    return f"data: {json.dumps({'event_type': kind, **fields})}\r\n\r\n"


def token(text: str) -> str:
    """A piece."""
    return event("token", text=text)


def pending(position: int, size: int = 3) -> str:
    """A place in the queue."""
    return event("pending", queue_position=position, queue_size=size)


def ended(content: str, identifier: str = REPLY) -> str:
    """The terminal event of a success."""
    return event("message", message=message("complete", content, identifier=identifier))


def broke(text: str, state: str = "aborted_by_worker") -> str:
    """The terminal event of a failure."""
    return event("error", error=text, message=message(state, None))


PING = ": ping - 2026-11-21 00:10:17.461777\r\n\r\n"
OLD_PING = "event: ping\r\ndata: 2026-11-21 00:22:40.357216\r\n\r\n"


# -- the website ---------------------------------------------------------------------------------


def site(
    method: str,
    path: str,
    response: Raw,
    body: object = None,
    *,
    query: str = "",
    headers: Headers = COOKIE,
) -> Raw:
    """One call of the website's routes."""
    return exchange(
        method,
        f"/api/chat{path}",
        response,
        host=HOST,
        query=query,
        headers=[("Accept", "*/*"), *headers],
        body="" if body is None else json.dumps(body),
        content_type=None if body is None else JSON,
    )


def shown(value: object, status: int = 200) -> Raw:
    """JSON as the website writes it."""
    return answer(compact(value), status=status, content_type=SITE_JSON)


def said_so(status: int, message: object) -> Raw:
    """A refusal with a message."""
    return shown({"message": message}, status)


BROKEN_500 = answer("Internal Server Error", status=500, content_type=None)
EMPTY = answer(content_type=None)
CHAT_OBJECT = {
    "id": CHAT,
    "created_at": "2026-11-21T00:26:52.652309",
    "modified_at": "2026-11-21T00:26:52.652311",
    "title": None,
    "hidden": False,
    "allow_data_use": True,
    "active_thread_tail_message_id": None,
}


def created(response: Raw | None = None, headers: Headers = COOKIE) -> Raw:
    """POST /api/chat."""
    return site("POST", "", response or shown(CHAT_OBJECT), headers=headers)


def asked(
    text: str = "Hi there",
    response: Raw | None = None,
    *,
    parent: str | None = None,
    identifier: str = QUESTION,
    headers: Headers = COOKIE,
) -> Raw:
    """POST of a question."""
    body = {"chat_id": CHAT, "parent_id": parent, "content": text}
    given = response or shown(prompter(text, identifier, parent))
    return site("POST", "/prompter_message", given, body, headers=headers)


def ordered(
    response: Raw | None = None,
    *,
    question: str = QUESTION,
    identifier: str = REPLY,
    model: str = MODEL,
    headers: Headers = COOKIE,
    sampling: Raw | None = None,
    **more: Any,
) -> Raw:
    """POST of the order of an answer."""
    body = {
        "chat_id": CHAT,
        "parent_id": question,
        "model_config_name": model,
        "sampling_parameters": SAMPLING if sampling is None else sampling,
        **more,
    }
    waiting = message("pending", None, identifier=identifier, parent=question)
    return site("POST", "/assistant_message", response or shown(waiting), body, headers=headers)


def _of(identifier: str) -> str:
    return f"chat_id={CHAT}&message_id={identifier}"


def streamed(
    *parts: str | bytes, closed: str = "clean", identifier: str = REPLY, headers: Headers = COOKIE
) -> Raw:
    """The event stream."""
    response = answer(*parts, content_type=None, closed=closed)
    return site("GET", "/events", response, query=_of(identifier), headers=headers)


def looked(response: Raw, identifier: str = REPLY, headers: Headers = COOKIE) -> Raw:
    """GET of a message."""
    return site("GET", "/message", response, query=_of(identifier), headers=headers)


def deleted(response: Raw = EMPTY, headers: Headers = COOKIE) -> Raw:
    """DELETE of the chat."""
    return site("DELETE", "", response, query=f"chat_id={CHAT}", headers=headers)


def turn(*after: Raw, **order: Any) -> list[Raw]:
    """Create, ask, order, then what follows, then DELETE."""
    return [created(), asked(), ordered(**order), *after, deleted()]


def elsewhere(one: Raw) -> Raw:
    """The same exchange in a second chat."""

    def renamed(text: str) -> str:
        for old in (CHAT, QUESTION, REPLY):
            text = text.replace(old, f"06b00e99{old[8:]}")
        return text

    told = json.loads(renamed(json.dumps(one)))
    for chunk in told["response"]["chunks"]:
        body = renamed(b64decode(chunk["b64"]).decode())
        chunk["b64"] = b64encode(body.encode()).decode()
    return dict(told)


# -- native --------------------------------------------------------------------------------------


def native(
    method: str,
    path: str,
    response: Raw,
    body: object = None,
    *,
    headers: Headers = BEARER,
) -> Raw:
    """One call of the inference server."""
    return exchange(
        method,
        path,
        response,
        host="127.0.0.1:21100",
        headers=[("Accept", "*/*"), *headers],
        body="" if body is None else json.dumps(body),
        content_type=None if body is None else JSON,
    )


def detail(status: int, said: object) -> Raw:
    """A native refusal."""
    return answer(compact({"detail": said}), status=status)


def native_turn(*after: Raw, order: Raw | None = None, headers: Headers = BEARER) -> list[Raw]:
    """Create, ask, order, then what follows, then DELETE; natively."""
    base = f"/chats/{CHAT}"
    body = {"parent_id": QUESTION, "model_config_name": MODEL, "sampling_parameters": SAMPLING}
    question = {"parent_id": None, "content": "Hi there"}
    waiting = answer(compact(message("pending", None)))
    return [
        native("POST", "/chats", answer(compact(CHAT_OBJECT)), {}, headers=headers),
        native(
            "POST",
            f"{base}/prompter_message",
            answer(compact(prompter("Hi there"))),
            question,
            headers=headers,
        ),
        native("POST", f"{base}/assistant_message", order or waiting, body, headers=headers),
        *after,
        native("DELETE", base, EMPTY, headers=headers),
    ]


def native_events(*parts: str, status: int = 200, closed: str = "clean", **more: Any) -> Raw:
    """The native event stream."""
    kind = "text/event-stream; charset=utf-8" if status == 200 else None
    response = answer(*parts, status=status, content_type=kind, closed=closed)
    return native("GET", f"/chats/{CHAT}/messages/{REPLY}/events", response, **more)


def native_looked(responses: Sequence[Raw]) -> list[Raw]:
    """GETs of the message."""
    return [native("GET", f"/chats/{CHAT}/messages/{REPLY}", response) for response in responses]
