"""The native conversation of the 2023 chat-ui."""

from __future__ import annotations

from penstock.providers.stay import SiteConversation


class H2oConversation(SiteConversation):
    """A conversation and the session that owns it.

    The server keeps the history; ``parent`` is the id of the last answer.
    """
