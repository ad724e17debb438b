"""Penstock: many chat back ends, one stream.

Importing this package loads no HTTP library and opens nothing; names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock import errors, providers, sync
    from penstock.client import Client
    from penstock.provider import Provider, ProviderConfig
    from penstock.stream import AnswerStream
    from penstock.transport import Session
    from penstock.types import (
        ChatRequest,
        Conversation,
        Event,
        Finished,
        ImagePart,
        Message,
        ModelInfo,
        Notice,
        Reasoning,
        Reply,
        Sampling,
        Started,
        Text,
        TextPart,
        Timeouts,
        Tool,
        ToolCall,
        Usage,
        Waiting,
    )

__version__ = "0.1.0"

_PLACES = {
    "Client": "client",
    "Provider": "provider",
    "ProviderConfig": "provider",
    "AnswerStream": "stream",
    "Session": "transport",
}
_MODULES = ("errors", "providers", "sync")

__all__ = [
    "AnswerStream",
    "ChatRequest",
    "Client",
    "Conversation",
    "Event",
    "Finished",
    "ImagePart",
    "Message",
    "ModelInfo",
    "Notice",
    "PenstockError",
    "Provider",
    "ProviderConfig",
    "Reasoning",
    "Reply",
    "Sampling",
    "Session",
    "Started",
    "Text",
    "TextPart",
    "Timeouts",
    "Tool",
    "ToolCall",
    "Usage",
    "Waiting",
    "errors",
    "providers",
    "sync",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"penstock.{name}")
    if name in __all__:
        return getattr(import_module(f"penstock.{_PLACES.get(name, 'types')}"), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
