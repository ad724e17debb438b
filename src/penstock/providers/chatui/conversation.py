"""The native conversation of today's chat-ui."""

from __future__ import annotations

from penstock.providers.stay import SiteConversation


class ChatUIConversation(SiteConversation):
    """A conversation and the session that owns it.

    The messages form a tree; ``parent`` is the answer that the next question goes below. None in
    a conversation that exists means that it was not learned yet; the next call asks for it.
    """
