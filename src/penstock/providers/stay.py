"""One call's stay with a site that keeps conversations: what it opens there, and what it undoes.

Theory of operation. A conversation is opened in a task of the outbox, so that a caller who goes
away between the request and its answer leaves none behind: the task sees the id and deletes it.
Closing the connection does not stop a generation (``wire/h2o.md`` sections 6 and 9), so leaving
before the end of an answer stops it by its route, and only then deletes.

A session's cookies are carried by hand: each conversation has its own, and none reach another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import msgspec

from penstock.errors import PenstockError
from penstock.providers.common import Call, patience, to_its_end
from penstock.transport import Response
from penstock.types import Conversation
from penstock.wire.decoder import AnswerDecoder
from penstock.wire.request import HttpRequest


class SiteConversation(Conversation):
    """A conversation and the session that owns it.

    Attributes:
        cookies: the session's cookies; without them the server knows no such conversation.
    """

    cookies: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, id={self.id!r})"


class Stay(ABC):
    """A stay, from the first request to the cleanup; the protocol's own is ``Visit``.

    Attributes:
        call: the way to the server.
        base: its address.
        model: the model asked.
        id: the conversation, once it exists.
        keep: it outlives the call.
        decoder: of the answer; it knows whether the generation is over.
        asked: the question was sent and not refused.
        cookies: the caller's, and those that the server gave.
    """

    def __init__(
        self, call: Call, base: str, model: str, conversation: Conversation | None
    ) -> None:
        self.call = call
        self.base = base
        self.model = model
        self.id = None if conversation is None else conversation.id
        self.keep = self.id is not None
        self.decoder: AnswerDecoder | None = None
        self.asked = False
        self.cookies = dict(call.config.cookies) | getattr(conversation, "cookies", {})

    @property
    def name(self) -> str:
        """Name of the provider."""
        return self.call.config.name

    @property
    def session_cookies(self) -> dict[str, str]:
        """The cookies that the server gave; the configured ones belong to the caller."""
        own = self.call.config.cookies
        return {name: value for name, value in self.cookies.items() if name not in own}

    def note(self, response: Response) -> None:
        """Take note of the cookies that came with an answer."""
        self.cookies |= response.cookies

    def adopt(
        self, conversation: Conversation, question: str, answer: str, parent: str | None
    ) -> None:
        """Hand what was opened over to ``conversation``, whose turn ended well."""
        self.keep = True
        conversation.model = self.model
        conversation.id, conversation.parent = self.id, parent
        conversation.messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        if isinstance(conversation, SiteConversation):
            conversation.cookies = self.session_cookies

    async def opened(self, create: Callable[[], Awaitable[None]]) -> None:
        """Open a conversation with ``create``, which notes its id.

        A cancellation passes through at once; what is then opened is deleted in the outbox.

        Raises:
            PenstockError: the server refused.
            StreamCancelledError: the session was closed meanwhile.
        """
        label = f"{self.name}: delete a conversation that is being opened"
        await to_its_end(self.call.session, label, create, late=self._undo)

    async def leave(self) -> None:
        """Stop what is still generated, delete what is not kept. To be called at every end.

        A cancellation passes through at once; the cleanup goes on in the outbox.
        """
        if self.id is None or (self.keep and not self._running):
            return
        verb = "stop" if self.keep else "delete"
        label = f"{self.name}: {verb} conversation {self.id}"
        await self.call.session.outbox.settle(label, self._undo, wait=patience())

    @property
    def _running(self) -> bool:
        decoder = self.decoder
        ended = decoder is not None and (decoder.done or decoder.failure is not None)
        return self.asked and not ended

    async def _undo(self) -> None:
        call, conversation = self.call.again(), self.id or ""
        if self._running:
            try:
                await call.ask(self.stop_request(conversation))
            except PenstockError:
                if self.keep:
                    raise
                # The deletion below matters more, and says so if it fails, too.
        if not self.keep:
            await call.delete(self.delete_request(conversation), self.error)

    # -- the protocol's own --------------------------------------------------------------------

    @abstractmethod
    def stop_request(self, conversation: str) -> HttpRequest:
        """Stop what is generated in ``conversation``."""

    @abstractmethod
    def delete_request(self, conversation: str) -> HttpRequest:
        """Delete ``conversation``."""

    @abstractmethod
    def error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for a status that is no success."""
