"""``AllenAI`` and its ``Conversation``."""

from penstock.providers.allenai.documented import AllenAI, Conversation

__all__ = ["AllenAI", "Conversation"]
