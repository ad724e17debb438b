"""The chat of one call on the server, from its making to its undoing.

Laws of this file:
* a request that makes something there is read to its end, even if the caller has left, so that
  what it made is known and can be undone;
* a chat is deleted only when no answer in it waits or is being made: deleting it earlier throws the
  worker out and aborts answers of other users (``wire/openassistant.md`` sections 8 and 9);
* the account's place in the queue is held until the answer has left the queue, also when nobody
  waits for that answer any more;
* a call without a conversation leaves no chat behind, and neither does a conversation whose first
  turn failed; that conversation is then as new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from penstock.errors import (
    NetworkError,
    PenstockError,
    StreamTimeoutError,
)
from penstock.providers.common import Call, patience, to_its_end
from penstock.providers.openassistant.api import Api
from penstock.providers.openassistant.dialect.answers import NAME, WAITING_STATES, Message
from penstock.providers.openassistant.dialect.question import Turn
from penstock.providers.openassistant.dialect.stream import EventDecoder
from penstock.providers.openassistant.reader import Pace
from penstock.providers.openassistant.slots import Lease
from penstock.types import Conversation

_LOST_LINKS = 5
"""After so many failures to reach the server in a row, an undo is given up."""
_STAYING = WAITING_STATES | {"cancelled"}
"""States in which a message may lie in the queue or be with a worker."""


class KnownChat(msgspec.Struct):
    """What a session knows of a chat that goes on.

    Attributes:
        unfinished: answers that were left while they were being made.
        unsure: an answer may have been ordered whose id never reached us.
        question: (parent, text, id) of the question that was posted last.
    """

    unfinished: set[str] = msgspec.field(default_factory=set)
    unsure: bool = False
    question: tuple[str | None, str, str] | None = None


def known_key(chat: str) -> tuple[str, str, str]:
    """Where ``Session.memory`` keeps the ``KnownChat``."""
    return (NAME, "chat", chat)


class Remote:
    """What one call has on the server.

    Args:
        api: the account.
        call: the call's limits.
        pace: the protocol's waits.
        lease: the account's place in the queue.
        conversation: the thread to go on in, if any.

    Attributes:
        chat: id of the chat, once known.
        message: id of the answer, once known.
        decoder: what the event stream has told.
    """

    def __init__(
        self, api: Api, call: Call, pace: Pace, lease: Lease, conversation: Conversation | None
    ) -> None:
        self.chat = conversation.id if conversation is not None else None
        self.message: str | None = None
        self.decoder: EventDecoder | None = None
        self._api = api
        self._call = call
        self._pace = pace
        self._lease = lease
        self._conversation = conversation
        self._ordered = False
        self._question = ""
        self._idle = asyncio.Event()
        self._idle.set()

    # -- making --------------------------------------------------------------------------------

    async def begin(self, turn: Turn) -> tuple[str, str]:
        """Create the chat if need be, post the question, order the answer.

        Returns:
            The ids of the chat and of the answer.

        Raises:
            PenstockError: the server refused, or could not be reached.
        """
        chat = self.chat or await self._to_its_end("create a chat", self._create)
        self._question = await self._ask(chat, turn)
        self._ordered = True
        return chat, await self._to_its_end("order an answer", lambda: self._order(chat, turn))

    async def _create(self) -> str:
        self.chat = (await self._api.create_chat(self._call)).id
        self._known(self.chat)
        return self.chat

    async def _ask(self, chat: str, turn: Turn) -> str:
        """Post the question, unless it stands there already (sections 1 and 8).

        The same text on the same parent is another try, or another draft of its answer.
        """
        known = self._known(chat)
        if known.question is not None and known.question[:2] == (turn.parent, turn.text):
            return known.question[2]
        question = await self._api.post_question(self._call, chat, turn)
        known.question = (turn.parent, turn.text, question.id)
        return question.id

    async def _order(self, chat: str, turn: Turn) -> str:
        try:
            answer = await self._api.order_answer(self._call, chat, self._question, turn)
        except PenstockError as error:
            if error.status is not None:  # refused; the row that a 503 leaves is never queued
                self._ordered = False
            raise
        self.message = answer.id
        return answer.id

    async def _to_its_end(self, verb: str, make: Callable[[], Awaitable[str]]) -> str:
        """Run ``make``, and say when nothing is being made any more."""

        async def run() -> str:
            try:
                return await make()
            finally:
                self._idle.set()

        self._idle.clear()
        return await to_its_end(self._call.session, f"{NAME}: {verb}", run)

    # -- following -----------------------------------------------------------------------------

    async def look(self, call: Call) -> Message:
        """The answer as the server holds it now.

        Raises:
            PenstockError: the server refused or could not be reached.
        """
        return await self._api.message(call, self.chat or "", self.message or "")

    def note(self, decoder: EventDecoder) -> None:
        """Take note of what the stream told: once a worker has the answer, the next may wait."""
        self.decoder = decoder
        if decoder.started:
            self._lease.release()

    def _known(self, chat: str) -> KnownChat:
        memory = self._api.memory
        known: KnownChat = memory.setdefault(known_key(chat), KnownChat())
        return known

    # -- undoing -------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Undo what was made, but for a conversation that goes on. To be called at every end.

        An answer that is still being made is waited for in the outbox, not here.

        A cancellation passes through at once; the undoing goes on in the outbox.
        """
        final = self.decoder is not None and self.decoder.final
        quiet = self._idle.is_set() and (final or not self._ordered)
        # Of two calls that began one conversation at once, one has a chat that nobody goes on with.
        goes_on_in = None if self._conversation is None else self._conversation.id
        keep = goes_on_in is not None and goes_on_in == self.chat
        if quiet and (keep or self.chat is None):
            self._lease.release()
            return
        verb = "wait for the answer in" if keep else "delete"
        await self._call.session.outbox.settle(
            f"{NAME}: {verb} conversation {self.chat or 'that is being created'}",
            lambda: self._undo(keep=keep, final=final),
            wait=patience() if quiet else 0,
            limit=self._pace.patience + 60,
        )

    async def _undo(self, *, keep: bool, final: bool) -> None:
        try:
            await self._idle.wait()
            if self.chat is None:
                return
            known = self._known(self.chat)
            if self._ordered and not final and self.message is None:
                known.unsure = True
            elif self._ordered and not final:
                known.unfinished.add(self.message or "")
            ends = _Ends(self._api, self._call, self._pace, self.chat, self._lease.release)
            if not keep:
                await ends.delete()
            elif self.message is not None:
                await ends.wait(self.message, queue_only=True)
        finally:
            self._lease.release()


