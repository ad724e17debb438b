"""The provider for OpenAI-compatible servers: one request, one answer, nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Self

from penstock.errors import BadRequestError, PenstockError, ProtocolError
from penstock.provider import Batch, EventStream, Provider, ProviderConfig
from penstock.providers.checks import (
    check_dialect,
    check_options,
    check_request,
    missing_key,
    required_base,
)
from penstock.providers.common import Call, Opening, Stateless, refuse_page
from penstock.providers.door import Door
from penstock.providers.openai_compatible import dialect
from penstock.providers.openai_compatible.vendors import ANY, VENDORS, capabilities_of
from penstock.providers.pump import Pump
from penstock.transport import Response, Session
from penstock.types import ChatRequest, ModelInfo
from penstock.wire.openai import ChatDecoder, decode_completion, is_error, response_error

DIALECTS = ("chat-completions",)


class _Whole:
    """The one batch of an answer that came whole."""

    __slots__ = ("_batch",)

    def __init__(self, batch: Batch) -> None:
        self._batch: Batch | None = batch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        batch, self._batch = self._batch, None
        if batch is None:
            raise StopAsyncIteration
        return batch


class _Turn:
    """The context of ``OpenAICompatibleProvider.stream``: a class, for a gateway enters many."""

    __slots__ = ("_batches", "_opening", "_provider", "_request")

    def __init__(self, provider: OpenAICompatibleProvider, request: ChatRequest) -> None:
        self._provider = provider
        self._request = request

    async def __aenter__(self) -> AsyncIterator[Batch]:
        call, opening = self._provider.ask(self._request)
        response = await opening.__aenter__()
        try:
            batches = self._batches = await self._provider.read(self._request, call, response)
        except BaseException as error:
            await opening.__aexit__(type(error), error, error.__traceback__)
            raise
        self._opening = opening
        return batches

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        try:
            if isinstance(self._batches, Pump):
                await self._batches.aclose()
        finally:
            await self._opening.__aexit__(kind, error, place)


class OpenAICompatibleProvider(Stateless):
    """One OpenAI-compatible server; the configuration's name picks the vendor's row.

    Raises (from making it):
        ConfigError: the address is missing, or there is no such dialect.
    """

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        self.name = config.name
        self._session = session
        self._vendor = VENDORS.get(config.name, ANY)
        check_dialect(config, *DIALECTS)
        check_options(config.options, frozenset(), config.name)
        own = config.base_url or self._vendor.base_url
        self._base = dialect.base_of(own or required_base(config, "http://host:8000/v1"))
        self._given, self._config = config, config.with_(base_url=self._base)
        self.capabilities = capabilities_of(self._vendor)
        self._door = Door(self._base, "an OpenAI-compatible server")
        self._foreign = self._door.refusal(self._error)

    def stream(self, request: ChatRequest) -> EventStream:
        """Answer one turn, as ``penstock.provider`` says.

        Leaving early closes the connection, which stops the generation on servers that stop for a
        client that left.

        Raises (from the stream):
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        return _Turn(self, request)

    def ask(self, request: ChatRequest) -> tuple[Call, Opening]:
        """The way to the answer of ``request``, not yet entered.

        Raises:
            PenstockError: it cannot be asked.
        """
        check_request(request, self.capabilities, self.name)
        if not request.model:
            raise BadRequestError(
                f"name a model, as in {self.name}/model-id", provider=self.name, param="model"
            )
        asked = dialect.chat_request(self._base, self._vendor, request, self._key())
        call = Call(self._session, self._config)
        return call, call.open(asked, self._refusal)

    async def read(self, request: ChatRequest, call: Call, response: Response) -> Pump | _Whole:
        """The batches of an answer, whole or in pieces.

        Raises:
            PenstockError: it is no answer of such a server.
        """
        try:
            refuse_page(response)
        except ProtocolError as error:
            raise self._door.told(error) from None
        # Some servers stream although the whole answer was asked for, or the other way round.
        whole = not request.stream and response.content_type != "text/event-stream"
        if not whole and response.content_type != "application/json":
            return call.pump(response, ChatDecoder(self.name))
        with nullcontext() if response.here else call.limits.step():
            body = await response.read()
        try:
            return _Whole(decode_completion(body, self.name))
        except ProtocolError as error:
            raise self._door.told(error) from None

    async def models(self) -> Sequence[ModelInfo]:
        """The models the server lists, or the configured ones.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models:
            return [ModelInfo(id=name) for name in self._config.models]
        call = Call(self._session, self._config)
        request = dialect.models_request(self._base, self._key())
        response, body = await call.fetch(request, self._refusal)
        with self._door.reading():
            refuse_page(response)
            return dialect.decode_models(body)

    def _key(self) -> str | None:
        if self._vendor.key_env is not None and not self._config.api_key:
            raise missing_key(self._given, self._vendor.key_env)
        return self._config.api_key

    def _refusal(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for the status of an answer; one in this protocol's shape is no wrong door."""
        return (self._error if is_error(body) else self._foreign)(status, headers, body)

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        secrets = (self._config.api_key,) if self._config.api_key else ()
        return response_error(status, headers, body, provider=self.name, secrets=secrets)


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory the registry names."""
    return OpenAICompatibleProvider(session, config)
