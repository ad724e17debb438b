"""The native conversation of today's chat-ui."""

from __future__ import annotations

import msgspec

from penstock.types import Conversation


class ChatUIConversation(Conversation):
    """A conversation and the session that owns it.

    The messages form a tree; ``parent`` is the answer that the next question goes below. None in
    a conversation that exists means that it was not learned yet; the next call asks for it.

    Attributes:
        cookies: the session's cookies; without them the server knows no such conversation.
    """

    cookies: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, id={self.id!r})"
