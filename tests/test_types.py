"""The values that travel: frozen, serialisable, checked."""

from __future__ import annotations

import enum
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from penstock.errors import BadRequestError, ForbiddenError, PenstockError
from penstock.types import (
    ChatRequest,
    Conversation,
    Event,
    Finished,
    FinishReason,
    ImagePart,
    Message,
    Sampling,
    Text,
    TextPart,
    Timeouts,
    Waiting,
)


class Odd(enum.Enum):
    """A number of a foreign type."""

    ONE = 1.0


def test_values_are_frozen() -> None:
    text = Text("a")
    with pytest.raises(AttributeError):
        text.text = "b"  # type: ignore[misc]


def test_events_go_through_json_and_back() -> None:
    events: list[Event] = [Text(" "), Waiting("queue", 1, 2, "x"), Finished("length")]
    data = msgspec.json.encode(events)
    assert msgspec.json.decode(data, type=list[Event]) == events
    assert json.loads(data)[0] == {"type": "text", "text": " "}


def test_a_message_knows_its_text_and_images() -> None:
    image = ImagePart(b"x", "image/png")
    message = Message("user", (TextPart("a"), image, TextPart("b")))
    assert (message.text, message.images) == ("ab", (image,))
    assert (Message("user", " a ").text, Message("user", "a").images) == (" a ", ())


def test_sampling_says_what_is_given() -> None:
    assert Sampling().given() == {}
    assert Sampling(temperature=0.0, stop=("x",)).given() == {"temperature": 0.0, "stop": ("x",)}


@pytest.mark.parametrize("value", [Decimal("0.5"), b"x", UUID(int=1), object(), Odd.ONE])
def test_a_value_of_a_foreign_type_stays_what_it_is(value: Any) -> None:
    """Else it would be sent as something else, where it is to be refused by its name."""
    given = Sampling(temperature=value, stop=(value,)).given()
    assert given["temperature"] is value
    assert given["stop"] == (value,)


def test_a_conversation_survives_json_before_and_after_its_first_turn() -> None:
    for conversation in (
        Conversation("m"),
        Conversation("m", "c1", "p1", [{"role": "user", "content": "Zoë 🙂"}]),
    ):
        data = json.loads(json.dumps(conversation.to_dict()))
        assert Conversation.from_dict(data) == conversation
        assert conversation.get_dict() == conversation.to_dict()


def test_what_is_no_conversation_is_refused() -> None:
    with pytest.raises(BadRequestError, match="conversation"):
        Conversation.from_dict({"model": 3})


async def test_deleting_a_conversation() -> None:
    deleted: list[str] = []

    async def delete() -> None:
        deleted.append("c1")

    conversation = Conversation("m", "c1")
    with pytest.raises(BadRequestError, match=r"client\.delete"):
        await conversation.delete()
    conversation.bind(delete)
    await conversation.delete()
    assert deleted == ["c1"]
    await Conversation("m").delete()
    await conversation.delete()
    assert deleted == ["c1"]


async def test_a_deletion_that_was_refused_can_be_tried_again() -> None:
    answers: list[PenstockError | None] = [ForbiddenError("not yet"), None]

    async def delete() -> None:
        if error := answers.pop(0):
            raise error

    conversation = Conversation("m", "c1")
    conversation.bind(delete)
    with pytest.raises(ForbiddenError):
        await conversation.delete()
    await conversation.delete()
    assert not answers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Timeouts()),
        (30, Timeouts(first_content=30.0, idle=30.0)),
        (0.5, Timeouts(first_content=0.5, idle=0.5)),
        (Timeouts(total=1.0), Timeouts(total=1.0)),
    ],
)
def test_timeouts_of(given: float | Timeouts | None, expected: Timeouts) -> None:
    """A number limits the wait for content, first and between; connecting keeps its limit."""
    assert Timeouts.of(given) == expected


@pytest.mark.parametrize("given", [0, -1, True, "5", float("nan")])
def test_what_is_no_timeout_is_refused(given: float) -> None:
    with pytest.raises(BadRequestError, match="timeout"):
        Timeouts.of(given)


def test_a_finish_reason_is_text() -> None:
    assert FinishReason("stop") == "stop"
    assert isinstance(FinishReason("stop"), str)


def test_a_request_is_complete_with_model_and_messages() -> None:
    request = ChatRequest(model="m", messages=(Message("user", "hi"),))
    assert (request.stream, request.conversation, request.tools) == (True, None, ())
