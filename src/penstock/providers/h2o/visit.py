"""One call's stay with the 2023 chat-ui: the welcome modal, the conversation, the question."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.errors import PenstockError
from penstock.providers.common import refuse_page
from penstock.providers.door import Door
from penstock.providers.h2o.dialect import app
from penstock.providers.h2o.dialect.errors import answer_error
from penstock.providers.h2o.dialect.turn import Turn
from penstock.providers.stay import Stay
from penstock.transport import Response
from penstock.wire.request import HttpRequest


class Visit(Stay):
    """A stay, from the first request to the cleanup; ``penstock.providers.stay`` has its laws."""

    async def begin(self) -> None:
        """Open the conversation unless it exists.

        A cancellation passes through at once; what is then opened is deleted in the outbox.

        Raises:
            PenstockError: the server refused.
        """
        if self.id is None:
            await self._accept()
            await self.opened(self._create)

    @asynccontextmanager
    async def ask(self, turn: Turn) -> AsyncIterator[Response]:
        """Ask and hand out the answer, whose status is a success.

        Raises:
            PenstockError: the server refused. A cancellation passes; ``leave`` then stops it.
        """
        request = app.message_request(self.base, self.id or "", turn, self.cookies)
        self.asked = True
        async with self.call.open(request, self._refused) as response:
            self.note(response)
            yield response

    def stop_request(self, conversation: str) -> HttpRequest:
        """By the route of section 6; a closed connection stops nothing."""
        return app.stop_request(self.base, conversation, self.cookies)

    def delete_request(self, conversation: str) -> HttpRequest:
        """As the session that opened it."""
        return app.delete_request(self.base, conversation, self.cookies)

    def error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for a status that is no success; it shows no cookie."""
        secrets = tuple(self.cookies.values())
        return answer_error(
            status, headers, body, provider=self.name, model=self.model, secrets=secrets
        )

    async def _accept(self) -> None:
        """Accept the welcome modal, once for each session (``wire/h2o.md`` section 1)."""
        memory = self.call.session.memory
        scheme, modal = (self.name, "other scheme", self.base), self._modal_key
        if memory.get(modal):
            return
        other = bool(memory.get(scheme))
        response, body = await self._settings(other)
        if app.is_foreign_referer(response.status, body):
            other = not other
            response, body = await self._settings(other)
        if not app.settings_done(response.status, response.headers.get("location", "")):
            raise self._door.refusal(self.error)(response.status, response.headers, body)
        self.note(response)
        memory[scheme] = other
        memory[modal] = bool(self.call.config.cookies)

    @property
    def _modal_key(self) -> tuple[str, ...]:
        cookies = repr(sorted(self.call.config.cookies.items())).encode()
        return (self.name, "modal accepted", self.base, hashlib.sha256(cookies).hexdigest())

    async def _settings(self, other_scheme: bool) -> tuple[Response, bytes]:
        return await self.call.ask(
            app.settings_request(self.base, self.model, self.cookies, other_scheme=other_scheme)
        )

    async def _create(self) -> None:
        request = app.create_request(self.base, self.model, self.cookies)
        response, body = await self.call.fetch(request, self._door.refusal(self._refused))
        self.note(response)
        with self._door.reading():
            refuse_page(response)
            self.id = app.created_id(body)

    @property
    def _door(self) -> Door:
        return door_of(self.base)

    def _refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        self.asked = False
        if status == 405:  # the session that had accepted the modal is forgotten
            self.call.session.memory.pop(self._modal_key, None)
        return self.error(status, headers, body)


def door_of(base: str) -> Door:
    """What should answer at ``base``; its own refusals are those of section 5."""
    return Door(base, "a chat-ui of 2023", own=("referer", "modal"))
