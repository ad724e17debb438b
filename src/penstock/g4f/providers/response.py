"""What documented calls give beside text."""

from penstock.types import Conversation as JsonConversation
from penstock.types import FinishReason

__all__ = ["FinishReason", "JsonConversation"]
