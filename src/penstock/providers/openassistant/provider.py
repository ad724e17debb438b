"""Open-Assistant: one turn as the website and the inference server take it.

The sequence is chat, question, answer, event stream, deletion (``wire/openassistant.md``
section 1). ``remote`` knows how it is undone, ``reader`` how a lost stream is made good, ``slots``
why two calls of one account wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from penstock.errors import (
    MissingAuthError,
    NetworkError,
    PenstockError,
    ProtocolError,
    StreamTimeoutError,
)
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.checks import check_options, check_request
from penstock.providers.common import Call, usable
from penstock.providers.openassistant.api import DIALECTS, TRUSTED, Api
from penstock.providers.openassistant.dialect.answers import NAME
from penstock.providers.openassistant.dialect.question import EXTRA, Turn, turn_of
from penstock.providers.openassistant.errors import documented
from penstock.providers.openassistant.models import BASE_URL, DEFAULT_MODEL, SAMPLING
from penstock.providers.openassistant.reader import Pace, Reader
from penstock.providers.openassistant.remote import Remote, delete_chat
from penstock.providers.openassistant.slots import Lease, QueueSlot
from penstock.providers.pump import EventLists, held
from penstock.transport import Response, Session
from penstock.types import (
    Capabilities,
    ChatRequest,
    Conversation,
    Finished,
    ModelInfo,
    Started,
)

CAPABILITIES = Capabilities(sampling=SAMPLING, conversations=True, extra=EXTRA)

FindCookies = Callable[[str], Mapping[str, str]]
FindSlot = Callable[[str], QueueSlot]

_NO_STREAM = frozenset({"text/html", "application/json", "application/xhtml+xml"})


class OpenAssistantProvider:
    """An account on one Open-Assistant server.

    Args:
        session: connections to share; it remembers dialects, queue slots and open chats.
        config: ``cookies`` or ``api_key`` are the credential; ``options["trusted_client"]`` holds
            the five fields of a trusted client of the inference server.
        pace: the protocol's waits.
        find_slot: where the queue slot of an account is kept; by default in the session.
        find_cookies: host -> cookies, asked where ``config`` holds no credential.

    Raises:
        BadRequestError: the configuration names a dialect, option or credential that cannot be.
    """

    def __init__(
        self,
        session: Session,
        config: ProviderConfig,
        *,
        pace: Pace | None = None,
        find_slot: FindSlot | None = None,
        find_cookies: FindCookies | None = None,
    ) -> None:
        check_options(config.options, frozenset({TRUSTED}), NAME)
        self._session = session
        self._config = config
        self._pace = pace or Pace()
        self._find_slot = find_slot or self._session_slot
        self._find_cookies = find_cookies
        self._api = Api(session, config)

    @property
    def name(self) -> str:
        """The name in model names and errors."""
        return self._config.name

    @property
    def capabilities(self) -> Capabilities:
        """What can be honoured."""
        return CAPABILITIES

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; ``penstock.provider`` is the contract.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, CAPABILITIES, NAME)
        turn = turn_of(request, request.model or DEFAULT_MODEL)
        call = Call(self._session, self._config)
        api = await self._account()
        lease = await self._lease(api)
        remote = Remote(api, call, self._pace, lease, request.conversation)
        try:
            async with AsyncExitStack() as stack:
                chat, message = await remote.begin(turn)
                opened: Response | NetworkError
                try:
                    opened = await stack.enter_async_context(api.events(call, chat, message))
                    _check_type(opened)
                except NetworkError as error:
                    opened = error
                batches = self._batches(request, turn, call, remote, opened)
                yield await stack.enter_async_context(held(batches, call.relay))
        finally:
            await remote.leave()

    async def models(self) -> Sequence[ModelInfo]:
        """The models that the server allows.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models:
            return tuple(ModelInfo(id=model) for model in self._config.models)
        api = await self._account()
        return await api.models(Call(self._session, self._config))

    def conversation(self, model: str) -> Conversation:
        """A new native conversation, nothing sent yet."""
        return Conversation(model=model or DEFAULT_MODEL)

    async def delete(self, conversation: Conversation) -> None:
        """Delete the chat, once no answer in it is being made; one that is gone is a success.

        Raises:
            PenstockError: the server refused, or an answer did not end.
        """
        if conversation.id is None:
            return
        async with usable(self._session) as session:
            call = Call(session, self._config)
            await delete_chat(await self._account(), call, self._pace, conversation.id)
        conversation.id = conversation.parent = None

    async def _batches(
        self,
        request: ChatRequest,
        turn: Turn,
        call: Call,
        remote: Remote,
        opened: Response | NetworkError,
    ) -> EventLists:
        model = turn.order["model_config_name"]
        yield [Started(id=remote.message, conversation_id=remote.chat, model=model)]
        reader = Reader(call, remote.look, self._pace)
        try:
            async with aclosing(reader.read(opened)) as batches:
                async for batch in batches:
                    remote.note(reader.decoder)
                    end = batch[-1]
                    if isinstance(end, Finished):
                        batch[-1] = self._ended(end, request.conversation, turn, remote)
                    yield batch
        except PenstockError as error:
            remote.note(reader.decoder)
            if not reader.decoder.final:
                raise
            raise documented(error) from None  # the server's own words

    def _ended(
        self, end: Finished, conversation: Conversation | None, turn: Turn, remote: Remote
    ) -> Finished:
        if conversation is None:
            return end
        conversation.model = conversation.model or turn.order["model_config_name"]
        conversation.id, conversation.parent = remote.chat, remote.message
        conversation.messages += [
            {"role": "user", "content": turn.text},
            {"role": "assistant", "content": end.final_text or ""},
        ]
        conversation.bind(lambda: self.delete(conversation))
        return msgspec.structs.replace(end, conversation=conversation)

    async def _account(self) -> Api:
        """The account; cookies that nobody gave are looked up at its first use."""
        find, config = self._find_cookies, self._config
        if find is not None and not (config.cookies or config.api_key or config.options):
            host = urlsplit(config.base_url or BASE_URL).hostname or ""
            cookies = await asyncio.to_thread(find, host)
            if not cookies:
                raise MissingAuthError(
                    f"there are no cookies for {host}; pass cookies=, or name a cookie file in "
                    "PENSTOCK_COOKIES",
                    provider=NAME,
                )
            self._api, self._find_cookies = Api(self._session, config, cookies), None
        return self._api

    async def _lease(self, api: Api) -> Lease:
        limit = self._config.timeouts.waiting
        try:
            async with asyncio.timeout(limit):
                return await self._find_slot(api.account).acquire()
        except TimeoutError:
            error = StreamTimeoutError(
                "other calls of the same account still wait in the server's queue, which has one "
                f"place for each account, after {limit or 0:g} s"
            )
            error.phase = "waiting"
            raise error from None

    def _session_slot(self, account: str) -> QueueSlot:
        slot: QueueSlot = self._session.memory.setdefault((NAME, "slot", account), QueueSlot())
        return slot


def _check_type(response: Response) -> None:
    """The website sends no type, the inference server that of event streams (section 6)."""
    if response.content_type in _NO_STREAM:
        raise ProtocolError(
            f"the server sent {response.content_type} where its event stream should be",
            provider=NAME,
            status=response.status,
        )


def create(session: Session, config: ProviderConfig) -> Provider:
    """The provider for ``config``."""
    return OpenAssistantProvider(session, config)


__all__ = ["DIALECTS", "OpenAssistantProvider", "create"]
