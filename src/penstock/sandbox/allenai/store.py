"""Messages of the server: threads by user, ownership by root, expiry (wire/allenai.md 2, 3.3, 4.3).

A thread is the tree of messages below its first one. In the older version branches are
independent. In the newer one a message has one follow-up: the second follow-up detaches
the first, which from then on is the head of a chain of its own.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from penstock.sandbox.allenai.models import Model
from penstock.sandbox.allenai.refusals import Refused


class User(msgspec.Struct, frozen=True):
    """Who asks."""

    id: str
    anonymous: bool = True


class Opts(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling options of a message, in the order they are shown."""

    max_tokens: int = 2048
    temperature: float = 0.7
    n: int = 1
    top_p: float = 1.0
    logprobs: int | None = None
    stop: tuple[str, ...] = ()


class Message(msgspec.Struct, kw_only=True):
    """One stored message. Text and `final` change when its turn has ended."""

    id: str
    content: str
    creator: str
    role: str
    opts: Opts
    root: str
    model: Model
    parent: str | None
    private: bool
    created: datetime
    expires: datetime | None
    original: str | None = None
    children: list[str] = []
    completion: str | None = None
    final: bool = False
    model_type: str | None = None
    finish_reason: str | None = None
    harmful: bool | None = None
    file_urls: list[str] | None = None
    logprobs: list[object] | None = None
    thinking: str | None = None
    tools: Sequence[object] = ()


def made_id(prefix: str = "msg") -> str:
    """Make an id: ten characters, letters and digits in turn."""
    pairs = (random.choice(string.ascii_uppercase) + random.choice(string.digits) for _ in range(5))
    return f"{prefix}_{''.join(pairs)}"


class Store:
    """All messages of one server.

    Args:
        lifetime: Seconds after which an anonymous user's messages are gone.
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = timedelta(seconds=lifetime)
        self._messages: dict[str, Message] = {}

    def make(
        self,
        user: User,
        content: str,
        *,
        role: str,
        model: Model,
        opts: Opts,
        parent: Message | None,
        private: bool,
        original: str | None = None,
    ) -> Message:
        """Make a message below `parent` and keep it."""
        ident, now = made_id(), datetime.now(UTC)
        message = Message(
            id=ident,
            content=content,
            creator=user.id,
            role=role,
            opts=opts,
            root=parent.root if parent else ident,
            model=model,
            parent=parent.id if parent else None,
            private=private,
            created=now,
            expires=now + self._lifetime if user.anonymous else None,
            original=original,
        )
        self._messages[ident] = message
        if parent is not None:
            parent.children.append(ident)
        return message

    def find(self, ident: str) -> Message | None:
        """Give a message that is neither deleted nor expired."""
        message = self._messages.get(ident)
        if message is None or (message.expires and message.expires <= datetime.now(UTC)):
            return None
        return message

    def owned(self, message: Message, user: User) -> None:
        """Make sure that the thread of a message belongs to the user.

        Raises:
            Refused: It belongs to somebody else.
        """
        root = self._messages.get(message.root, message)
        if root.creator != user.id:
            raise Refused(403)

    def history(self, message: Message) -> list[Message]:
        """Give the chain that leads to a message, oldest first."""
        chain = [message]
        while (parent := self._messages.get(chain[-1].parent or "")) is not None:
            chain.append(parent)
        return chain[::-1]

    def children(self, message: Message) -> list[Message]:
        """Give the direct follow-ups of a message."""
        return [self._messages[one] for one in message.children if one in self._messages]

    def below(self, message: Message) -> list[Message]:
        """Give a message and all below it, parents before children."""
        found: list[Message] = []
        waiting = [message]
        while waiting:
            found.append(waiting.pop())
            waiting += reversed(self.children(found[-1]))
        return found

    def detach_followups(self, parent: Message) -> None:
        """Cut the follow-ups of a message off: it is about to get a new one."""
        for child in self.children(parent):
            child.parent = None
        parent.children.clear()

    def roots(self, creator: str) -> list[Message]:
        """Give the first messages of a user's threads, newest first."""
        found = (self.find(ident) for ident in reversed(self._messages))
        return [one for one in found if one and one.creator == creator and one.root == one.id]

    def delete(self, root: str) -> None:
        """Forget a thread, detached branches too."""
        for ident in [one.id for one in self._messages.values() if one.root == root]:
            del self._messages[ident]


def finish(messages: Iterable[Message]) -> None:
    """Mark the messages of a turn as final."""
    for message in messages:
        message.final = True
