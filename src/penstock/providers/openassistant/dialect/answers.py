"""Answers that are no stream, and errors (``wire/openassistant.md`` sections 4, 5, 7 and 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from penstock.errors import Kind, PenstockError, error_of, one_sentence
from penstock.types import ModelInfo
from penstock.wire.decoder import JSON_ERRORS, bad_payload
from penstock.wire.status import status_error, words_of

NAME = "openassistant"

T = TypeVar("T")

WAITING_STATES = frozenset({"pending", "in_progress"})
"""States of an assistant message that may still change (section 4)."""


class Chat(msgspec.Struct, frozen=True):
    """A chat, as far as we read it. ``messages`` come only with GET of one chat."""

    id: str
    messages: tuple[Message, ...] = ()


class Message(msgspec.Struct, frozen=True):
    """A message, as far as we read it.

    Attributes:
        content: null on an assistant message until it is complete.
        state: ``manual`` on prompter messages.
    """

    id: str = ""
    parent_id: str | None = None
    content: str | None = None
    role: str = ""
    state: str = ""

    @property
    def unfinished(self) -> bool:
        """True where a worker may still be, or get, busy with it."""
        return self.role == "assistant" and self.state in WAITING_STATES


class _Model(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None


class _Reported(msgspec.Struct, frozen=True):
    """An error of the model server, which comes as JSON inside the error text."""

    error: str
    error_type: str = ""


def read_chat(body: bytes) -> Chat:
    """A chat.

    Raises:
        ProtocolError: it is something else.
    """
    return _decoded(body, Chat)


def read_message(body: bytes) -> Message:
    """A message with an id.

    Raises:
        ProtocolError: it is something else.
    """
    message = _decoded(body, Message)
    if not message.id:
        raise bad_payload(ValueError("a message without id"), body)
    return message


def read_models(body: bytes) -> tuple[ModelInfo, ...]:
    """The models that the server allows; one in the list may have no worker (section 5).

    Raises:
        ProtocolError: it is something else.
    """
    listed = _decoded(body, list[_Model])
    return tuple(ModelInfo(id=item.name, description=item.description or "") for item in listed)


def _decoded(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None


# -- errors ----------------------------------------------------------------------------------------

_REPORTED_KINDS: dict[str, Kind] = {
    "overloaded": "overloaded",
    "validation": "bad_request",
    "incomplete_generation": "truncated",
}

_LIMITED = (
    "the server refused to answer and did not say why. It does so when its rate limit is reached "
    "(by default 20 answers in 660 s for one account), so trying again at once is useless"
)


def answer_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    ordering: bool = False,
    model: str | None = None,
    secrets: tuple[str, ...] = (),
) -> PenstockError:
    """The error for an HTTP answer that is not a success.

    A session that is missing, wrong or banned gives a bare 403 on every route (section 2), natively
    401 or 403.

    Args:
        ordering: an answer was ordered; there the 429 of the rate limit reaches us as a bare 500
            (section 5).
    """
    said = words_of(body)
    if status == 500 and ordering:
        return error_of(
            "server",
            _LIMITED,
            provider=NAME,
            model=model,
            status=status,
            detail=said or None,
            retryable=False,
        )
    return status_error(
        status,
        headers,
        body,
        provider=NAME,
        model=model,
        kind=_kind_of(status, said),
        detail=_HINTS.get((status, said)),
        secrets=secrets,
    )


_HINTS = {
    (403, ""): "the session is missing, wrong or has expired, or the account is banned",
    (404, ""): "the chat is switched off on this server, or there is no such chat",
}


def _kind_of(status: int, said: str) -> Kind | None:
    if status == 403:
        return "auth"
    if status == 422 and re.match(r"Model .+ not (found|in allowed models)", said):
        return "unknown_model"
    return None


def reported_error(text: str) -> PenstockError:
    """The failure that an ``error`` event tells: text, or JSON in the text (section 6)."""
    said = text
    kind: Kind = "timeout" if text == "Timeout" else "model"
    try:
        reported = msgspec.json.decode(text, type=_Reported)
    except JSON_ERRORS:
        pass
    else:
        said, kind = reported.error, _REPORTED_KINDS.get(reported.error_type, "model")
    words = one_sentence(said)
    what = _TIMED_OUT if kind == "timeout" else f"the model failed: {words or 'no reason given'}"
    return _in_stream(kind, what, words)


_TIMED_OUT = "the server gave up: the message had waited for a worker for too long"


def state_error(state: str) -> PenstockError | None:
    """The failure that a message's ``state`` tells; None if it is none. The reason is lost."""
    if state == "aborted_by_worker":
        return _in_stream("model", "the worker gave the answer up; the reason is not known", state)
    if state == "timeout":
        return _in_stream("timeout", _TIMED_OUT, state)
    if state == "cancelled":
        return _in_stream(
            "cancelled",
            "the server cancelled the answer while it waited, because the same account asked "
            "something else",
            state,
        )
    return None


def _in_stream(kind: Kind, message: str, detail: str) -> PenstockError:
    return error_of(kind, message, provider=NAME, status=200, detail=detail or None)
