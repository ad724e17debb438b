"""A chat request as the turns that travel.

A call without a thread folds the whole chat into one prompt; in a thread that exists only what
follows the last assistant message travels (framework.md sections 2 and 6). The results of tool
calls travel one by one, each as a turn of its own (wire/allenai.md section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import BadRequestError
from penstock.prompts import fold, new_turn
from penstock.types import ChatRequest, ImagePart, Message, Value

TOOL_RESULT = "tool_call_result"


class Turn(Value, frozen=True, kw_only=True):
    """One message to post.

    Attributes:
        role: ``user``, or ``tool_call_result`` with ``tool_call_id``.
    """

    content: str
    role: str = "user"
    tool_call_id: str | None = None
    images: tuple[ImagePart, ...] = ()

    def as_message(self) -> dict[str, str]:
        """The turn as a conversation keeps it."""
        return {"role": "user" if self.role == "user" else "tool", "content": self.content}


def turns_of(request: ChatRequest) -> tuple[Turn, ...]:
    """The turns of one call, in order; the last one's answer is the answer.

    Raises:
        BadRequestError: nothing to say, an image that is only a URL, or a tool result that
            nothing asked for.
    """
    conversation = request.conversation
    if conversation is None or conversation.parent is None:
        return (_turn(request, request.messages, fold(request.messages)),)
    fresh = new_turn(request.messages)
    if not fresh:
        raise BadRequestError(
            "the last message is the assistant's; add a user message", param="messages"
        )
    results = [message for message in fresh if message.role == "tool"]
    if results:
        return _results(fresh, results)
    if all(message.role == "user" for message in fresh):
        return (_turn(request, fresh, "\n".join(message.text for message in fresh)),)
    return (_turn(request, fresh, fold(fresh)),)


def _turn(request: ChatRequest, messages: Sequence[Message], content: str) -> Turn:
    images = tuple(image for message in messages for image in message.images)
    if any(image.url is not None for image in images):
        raise BadRequestError(
            "this server takes images as bytes only, and Penstock fetches no URL; "
            "give a data URL or media=[(bytes, name)]",
            param="messages",
        )
    if not content and "inputParts" not in request.extra:
        raise BadRequestError("the message to answer is empty", param="messages")
    return Turn(content=content, images=images)


def _results(fresh: Sequence[Message], results: Sequence[Message]) -> tuple[Turn, ...]:
    if len(results) < len(fresh):
        raise BadRequestError(
            "tool messages answer the last call; nothing else may follow it in the same turn",
            param="messages",
        )
    if not all(message.tool_call_id for message in results):
        raise BadRequestError("a tool message needs tool_call_id", param="messages")
    return tuple(
        Turn(content=message.text, role=TOOL_RESULT, tool_call_id=message.tool_call_id)
        for message in results
    )
