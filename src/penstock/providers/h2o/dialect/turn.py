"""What one turn sends, whichever route it takes: prompt text, parameters, message options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.errors import BadRequestError
from penstock.prompts import fold, new_turn, split_system
from penstock.providers.h2o.dialect.parameters import parameters_of
from penstock.providers.h2o.models import (
    DEFAULT_PARAMETERS,
    MODELS,
    OPEN_PARAMETERS,
    ROUTER_PARAMETERS,
)
from penstock.types import ChatRequest, Value

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Turn(Value, frozen=True, kw_only=True):
    """One question as it goes out.

    Attributes:
        inputs: the text.
        parameters: by the router's names, checked.
        id: of the question, as the app stores it.
        response_id: of the answer.
        is_retry: the question takes the place of an earlier one with its id, if there is one.
    """

    inputs: str
    parameters: Mapping[str, Any]
    id: str = ""
    response_id: str = ""
    is_retry: bool = False
    web_search_id: str = ""

    @property
    def stop(self) -> tuple[str, ...]:
        """The stop strings."""
        return tuple(self.parameters.get("stop", ()))

    @property
    def full_text(self) -> bool:
        """The prompt is wanted in front of the final text."""
        return bool(self.parameters.get("return_full_text"))


class Ids(Value, frozen=True):
    """Ids that the caller chooses: of the question and of the answer, both UUIDs."""

    question: str
    answer: str


def turn_of(request: ChatRequest, model: str, ids: Ids, provider: str, *, going_on: bool) -> Turn:
    """The turn for a call to the app.

    In a conversation the server keeps the history, so only the new turn travels; elsewhere a
    whole chat is folded into one text (rule 16).

    Args:
        going_on: the conversation exists on the server. The question is then sent as a retry of
            its id: an id that the app knows gives its place to the new question, any other
            appends (``wire/h2o.md`` section 3). So a turn that was cut, whose partial answer the
            app keeps (section 6), is replaced by the next one with the same id.

    Raises:
        BadRequestError: nothing to ask, or a value the server would refuse.
    """
    defaults = DEFAULT_PARAMETERS if model in MODELS else OPEN_PARAMETERS
    extra = request.extra
    return Turn(
        inputs=_question(request, going_on=going_on, provider=provider),
        parameters=parameters_of(request.sampling, extra, defaults, ROUTER_PARAMETERS, provider),
        id=_uuid("id", extra, ids.question, provider),
        response_id=_uuid("response_id", extra, ids.answer, provider),
        is_retry=_flag("is_retry", extra, going_on, provider),
        web_search_id=_string("web_search_id", extra, provider),
    )


def router_turn_of(request: ChatRequest, provider: str) -> Turn:
    """The turn for a call to the router itself, which keeps nothing.

    Raises:
        BadRequestError: nothing to ask, or a value the server would refuse.
    """
    return Turn(
        inputs=_question(request, going_on=False, provider=provider),
        parameters=parameters_of(
            request.sampling, request.extra, OPEN_PARAMETERS, ROUTER_PARAMETERS, provider
        ),
    )


def _question(request: ChatRequest, *, going_on: bool, provider: str) -> str:
    messages = request.messages
    if going_on:
        _, messages = split_system(new_turn(messages))
    text = fold(messages) if messages else ""
    if not text.strip():
        # The app answers 500 to blanks (``wire/h2o.md`` section 3), the router refuses them.
        raise BadRequestError(
            "there is nothing to ask: the last message must be a question",
            provider=provider,
            param="messages",
        )
    return text


def _uuid(name: str, extra: Mapping[str, Any], default: str, provider: str) -> str:
    given = extra.get(name)
    if given is None:
        return default
    if not isinstance(given, str) or not _UUID.fullmatch(given):
        raise _refused(name, "a UUID", given, provider)
    return given


def _flag(name: str, extra: Mapping[str, Any], default: bool, provider: str) -> bool:
    given = extra.get(name, default)
    if not isinstance(given, bool):
        raise _refused(name, "true or false", given, provider)
    return given


def _string(name: str, extra: Mapping[str, Any], provider: str) -> str:
    given = extra.get(name) or ""
    if not isinstance(given, str):
        raise _refused(name, "a string", given, provider)
    return given


def _refused(name: str, wanted: str, given: object, provider: str) -> BadRequestError:
    return BadRequestError(
        f"{name} must be {wanted}, not {given!r:.60}", provider=provider, param=name
    )
