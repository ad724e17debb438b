"""One call's stay with today's chat-ui: the conversation, the question, the next parent.

The server stores every question, also of a turn that fails. What names the place of the next one
is its parent, and only a turn that ended well moves that on.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from penstock.errors import NotFoundError, PenstockError
from penstock.providers.chatui.dialect import requests
from penstock.providers.chatui.dialect.errors import Step, answer_error
from penstock.providers.chatui.dialect.requests import Question
from penstock.providers.common import Call, refuse_page
from penstock.providers.door import Door, StatusError
from penstock.providers.stay import Stay
from penstock.transport import Response
from penstock.types import Conversation, Timeouts
from penstock.wire.request import HttpRequest

_LAST_BYTES = 2.0
"""Seconds to wait for the end of a body whose answer has ended."""
_LAST_LOOK = Timeouts(first_content=5.0, idle=5.0, total=5.0)
"""For the id of an answer that has ended: its end waits for this."""


class Visit(Stay):
    """A stay, from the first request to the cleanup; ``penstock.providers.stay`` has its laws.

    Attributes:
        parent: the message that the question goes below.
    """

    def __init__(
        self, call: Call, base: str, model: str, conversation: Conversation | None
    ) -> None:
        super().__init__(call, base, model, conversation)
        self.parent = None if conversation is None else conversation.parent
        self._generation = str(uuid.uuid4())

    async def begin(self, preprompt: str | None) -> None:
        """Open the conversation unless it exists, and know the question's parent.

        A cancellation passes through at once; what is then opened is deleted in the outbox.

        Raises:
            PenstockError: the server refused.
        """
        if self.id is None:
            await self.opened(lambda: self._create(preprompt))
        elif self.parent is None:
            self.parent = await self._newest_answer(self.call, None)
        if self.parent is None:
            raise NotFoundError("the conversation holds no answer to go on from")

    @asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Response]:
        """Ask and hand out the answer, whose status is a success.

        Raises:
            PenstockError: the server refused. A cancellation passes; ``leave`` then stops it.
        """
        request = requests.message_request(
            self.base,
            self.id or "",
            self.parent or "",
            question,
            self._generation,
            self.cookies,
        )
        self.asked = True
        async with self.call.open(request, self._refused) as response:
            self.note(response)
            yield response

    async def next_parent(self, response: Response) -> str | None:
        """Id of the answer that ended, or None where it cannot be learned now.

        The body is read to its end first, for the answer is stored by then (chatui-two-turns).

        A cancellation passes through at once; the parent is then not learned.
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

    def stop_request(self, conversation: str) -> HttpRequest:
        """By the route of section 9 and the run's id; a closed connection stops nothing."""
        return requests.stop_request(self.base, conversation, self._generation, self.cookies)

    def delete_request(self, conversation: str) -> HttpRequest:
        """As the session that opened it."""
        return requests.delete_request(self.base, conversation, self.cookies)

    def error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for a status that is no success; it shows no cookie."""
        return self._errors("other", "")(status, headers, body)

    async def _create(self, preprompt: str | None) -> None:
        request = requests.create_request(self.base, self.model, preprompt, self.cookies)
        door = door_of(self.base)
        refused = door.refusal(self._errors("create", request.url))
        response, body = await self.call.fetch(request, refused)
        self.note(response)
        with door.reading():
            refuse_page(response)
            created = requests.decode_created(body)
        self.id, self.parent = created.id, created.root

    async def _newest_answer(self, call: Call, below: str | None) -> str | None:
        request = requests.tree_request(self.base, self.id or "", self.cookies)
        _, body = await call.fetch(request, self._errors("other", request.url))
        return requests.decode_answer_id(body, below)

    def _refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        self.asked = False
        return self._errors("message", "")(status, headers, body)

    def _errors(self, step: Step, url: str) -> StatusError:
        return partial(
            answer_error,
            provider=self.name,
            model=self.model,
            step=step,
            url=url,
            secrets=tuple(self.cookies.values()),
        )


def door_of(base: str) -> Door:
    """What should answer at ``base``; its own refusals are those of section 9."""
    return Door(base, "today's chat-ui", own=("origin",))
