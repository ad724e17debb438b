"""One call's stay with the 2023 chat-ui: what it opens there, and what it leaves behind.

Theory of operation. A conversation is opened in a task of the outbox, so that a caller who goes
away between the request and its answer leaves none behind: the task sees the id and deletes it.
Closing the connection does not stop a generation (``wire/h2o.md`` section 6), so leaving before
the end of an answer stops it by its route, and only then deletes.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.errors import NetworkError, PenstockError
from penstock.providers.common import Call, patience
from penstock.providers.h2o.dialect import app
from penstock.providers.h2o.dialect.errors import answer_error
from penstock.providers.h2o.dialect.turn import Turn
from penstock.transport import Response
from penstock.types import Conversation
from penstock.wire.decoder import AnswerDecoder

_DAY = 86_400.0


class Visit:
    """A stay, from the first request to the cleanup.

    Attributes:
        id: the conversation, once it exists.
        keep: it outlives the call.
        decoder: of the answer; it knows whether the generation is over.
    """

    def __init__(
        self, call: Call, base: str, model: str, conversation: Conversation | None
    ) -> None:
        self.call = call
        self.model = model
        self.id = None if conversation is None else conversation.id
        self.keep = self.id is not None
        self.decoder: AnswerDecoder | None = None
        self._base = base
        self._own_cookies = dict(call.config.cookies)
        self._cookies = self._own_cookies | getattr(conversation, "cookies", {})
        self._asked = False
        self._left = False
        self._refusal: PenstockError | None = None

    @property
    def session_cookies(self) -> dict[str, str]:
        """The cookies that the server gave; the configured ones belong to the caller."""
        return {
            name: value for name, value in self._cookies.items() if name not in self._own_cookies
        }

    async def begin(self) -> str:
        """The id of the conversation, opened now unless it exists.

        A cancellation passes through at once; what is then opened is deleted in the outbox.

        Raises:
            PenstockError: the server refused.
        """
        if self.id is None:
            await self._accept()
            await self.call.session.outbox.settle(
                f"{self._name}: delete a conversation that is being opened",
                self._create,
                wait=_DAY,
                limit=_DAY,
                once=True,
            )
        if self._refusal is not None:
            raise self._refusal
        if self.id is None:
            raise NetworkError("the session was closed while the conversation was opened")
        return self.id

    @asynccontextmanager
    async def ask(self, turn: Turn) -> AsyncIterator[Response]:
        """Ask and hand out the answer, whose status is a success."""
        request = app.message_request(self._base, self.id or "", turn, self._cookies)
        self._asked = True
        async with self.call.open(request, self._refused) as response:
            self._note(response)
            yield response

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

    async def _accept(self) -> None:
        """Accept the welcome modal, once for each session (``wire/h2o.md`` section 1)."""
        memory = self.call.session.memory
        scheme, modal = (self._name, "other scheme", self._base), self._modal_key
        if memory.get(modal):
            return
        other = bool(memory.get(scheme))
        response, body = await self._settings(other)
        if app.is_foreign_referer(response.status, body):
            other = not other
            response, body = await self._settings(other)
        if not app.settings_done(response.status, response.headers.get("location", "")):
            raise self._error(response.status, response.headers, body)
        self._note(response)
        memory[scheme] = other
        memory[modal] = bool(self._own_cookies)

    @property
    def _modal_key(self) -> tuple[str, ...]:
        cookies = repr(sorted(self._own_cookies.items())).encode()
        return (self._name, "modal accepted", self._base, hashlib.sha256(cookies).hexdigest())

    async def _settings(self, other_scheme: bool) -> tuple[Response, bytes]:
        return await self.call.ask(
            app.settings_request(self._base, self.model, self._cookies, other_scheme=other_scheme)
        )

    async def _create(self) -> None:
        try:
            request = app.create_request(self._base, self.model, self._cookies)
            response, body = await self.call.fetch(request, self._refused)
            self._note(response)
            self.id = app.created_id(body)
        except PenstockError as error:
            self._refusal = error
            return
        if self._left:
            await self._undo()

    async def _undo(self) -> None:
        call, conversation = self.call.again(), self.id or ""
        if self._running:
            try:
                await call.ask(app.stop_request(self._base, conversation, self._cookies))
            except PenstockError:
                if self.keep:
                    raise
                # The deletion below matters more, and says so if it fails, too.
        if not self.keep:
            await delete_remote(call, self._base, conversation, self._cookies)

    def _refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        self._asked = False
        if status == 405:  # the session that had accepted the modal is forgotten
            self.call.session.memory.pop(self._modal_key, None)
        return self._error(status, headers, body)

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        return answer_error(
            status,
            headers,
            body,
            provider=self._name,
            model=self.model,
            secrets=tuple(self._cookies.values()),
        )

    def _note(self, response: Response) -> None:
        self._cookies |= response.cookies


async def delete_remote(call: Call, base: str, conversation: str, cookies: dict[str, str]) -> None:
    """Delete a conversation; one that is gone is a success.

    Raises:
        PenstockError: the server refused.
    """
    response, body = await call.ask(app.delete_request(base, conversation, cookies))
    if response.status >= 300 and response.status != 404:
        raise answer_error(
            response.status,
            response.headers,
            body,
            provider=call.config.name,
            model="",
            secrets=tuple(cookies.values()),
        )