async def delete_chat(api: Api, call: Call, pace: Pace, chat: str) -> None:
    """Delete a chat as soon as no answer in it is being made any more; one that is gone is fine.

    Raises:
        PenstockError: the server refused, or an answer did not end; the chat is hidden then.
    """
    await _Ends(api, call, pace, chat, lambda: None).delete()


class _Ends:
    """The end of a chat. Each request has fresh limits: this may outlive its call by far."""

    def __init__(
        self, api: Api, call: Call, pace: Pace, chat: str, on_taken: Callable[[], None]
    ) -> None:
        self._api = api
        self._call = call
        self._pace = pace
        self._chat = chat
        self._on_taken = on_taken

    async def delete(self) -> None:
        memory = self._api.memory
        known: KnownChat | None = memory.get(known_key(self._chat))
        if known is None or known.unsure:
            unfinished = await self._unfinished()
        else:
            unfinished = tuple(known.unfinished)
        for message in unfinished:
            await self.wait(message)
        await self._api.delete(self._call.again(), self._chat)
        memory.pop(known_key(self._chat), None)

    async def _unfinished(self) -> tuple[str, ...]:
        try:
            chat = await self._api.chat(self._call.again(), self._chat)
        except PenstockError:
            return ()  # gone, or the deletion will say what is wrong
        return tuple(message.id for message in chat.messages if message.unfinished)

    async def wait(self, message: str, *, queue_only: bool = False) -> None:
        """Wait until ``message`` has ended, or only until it has left the queue.

        Raises:
            StreamTimeoutError: it does not end, or it was cancelled: then it lies in the queue
                until a worker drops it, which nobody can see (section 9). The chat is hidden.
        """
        clock = asyncio.get_running_loop().time
        began, hidden = clock(), False
        pauses = self._pace.pauses()
        while True:
            state = await self._state(message)
            if state != "pending":
                self._on_taken()
            if state not in _STAYING or (queue_only and state != "pending"):
                return
            if state == "cancelled" or clock() > began + self._pace.patience:
                break
            if not (hidden or queue_only) and clock() > began + self._pace.hide:
                await self._api.hide(self._call.again(), self._chat)
                hidden = True
            await self._call.again().limits.pause(next(pauses))
        if not hidden:
            await self._api.hide(self._call.again(), self._chat)
        raise StreamTimeoutError(f"an answer in it is still {state}; it was hidden instead")

    async def _state(self, message: str) -> str:
        """The state of ``message``.

        Raises:
            NetworkError: the server cannot be reached.
        """
        for _ in range(_LOST_LINKS):
            try:
                return await self._look(message)
            except NetworkError:
                await self._call.again().limits.pause(self._pace.poll_most)
        return await self._look(message)

    async def _look(self, message: str) -> str:
        """The state; nothing where the server does not say, for then nothing can be waited for."""
        try:
            return (await self._api.message(self._call.again(), self._chat, message)).state
        except NetworkError:
            raise
        except PenstockError:
            return ""
