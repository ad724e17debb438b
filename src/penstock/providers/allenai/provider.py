"""The Ai2 Playground as a provider: which calls are made, in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from penstock.errors import BadRequestError, PenstockError
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.allenai.conversation import Conversation
from penstock.providers.allenai.dialect import nowhere
from penstock.providers.allenai.dialect.errors import is_gone, refusal
from penstock.providers.allenai.dialect.forms import check_dialect, models_request
from penstock.providers.allenai.dialect.lists import models_of
from penstock.providers.allenai.exchange import Exchange, delete_thread, dialect_key, list_key
from penstock.providers.allenai.models import BASE_URL, CAPABILITIES, resolve
from penstock.providers.checks import check_options, check_request
from penstock.providers.common import Call
from penstock.providers.pump import held
from penstock.transport import Session
from penstock.types import Capabilities, ChatRequest, ModelInfo
from penstock.types import Conversation as JsonConversation
from penstock.wire.request import base_url_of

OPTIONS = frozenset({"host", "private"})
"""``host``: where ``message-stream`` finds every model; ``private``: False to share threads."""


class AllenAIProvider:
    """Ai2 Playground and servers of the same software.

    Raises (from making it):
        BadRequestError: a setting that does not exist. ConfigError: no such dialect.
    """

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        check_options(config.options, OPTIONS, config.name)
        check_dialect(config.dialect)
        if not isinstance(config.options.get("private", True), bool):
            raise BadRequestError("private must be true or false", param="private")
        self._session = session
        self._config = config.with_(base_url=base_url_of(config.base_url or BASE_URL))

    @property
    def name(self) -> str:
        """The name in model names and errors."""
        return self._config.name

    @property
    def capabilities(self) -> Capabilities:
        """What can be honoured; all that any dialect can until the server's is known."""
        return CAPABILITIES[self._known() or "threads"]

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn, as the contract of ``penstock.provider`` says.

        Leaving early closes the connection and deletes the thread that nobody keeps.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, self.capabilities, self.name)
        request = msgspec.structs.replace(request, model=resolve(request.model))
        exchange = Exchange(self._call(), request)
        try:
            async with (
                AsyncExitStack() as stack,
                held(await exchange.start(stack), exchange.call.relay) as batches,
            ):
                yield batches
        finally:
            await exchange.settle()

    async def models(self) -> Sequence[ModelInfo]:
        """The visible models of the server's list, or those that the configuration names.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models:
            return [ModelInfo(id=model) for model in self._config.models]
        error: PenstockError = nowhere(self.name, "", str(self._config.base_url))
        for dialect in self._lists():
            request = models_request(dialect, str(self._config.base_url))
            response, body = await self._call().ask(request)
            if response.status == 200:
                self._session.memory[list_key(str(self._config.base_url))] = dialect
                return [model.info() for model in models_of(body) if model.is_visible]
            error = refusal(response.status, response.headers, body, provider=self.name, model="")
            if not is_gone(response.status, response.headers):
                raise error
        raise error

    def conversation(self, model: str) -> Conversation:
        """A new thread with an anonymous id of its own, nothing sent yet."""
        return Conversation(model=resolve(model))

    async def delete(self, conversation: JsonConversation) -> None:
        """Delete the remote thread of ``conversation``; one that is gone is a success.

        Raises:
            BadRequestError: the conversation is another provider's.
            PenstockError: the server refused.
        """
        if not isinstance(conversation, Conversation):
            raise BadRequestError("the conversation is another provider's", param="conversation")
        await delete_thread(self._call(), conversation)

    def _call(self) -> Call:
        return Call(self._session, self._config)

    def _known(self) -> str | None:
        found = self._session.memory.get(dialect_key(str(self._config.base_url)))
        return self._config.dialect or found

    def _lists(self) -> tuple[str, ...]:
        """Asking for a list runs nothing, so the newer path is first where nothing is known."""
        known = self._known()
        return (known,) if known else ("threads", "message-stream")


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory that the registry names."""
    return AllenAIProvider(session, config)
