"""The native conversation of the 2023 chat-ui."""

from __future__ import annotations

import msgspec

from penstock.types import Conversation


class H2oConversation(Conversation):
    """A conversation and the session that owns it.

    The server keeps the history; ``parent`` is the id of the last answer.

    Attributes:
        cookies: the session's cookies; without them the server knows no such conversation.
    """

    cookies: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, id={self.id!r})"
