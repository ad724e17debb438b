"""Messages to JSON: nested and snake_case in 2025, flat and camelCase in 2026.

wire/allenai.md sections 3.2 and 4.2: pure ASCII, blanks after comma and colon; the keys
of the older stream have an order of their own, everything else is sorted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime

from penstock.sandbox.allenai.store import Message, Opts, Store

_SNIPPET_WORDS = 16


def line(value: object) -> bytes:
    """Write one line of a stream, keys in the order they have."""
    return (json.dumps(value) + "\n").encode("ascii")


def sorted_line(value: object) -> bytes:
    """Write one line of a stream, keys sorted."""
    return (json.dumps(value, sort_keys=True) + "\n").encode("ascii")


def snippet(content: str) -> str:
    """Give the first words of a text, without markup."""
    plain = re.sub(r"\s+", " ", re.sub(r"</?[A-Za-z][^<>]*>", "", content))
    words = plain.split(" ")
    if len(words) <= _SNIPPET_WORDS or not any(words[_SNIPPET_WORDS:]):
        return plain
    return " ".join(words[:_SNIPPET_WORDS]) + "\N{HORIZONTAL ELLIPSIS}"


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="microseconds") if moment else None


def _opts_2025(opts: Opts) -> dict[str, object]:
    return {
        "max_tokens": opts.max_tokens,
        "temperature": opts.temperature,
        "n": opts.n,
        "top_p": opts.top_p,
        "logprobs": opts.logprobs,
        "stop": list(opts.stop),
    }


def message_2025(message: Message, children: list[dict[str, object]] | None) -> dict[str, object]:
    """Describe a message for the older version, with the follow-ups given."""
    return {
        "id": message.id,
        "content": message.content,
        "snippet": snippet(message.content),
        "creator": message.creator,
        "role": message.role,
        "opts": _opts_2025(message.opts),
        "root": message.root,
        "created": _time(message.created),
        "model_id": message.model.id,
        "model_host": message.model.host,
        "deleted": None,
        "parent": message.parent,
        "template": None,
        "logprobs": message.logprobs,
        "children": children,
        "completion": message.completion,
        "final": message.final,
        "original": message.original,
        "private": message.private,
        "model_type": message.model_type,
        "finish_reason": message.finish_reason,
        "harmful": message.harmful,
        "expiration_time": _time(message.expires),
        "labels": [],
        "file_urls": message.file_urls,
    }


def chain_2025(messages: Sequence[Message]) -> dict[str, object]:
    """Describe new messages, each below the one before it."""
    described: dict[str, object] | None = None
    for message in reversed(messages):
        described = message_2025(message, None if described is None else [described])
    assert described is not None
    return described


def tree_2025(message: Message, store: Store) -> dict[str, object]:
    """Describe a message with all below it."""
    children = [tree_2025(child, store) for child in store.children(message)]
    return message_2025(message, children or None)


def message_2026(message: Message) -> dict[str, object]:
    """Describe a message for the newer version; the finish reason is never told."""
    opts = message.opts
    return {
        "id": message.id,
        "content": message.content,
        "inputParts": None,
        "creator": message.creator,
        "role": message.role,
        "opts": {
            "maxTokens": opts.max_tokens,
            "temperature": opts.temperature,
            "topP": opts.top_p,
            "stop": list(opts.stop),
            "n": opts.n,
            "logprobs": opts.logprobs,
        },
        "root": message.root,
        "created": _time(message.created),
        "modelId": message.model.id,
        "modelHost": message.model.host,
        "agentId": None,
        "deleted": None,
        "parent": message.parent,
        "template": None,
        "children": list(message.children),
        "completion": message.completion,
        "final": message.final,
        "original": message.original,
        "private": message.private,
        "modelType": message.model_type,
        "finishReason": None,
        "harmful": message.harmful,
        "expirationTime": _time(message.expires),
        "labels": [],
        "fileUrls": message.file_urls,
        "toolCalls": [],
        "thinking": message.thinking,
        "toolDefinitions": list(message.tools),
        "extraParameters": None,
        "errorCode": None,
        "errorDescription": None,
        "errorSeverity": None,
        "snippet": snippet(message.content),
        "isLimitReached": False,
        "isOlderThan30Days": False,
    }


def thread_2026(messages: Sequence[Message]) -> dict[str, object]:
    """Describe messages as a thread object: its id is that of the first one."""
    return {"id": messages[0].id, "messages": [message_2026(one) for one in messages]}
