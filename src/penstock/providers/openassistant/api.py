"""One account on one server: each request of the protocol as a call that gives a value.

Which dialect a server speaks is found out by itself: the inference server answers the website's
routes with a 404 of its own. It is remembered for the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal

from penstock.errors import BadRequestError, PenstockError
from penstock.provider import ProviderConfig
from penstock.providers.common import Call, refuse_page
from penstock.providers.door import Door, StatusError
from penstock.providers.openassistant.dialect.answers import (
    NAME,
    Chat,
    Message,
    answer_error,
    read_chat,
    read_message,
    read_models,
)
from penstock.providers.openassistant.dialect.credentials import (
    bearer_header,
    cookie_header,
    digest_of,
    trusted_header,
)
from penstock.providers.openassistant.dialect.question import Turn
from penstock.providers.openassistant.dialect.routes import (
    Dialect,
    Headers,
    Native,
    Website,
    is_native_404,
)
from penstock.providers.openassistant.errors import documented
from penstock.providers.openassistant.models import BASE_URL
from penstock.transport import Response, Session
from penstock.types import ModelInfo
from penstock.wire.request import HttpRequest

DIALECTS = ("website", "native")
TRUSTED = "trusted_client"


class Api:
    """Requests of one account.

    Args:
        session: remembers the dialect of the server.
        config: address and credentials.
        cookies: the session's cookies, where they are not in ``config``.

    Attributes:
        account: a digest of address and credential.
        memory: what the session has learned; it outlives the connections.

    Raises (from every method):
        PenstockError: the server refused or could not be reached; documented types are its bases.
            A cancellation passes, and what was then being made there stays: ``Remote`` undoes it.
    """

    def __init__(
        self, session: Session, config: ProviderConfig, cookies: Mapping[str, str] | None = None
    ) -> None:
        base = config.base_url or BASE_URL
        self.memory = session.memory
        self._key = (NAME, "dialect", base)
        self._door = Door(base, "Open-Assistant")
        self._trusted = config.options.get(TRUSTED)
        self._website = Website(base, _website_headers(config, cookies or config.cookies, base))
        self._native = Native(base, _native_headers(config))
        self._forced = _forced(config)
        shown = (*self._website.headers, *self._native.headers, *sorted(config.headers.items()))
        self.account = digest_of(base, *(value for _, value in shown))

    @property
    def dialect(self) -> Dialect:
        """The dialect as far as it is known."""
        name = self._forced or self.memory.get(self._key, "website")
        return self._native if name == "native" else self._website

    async def create_chat(self, call: Call) -> Chat:
        """A new chat. A trusted user that the server does not know yet is registered first."""
        try:
            return await self._created(call)
        except PenstockError as error:
            if self._trusted is None or error.status != 404 or error.detail != "User not found":
                raise
        await call.fetch(self._native.register(), self._errors())
        return await self._created(call)

    async def _created(self, call: Call) -> Chat:
        body = await self._send(call, lambda dialect: dialect.create_chat(), door=self._door)
        with self._door.reading():
            return read_chat(body)

    async def post_question(self, call: Call, chat: str, turn: Turn) -> Message:
        """The user's text as a message."""
        body = await self._send(
            call, lambda dialect: dialect.post_question(chat, turn.parent, turn.text)
        )
        return read_message(body)

    async def order_answer(self, call: Call, chat: str, question: str, turn: Turn) -> Message:
        """The answer as a message that waits for a worker."""
        model = turn.order["model_config_name"]
        body = await self._send(
            call,
            lambda dialect: dialect.order_answer(chat, question, turn.order),
            self._errors(model, ordering=True),
        )
        return read_message(body)

    def events(self, call: Call, chat: str, message: str) -> AbstractAsyncContextManager[Response]:
        """The event stream of an answer."""
        return call.open(self.dialect.events(chat, message), self._errors())

    async def message(self, call: Call, chat: str, message: str) -> Message:
        """A message as it stands now."""
        return read_message(await self._send(call, lambda dialect: dialect.message(chat, message)))

    async def chat(self, call: Call, chat: str) -> Chat:
        """A chat with its messages."""
        return read_chat(await self._send(call, lambda dialect: dialect.chat(chat)))

    async def delete(self, call: Call, chat: str) -> None:
        """Delete a chat; one that is gone is a success.

        The website answers 500 for one that is gone, so a 500 is looked into
        (``oa-delete-twice-and-unknown``).
        """
        try:
            await self._send(call, lambda dialect: dialect.delete(chat))
        except PenstockError as error:
            if error.status == 404 or (error.status == 500 and await self._is_gone(call, chat)):
                return
            raise

    async def hide(self, call: Call, chat: str) -> None:
        """Take a chat off the user's list."""
        await self._send(call, lambda dialect: dialect.hide(chat))

    async def models(self, call: Call) -> tuple[ModelInfo, ...]:
        """The models that the server allows."""
        body = await self._send(call, lambda dialect: dialect.models(), door=self._door)
        with self._door.reading():
            return read_models(body)

    async def _is_gone(self, call: Call, chat: str) -> bool:
        try:
            await self.chat(call, chat)
        except PenstockError as error:
            return error.status == 404
        return False

    async def _send(
        self,
        call: Call,
        request: Callable[[Dialect], HttpRequest],
        errors: StatusError | None = None,
        door: Door | None = None,
    ) -> bytes:
        response, body = await call.ask(request(self.dialect))
        if self._is_native(response.status, body):
            self.memory[self._key] = "native"
            response, body = await call.ask(request(self._native))
        if not 200 <= response.status < 300:
            errors = errors or self._errors(door=door)
            raise errors(response.status, response.headers, body)
        with nullcontext() if door is None else door.reading():
            refuse_page(response)
        return body

    def _is_native(self, status: int, body: bytes) -> bool:
        undecided = self._forced is None and self._key not in self.memory
        return undecided and is_native_404(status, body)

    def _errors(
        self, model: str | None = None, *, ordering: bool = False, door: Door | None = None
    ) -> StatusError:
        secrets = tuple(value for _, value in (*self._website.headers, *self._native.headers))

        def plain(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
            return answer_error(
                status, headers, body, ordering=ordering, model=model, secrets=secrets
            )

        told = plain if door is None else door.refusal(plain)

        def on_error(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
            return documented(told(status, headers, body))

        return on_error


def _forced(config: ProviderConfig) -> Literal["website", "native"] | None:
    if config.dialect == "website":
        return "website"
    if config.dialect == "native" or (config.dialect is None and TRUSTED in config.options):
        return "native"
    if config.dialect is None:
        return None
    known = " or ".join(DIALECTS)
    raise BadRequestError(
        f"dialect must be {known}, not {config.dialect!r}", provider=NAME, param="dialect"
    )


def _website_headers(config: ProviderConfig, cookies: Mapping[str, str], base: str) -> Headers:
    if cookies:
        return (("Cookie", cookie_header(cookies, base)),)
    return (("Authorization", bearer_header(config.api_key)),) if config.api_key else ()


def _native_headers(config: ProviderConfig) -> Headers:
    if TRUSTED in config.options:
        return (("TrustedClient", trusted_header(config.options[TRUSTED])),)
    return (("Authorization", bearer_header(config.api_key)),) if config.api_key else ()
