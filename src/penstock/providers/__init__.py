"""The documented classes, loaded when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.providers.allenai.documented import AllenAI
    from penstock.providers.chatui.documented import ChatUI
    from penstock.providers.h2o import documented_sync as h2o_sync
    from penstock.providers.h2o.documented import H2o
    from penstock.providers.openai_compatible.documented import OpenAICompatible
    from penstock.providers.openassistant.documented import OpenAssistant
    from penstock.providers.replicate.documented import Replicate

_PLACES = {
    "AllenAI": "allenai.documented",
    "ChatUI": "chatui.documented",
    "H2o": "h2o.documented",
    "OpenAICompatible": "openai_compatible.documented",
    "OpenAssistant": "openassistant.documented",
    "Replicate": "replicate.documented",
}

__all__ = [
    "AllenAI",
    "ChatUI",
    "H2o",
    "OpenAICompatible",
    "OpenAssistant",
    "Replicate",
    "h2o_sync",
]


def __getattr__(name: str) -> object:
    if name == "h2o_sync":
        return import_module("penstock.providers.h2o.documented_sync")
    if name in _PLACES:
        return getattr(import_module(f"penstock.providers.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
