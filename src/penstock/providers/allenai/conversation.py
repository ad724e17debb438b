"""A thread of the Playground as its caller keeps it."""

from __future__ import annotations

from uuid import uuid4

import msgspec

from penstock.types import Conversation as JsonConversation


class Conversation(JsonConversation):
    """A thread that goes on: pass it to each call, and only the new turn travels.

    Attributes:
        id: the root message of the thread, which is what the server deletes it by.
        parent: the message the next turn goes on from; None before the first turn.
        x_anonymous_user_id: the account. Whoever sends it owns the thread, so it stays the same
            for the whole conversation (wire/allenai.md section 2).
        detached: roots of parts of this thread that the server cut off (section 4.3).
    """

    x_anonymous_user_id: str = msgspec.field(default_factory=lambda: str(uuid4()))
    detached: list[str] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, id={self.id!r})"
