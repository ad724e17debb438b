"""One call's stay with today's chat-ui: what it opens there, and what it leaves behind.

Theory of operation. A conversation is opened in a task of the outbox, so that a caller who goes
away between the request and its answer leaves none behind: the task sees the id and deletes it.
Closing the connection does not stop a run (``wire/h2o.md`` section 9), so leaving before the end
of an answer stops it by its route and its id, and only then deletes.

The server stores every question, also of a turn that fails. What names the place of the next one
is its parent, and only a turn that ended well moves that on.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from penstock.errors import NetworkError, NotFoundError, PenstockError
from penstock.providers.chatui.dialect import requests
from penstock.providers.chatui.dialect.errors import Step, answer_error
from penstock.providers.chatui.dialect.requests import Question
from penstock.providers.common import Call, StatusError, patience
from penstock.transport import Response
from penstock.types import Conversation, Timeouts
from penstock.wire.decoder import AnswerDecoder

_DAY = 86_400.0
_LAST_BYTES = 2.0
"""Seconds to wait for the end of a body whose answer has ended."""
_LAST_LOOK = Timeouts(first_content=5.0, idle=5.0, total=5.0)
"""For the id of an answer that has ended: its end waits for this."""


class Visit:
    """A stay, from the first request to the cleanup.

    Attributes:
        id: the conversation, once it exists.
        parent: the message that the question goes below.
        keep: the conversation outlives the call.
        decoder: of the answer; it knows whether the generation is over.
    """

    def __init__(
        self, call: Call, base: str, model: str, conversation: Conversation | None
    ) -> None:
        self.call = call
        self.model = model
        self.id = None if conversation is None else conversation.id
        self.parent = None if conversation is None else conversation.parent
        self.keep = self.id is not None
        self.decoder: AnswerDecoder | None = None
        self._base = base
        self._own_cookies = dict(call.config.cookies)
        self._cookies = self._own_cookies | getattr(conversation, "cookies", {})
        self._generation = str(uuid.uuid4())
        self._asked = False
        self._left = False
        self._refusal: PenstockError | None = None

    @property
    def session_cookies(self) -> dict[str, str]:
        """The cookies that the server gave; the configured ones belong to the caller."""
        return {
            name: value for name, value in self._cookies.items() if name not in self._own_cookies
        }

    async def begin(self, preprompt: str | None) -> None:
        """Open the conversation unless it exists, and know the question's parent.

        A cancellation passes through at once; what is then opened is deleted in the outbox.

        Raises:
            PenstockError: the server refused.
        """
        if self.id is None:
            await self.call.session.outbox.settle(
                f"{self._name}: delete a conversation that is being opened",
                lambda: self._create(preprompt),
                wait=_DAY,
                limit=_DAY,
                once=True,
            )
        elif self.parent is None:
            self.parent = await self._newest_answer(self.call, None)
        if self._refusal is not None:
            raise self._refusal
        if self.id is None:
            raise NetworkError("the session was closed while the conversation was opened")
        if self.parent is None:
            raise NotFoundError("the conversation holds no answer to go on from")

    @asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Response]:
        """Ask and hand out the answer, whose status is a success."""
        request = requests.message_request(
            self._base,
            self.id or "",
            self.parent or "",
            question,
            self._generation,
            self._cookies,
        )
        self._asked = True
        async with self.call.open(request, self._refused) as response:
            self._note(response)
            yield response

    async def next_parent(self, response: Response) -> str | None:
        """Id of the answer that ended, or None where it cannot be learned now.

        The body is read to its end first, for the answer is stored by then (chatui-two-turns).
        """
        try:
            async with asyncio.timeout(_LAST_BYTES):
                await response.read()
        except (PenstockError, TimeoutError):
            pass  # the answer had ended; nothing in it is lost
        call = Call(self.call.session, self.call.config.with_(timeouts=_LAST_LOOK))
        try:
            return await self._newest_answer(call, self.parent)
        except PenstockError:
            return None

    async def leave(self) -> None:
        """Stop what is still generated, delete what is not kept. To be called at every end."""
        self._left = True
        if self.id is None or (self.keep and not self._running):
            return
        verb = "stop" if self.keep else "delete"
        await self.call.session.outbox.settle(
            f"{self._name}: {verb} conversation {self.id}",
            self._undo,
            wait=patience(),
        )

    @property
    def _name(self) -> str:
        return self.call.config.name

    @property
    def _running(self) -> bool:
        decoder = self.decoder
        ended = decoder is not None and (decoder.done or decoder.failure is not None)
        return self._asked and not ended

    async def _create(self, preprompt: str | None) -> None:
        request = requests.create_request(self._base, self.model, preprompt, self._cookies)
        try:
            response, body = await self.call.fetch(request, self._errors("create", request.url))
            self._note(response)
            created = requests.decode_created(body)
        except PenstockError as error:
            self._refusal = error
            return
        self.id, self.parent = created.id, created.root
        if self._left:
            await self._undo()

    async def _newest_answer(self, call: Call, below: str | None) -> str | None:
        request = requests.tree_request(self._base, self.id or "", self._cookies)
        _, body = await call.fetch(request, self._errors("other", request.url))
        return requests.decode_answer_id(body, below)

    async def _undo(self) -> None:
        call, conversation = self.call.again(), self.id or ""
        if self._running:
            stop = requests.stop_request(self._base, conversation, self._generation, self._cookies)
            try:
                await call.ask(stop)
            except PenstockError:
                if self.keep:
                    raise
                # The deletion below matters more, and says so if it fails, too.
        if not self.keep:
            await delete_remote(call, self._base, conversation, self._cookies)

    def _refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        self._asked = False
        return self._errors("message", "")(status, headers, body)

    def _errors(self, step: Step, url: str) -> StatusError:
        return partial(
            answer_error,
            provider=self._name,
            model=self.model,
            step=step,
            url=url,
            secrets=tuple(self._cookies.values()),
        )

    def _note(self, response: Response) -> None:
        self._cookies |= response.cookies


async def delete_remote(call: Call, base: str, conversation: str, cookies: dict[str, str]) -> None:
    """Delete a conversation; one that is gone is a success.

    Raises:
        PenstockError: the server refused.
    """
    response, body = await call.ask(requests.delete_request(base, conversation, cookies))
    if response.status >= 300 and response.status != 404:
        raise answer_error(
            response.status,
            response.headers,
            body,
            provider=call.config.name,
            secrets=tuple(cookies.values()),
        )
