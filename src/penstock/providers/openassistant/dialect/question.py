"""One turn as the protocol takes it: bare text, system text apart, parameters by their own names.

The worker puts the model's own role marks around each message, so a question travels as it is.
Earlier turns cannot be posted as answers: a call that has no chat to go on in folds them into its
one question (``wire/openassistant.md`` sections 1, 5 and 12).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import BadRequestError
from penstock.prompts import fold, new_turn, split_system
from penstock.providers.checks import check_sampling
from penstock.providers.openassistant.dialect.answers import NAME
from penstock.providers.openassistant.models import SAMPLING
from penstock.types import ChatRequest, Message, Value

_NAMES = {"max_tokens": "max_new_tokens"}
_SAMPLING_NAMES = {_NAMES.get(name, name): name for name in SAMPLING}
_TEXTS = ("system_prompt", "user_profile", "user_response_instructions")
EXTRA = frozenset(_SAMPLING_NAMES) | {*_TEXTS, "plugins"}
"""What ``ChatRequest.extra`` may hold: the server's own names."""


class Turn(Value, frozen=True):
    """One turn, ready to be posted.

    Attributes:
        text: the question.
        parent: the answer it follows; None in a new chat.
        order: how it is to be answered, for ``order_answer``.
    """

    text: str
    parent: str | None
    order: Mapping[str, Any]


def turn_of(request: ChatRequest, model: str) -> Turn:
    """What ``request`` asks, checked as far as the server does not.

    Raises:
        BadRequestError: there is nothing to answer, or a value would be refused, or harm others.
    """
    system, messages = split_system(request.messages)
    conversation = request.conversation
    parent = conversation.parent if conversation is not None else None
    if parent is not None:
        text = _joined(new_turn(messages))
    else:
        text = fold(messages) if messages else _joined(())
    return Turn(text=_storable(text), parent=parent, order=_order(request, model, system))


def _joined(messages: Sequence[Message]) -> str:
    if not messages:
        raise _refused("there is no user message to answer", "messages")
    return "\n".join(message.text for message in messages)


def _storable(text: str) -> str:
    # The server's database takes neither; it would answer with a bare 500 (section 5).
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise _refused("messages must hold no NUL and no half of a surrogate pair", "messages")
    return text


def _order(request: ChatRequest, model: str, system: str | None) -> dict[str, Any]:
    extra = dict(request.extra)
    sampling = {
        _NAMES.get(name, name): value for name, value in request.sampling.given().items()
    } | {name: extra.pop(name) for name in _SAMPLING_NAMES if name in extra}
    # The server takes any value, and one that the model server refuses stops its worker for a
    # minute (section 8).
    given = {_SAMPLING_NAMES.get(name, name): value for name, value in sampling.items()}
    check_sampling(given, SAMPLING, NAME)
    order: dict[str, Any] = {"model_config_name": model, "sampling_parameters": sampling}
    if system is not None:
        order["system_prompt"] = system
    for name, value in extra.items():
        if name in _TEXTS and not isinstance(value, str):
            raise _refused(f"{name} must be text", name)
        order[name] = value
    return order


def _refused(message: str, param: str) -> BadRequestError:
    return BadRequestError(message, provider=NAME, param=param)
