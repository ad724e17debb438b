"""Token counts where a back end counts none: an estimate by a rule, always marked as one. Pure.

The rule: a token for every four characters of Latin script (signs, digits and blanks included),
for every two of other alphabets, for every one of Chinese, Japanese, Korean and pictographs; four
tokens more for each message. Images count nothing. Tokenizers differ by a third in both
directions, so this is good for watching what grows, and for nothing that is paid.
"""

from __future__ import annotations

import msgspec

from penstock.types import ChatRequest, Notice, Usage

NOTICE = Notice("usage_estimated", "the back end counts no tokens")

_PER_MESSAGE = 4
_LATIN_END, _ALPHABETS_END = "\u0250", "\u2e80"


def tokens_of(text: str) -> int:
    """The estimated tokens of ``text``."""
    if text.isascii():
        return (len(text) + 3) // 4
    quarters = sum(
        1 if letter < _LATIN_END else 2 if letter < _ALPHABETS_END else 4 for letter in text
    )
    return (quarters + 3) // 4


def prompt_tokens_of(request: ChatRequest) -> int:
    """The estimated tokens of a question, with its history, tool calls and tools."""
    texts = [message.text for message in request.messages]
    texts += [
        part
        for message in request.messages
        for call in message.tool_calls
        for part in (call.name, call.arguments)
    ]
    texts += [msgspec.json.encode(tool).decode() for tool in request.tools]
    return _PER_MESSAGE * len(request.messages) + sum(map(tokens_of, texts))


def begun(request: ChatRequest) -> Usage:
    """What can be said before the answer has begun."""
    return Usage(prompt_tokens=prompt_tokens_of(request), estimated=True)


def completed(usage: Usage | None, request: ChatRequest, answer: str) -> Usage | None:
    """``usage`` with estimates for the counts it lacks; None where it lacks none."""
    prompt = usage.prompt_tokens if usage else None
    completion = usage.completion_tokens if usage else None
    if prompt is not None and completion is not None:
        return None
    return Usage(
        prompt_tokens=prompt_tokens_of(request) if prompt is None else prompt,
        completion_tokens=tokens_of(answer) if completion is None else completion,
        estimated=True,
    )
