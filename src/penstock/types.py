"""The values that travel through Penstock: requests, events, answers.

All are frozen, but for ``Conversation``, which a finished turn moves on (its docstring says how).
Nothing here reads a clock, opens a connection or imports more than ``msgspec``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec

from penstock.errors import BadRequestError

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = ("system", "developer", "user", "assistant", "tool")


class FinishReason(str):
    """``stop``, ``length``, ``content_filter``, ``tool_calls``, ``cancelled`` or a server's own."""

    __slots__ = ()


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the frozen values."""


class TextPart(Value, frozen=True, tag="text"):
    """A piece of text of a message."""

    text: str


class ImagePart(Value, frozen=True, tag="image"):
    """An image of a message: its bytes, or an https URL that the provider may pass on.

    Attributes:
        data: the bytes; empty where ``url`` is set.
        media_type: as in ``image/png``.
        name: file name shown to the server.
        url: an https URL; Penstock never fetches it.
    """

    data: bytes = b""
    media_type: str = "application/octet-stream"
    name: str = "image"
    url: str | None = None


Part = TextPart | ImagePart


class ToolCallPart(Value, frozen=True):
    """A whole tool call of an assistant message, for the history.

    Attributes:
        arguments: JSON text, as the model wrote it.
    """

    id: str
    name: str
    arguments: str = ""


class Message(Value, frozen=True):
    """One message of a chat.

    Attributes:
        content: text, or parts of text and images.
        tool_calls: calls made by an assistant message.
        tool_call_id: the call that a ``tool`` message answers.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    tool_calls: tuple[ToolCallPart, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts joined, nothing trimmed."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The image parts, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


class Sampling(Value, frozen=True):
    """How to sample. ``None`` (or empty) means: not sent, the server decides.

    Ranges are checked against what the provider declares, before anything is sent.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def given(self) -> dict[str, Any]:
        """Name -> value of what is set."""
        try:
            names = msgspec.to_builtins(self)  # leaves out defaults, and changes foreign types
        except TypeError:  # a type that is to be refused by its name
            values = msgspec.structs.asdict(self).items()
            return {name: value for name, value in values if value is not None and value != ()}
        return {name: getattr(self, name) for name in names}


class Tool(Value, frozen=True):
    """A function the model may call; ``parameters`` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}


class Usage(Value, frozen=True):
    """Token counts. ``estimated`` is True where Penstock, not the server, counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    estimated: bool = False


class Conversation(msgspec.Struct, dict=True, weakref=True):
    """A native conversation: what is needed to go on with a thread on the remote server.

    Passing it to a call continues the remote thread, so that only the new turn travels. It is
    updated in place when a turn ends well; a failed or cut turn leaves it as it was. It
    serialises to JSON and back without loss, but for the ability to delete, which a call renews.

    Attributes:
        model: the model of the thread.
        id: the conversation as the server names it; None before the first turn.
        parent: the id the next turn goes on from.
        messages: whole turns as ``{"role", "content"}``.
    """

    model: str = ""
    id: str | None = None
    parent: str | None = None
    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}

    get_dict = to_dict

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The conversation that ``to_dict`` wrote.

        Raises:
            BadRequestError: a field has the wrong type.
        """
        try:
            return msgspec.convert(dict(data), cls)
        except msgspec.ValidationError as error:
            raise BadRequestError(f"not a conversation: {error}", param="conversation") from None

    def bind(self, delete: Callable[[], Awaitable[None]]) -> None:
        """Remember how the remote side is deleted; called by the provider that opened it."""
        self.__dict__["_delete"] = delete

    async def delete(self) -> None:
        """Delete the remote conversation. Without one, or done before, nothing happens.

        One that failed can be tried again.

        Raises:
            PenstockError: the server refused, or the conversation was read from a dictionary and
                no call has used it yet (``Client.delete`` takes such a one).
        """
        delete = self.__dict__.get("_delete")
        if delete is not None:
            await delete()
            self.bind(_nothing_to_delete)
        elif self.id is not None:
            raise BadRequestError(
                "this conversation is bound to no client; use client.delete(model, conversation)",
                param="conversation",
            )


async def _nothing_to_delete() -> None:
    """Bound after a deletion, until the next turn binds anew."""


class ChatRequest(Value, frozen=True, kw_only=True):
    """One turn to be answered.

    Attributes:
        model: as the provider knows it, without the provider's name in front.
        messages: the whole chat so far; the last one is to be answered.
        conversation: a native conversation to continue; then only what follows the last
            assistant message travels.
        extra: raw parameters by the server's own names; they win over ours.
        stream: False where the caller wants the whole answer only. The events are the same; a
            provider may then choose a cheaper way.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    conversation: Conversation | None = None
    tools: tuple[Tool, ...] = ()
    extra: Mapping[str, Any] = {}
    stream: bool = True


class Text(Value, frozen=True, tag="text"):
    """A piece of the answer, as it came; never empty."""

    text: str


class Reasoning(Value, frozen=True, tag="reasoning"):
    """A piece of the model's reasoning; not part of the answer."""

    text: str


class ToolCall(Value, frozen=True, tag="tool_call"):
    """A piece of a tool call. ``id`` and ``name`` come with the first piece of each ``index``."""

    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Waiting(Value, frozen=True, tag="waiting"):
    """Nothing yet, and why.

    Attributes:
        position: place in the queue, 1 is next; 0 taken or not known.
        size: length of the queue.
        detail: the vendor's own words.
    """

    reason: Literal["queue", "cold_start", "loading", "running"]
    position: int | None = None
    size: int | None = None
    detail: str = ""


