"""``OpenAssistant``."""

from penstock.providers.openassistant.documented import OpenAssistant

__all__ = ["OpenAssistant"]
