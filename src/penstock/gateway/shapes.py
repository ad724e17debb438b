"""The JSON bodies that the gateway answers with, as types: for the description of its interface.

The answers themselves are written without them, piece by piece; a test reads every kind of answer
as its type, strictly enough to find a member that is missing or named wrongly.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class ErrorFacts(msgspec.Struct, frozen=True):
    """What went wrong; all four members are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct, frozen=True):
    """OpenAI's error body."""

    error: ErrorFacts


class MessagesErrorFacts(msgspec.Struct, frozen=True):
    """What went wrong, in Anthropic's words."""

    type: str
    message: str


class MessagesError(msgspec.Struct, frozen=True):
    """Anthropic's error body."""

    type: Literal["error"]
    error: MessagesErrorFacts
    request_id: str


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens as the back end counted them, or estimated where that is said."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool = False


class CalledFunction(msgspec.Struct, frozen=True):
    """A function that the model wants called; ``arguments`` is JSON as the model wrote it."""

    name: str
    arguments: str


class CalledTool(msgspec.Struct, frozen=True):
    """A tool call of an answer."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(msgspec.Struct, frozen=True):
    """The message of a choice."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    tool_calls: list[CalledTool] = []


class Choice(msgspec.Struct, frozen=True):
    """One answer of those that were asked for."""

    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatCompletion(msgspec.Struct, frozen=True):
    """The whole answer of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage | None


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens of a response."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    estimated: bool = False


class Response(msgspec.Struct, frozen=True):
    """The whole answer of ``POST /v1/responses``."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    output: list[dict[str, Any]]
    usage: ResponseUsage | None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None


class MessageUsage(msgspec.Struct, frozen=True):
    """Tokens of a message; null where nobody counted."""

    input_tokens: int | None
    output_tokens: int | None
    estimated: bool = False


class MessageAnswer(msgspec.Struct, frozen=True):
    """The whole answer of ``POST /v1/messages``."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class Model(msgspec.Struct, frozen=True):
    """A model on offer."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(msgspec.Struct, frozen=True):
    """The models on offer."""

    object: Literal["list"]
    data: list[Model]


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["live"]


class Ready(msgspec.Struct, frozen=True):
    """New requests are taken."""

    status: Literal["ready"]
    open_streams: int