class Started(Value, frozen=True, tag="started"):
    """The server took the turn.

    Attributes:
        id: the reply as the server names it; the id of a turn that is later cut, too.
        conversation_id: the remote conversation, where there is one.
        model: the model that answers, where the server says it.
    """

    id: str | None = None
    conversation_id: str | None = None
    model: str | None = None


class Notice(Value, frozen=True):
    """Something a caller should know about an answer that is whole all the same."""

    code: Literal["text_differs", "history_lost", "parameter_dropped", "usage_estimated"]
    detail: str = ""

    @classmethod
    def dropped(cls, parameter: str, why: str) -> Notice:
        """``parameter`` was not obeyed. One sentence for it, whichever provider says it."""
        return cls("parameter_dropped", f"{parameter} was not obeyed: {why}")


class Finished(Value, frozen=True, tag="finished"):
    """The one good end of a stream.

    Attributes:
        finish_reason: None where the wire does not tell.
        final_text: the server's own whole text, where it sent one.
        final_counts: False where the protocol calls the pieces right, should the two differ.
        conversation: the native conversation, moved on by this turn.
        warnings: what a caller should know.
    """

    finish_reason: str | None = "stop"
    usage: Usage | None = None
    final_text: str | None = None
    conversation: Conversation | None = None
    warnings: tuple[Notice, ...] = ()
    final_counts: bool = True


Event = Text | Reasoning | ToolCall | Waiting | Started | Finished
CONTENT = (Text, Reasoning, ToolCall)
"""The events that commit a stream and count as life of the model."""


class Reply(Value, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        text: the server's final text where its protocol calls that one right, else the joined
            pieces.
    """

    text: str
    model: str
    provider: str
    reasoning: str = ""
    tool_calls: tuple[ToolCallPart, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    conversation: Conversation | None = None
    warnings: tuple[Notice, ...] = ()


class ModelInfo(Value, frozen=True, kw_only=True):
    """A model that a provider offers.

    Attributes:
        limits: parameter -> (lowest, highest), as far as the server says.
        images: True where the model takes images.
        needs_image: True where it answers no question without one.
        aliases: short names that mean this model, too.
    """

    id: str
    name: str = ""
    description: str = ""
    images: bool = False
    needs_image: bool = False
    reasoning: bool = False
    tools: bool = False
    limits: Mapping[str, tuple[float, float]] = {}
    aliases: tuple[str, ...] = ()


class Capabilities(Value, frozen=True, kw_only=True):
    """What a provider can honour, as data; checked before anything is sent.

    Attributes:
        sampling: parameter -> (lowest, highest) both allowed, or None for unbounded.
        system: system messages reach the model as such.
        history: earlier turns reach the model.
        conversations: remote threads can be continued.
        extra: names ``ChatRequest.extra`` may hold; None for any.
        chat_completions: the server speaks OpenAI's chat completions, so that what a request of
            that form holds beyond our parameters may go on as it came.
    """

    sampling: Mapping[str, tuple[float, float] | None] = {}
    system: bool = True
    history: bool = True
    images: bool = False
    tools: bool = False
    reasoning: bool = False
    conversations: bool = False
    extra: frozenset[str] | None = frozenset()
    chat_completions: bool = False


def united(capabilities: Sequence[Capabilities]) -> Capabilities:
    """What at least one of several can honour; of ``extra`` what all of them take."""
    sampling: dict[str, tuple[float, float] | None] = {}
    extra: frozenset[str] | None = None
    for one in capabilities:
        for name, span in one.sampling.items():
            sampling[name] = _wider(sampling.get(name, span), span)
        if one.extra is not None:
            extra = one.extra if extra is None else extra & one.extra
    return Capabilities(
        sampling=sampling,
        extra=extra,
        chat_completions=all(one.chat_completions for one in capabilities),
        **{
            name: any(getattr(one, name) for one in capabilities)
            for name in ("system", "history", "images", "tools", "reasoning", "conversations")
        },
    )


def _wider(
    one: tuple[float, float] | None, other: tuple[float, float] | None
) -> tuple[float, float] | None:
    if one is None or other is None:
        return None
    return min(one[0], other[0]), max(one[1], other[1])


class Timeouts(Value, frozen=True, kw_only=True):
    """Time limits in seconds; None switches one off.

    Attributes:
        connect: until the connection stands, TLS included.
        first_content: from the request to the first piece of the answer.
        idle: between pieces of the answer. Comments and keep-alives do not count as pieces.
        total: the whole call, as far as it waits for the server; a slow consumer costs nothing.
        waiting: the longest time in a queue or cold start that the server reports.
    """

    connect: float | None = 5.0
    first_content: float | None = 60.0
    idle: float | None = 60.0
    total: float | None = None
    waiting: float | None = 600.0

    ALL: ClassVar[tuple[str, ...]] = ("connect", "first_content", "idle", "total", "waiting")

    @classmethod
    def of(cls, value: float | Timeouts | None) -> Timeouts:
        """``value`` as limits: a number of seconds sets ``first_content`` and ``idle``.

        Raises:
            BadRequestError: it is none of these.
        """
        if value is None:
            return cls()
        if isinstance(value, Timeouts):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise BadRequestError(
                "timeout must be a positive number of seconds or a Timeouts value", param="timeout"
            )
        return cls(first_content=float(value), idle=float(value))


Messages = str | Sequence[Message | Mapping[str, Any]]
"""What a caller may give as messages: one question, or a list of messages."""
