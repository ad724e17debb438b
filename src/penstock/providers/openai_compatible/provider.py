"""The provider for OpenAI-compatible servers: one request, one answer, nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from penstock.errors import BadRequestError, PenstockError
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.checks import (
    check_dialect,
    check_options,
    check_request,
    missing_key,
    required_base,
)
from penstock.providers.common import Call, Stateless, held, refuse_page
from penstock.providers.door import Door
from penstock.providers.openai_compatible import dialect
from penstock.providers.openai_compatible.vendors import ANY, VENDORS, capabilities_of
from penstock.transport import Session
from penstock.types import ChatRequest, ModelInfo
from penstock.wire.openai import ChatDecoder, decode_completion, is_error, response_error

DIALECTS = ("chat-completions",)


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

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn, as ``penstock.provider`` says.

        Leaving early closes the connection, which stops the generation on servers that stop for a
        client that left.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, self.capabilities, self.name)
        if not request.model:
            raise BadRequestError(
                f"name a model, as in {self.name}/model-id", provider=self.name, param="model"
            )
        key = self._key()
        call = Call(self._session, self._config)
        asked = dialect.chat_request(self._base, self._vendor, request, key)
        async with call.open(asked, self._refusal) as response:
            with self._door.reading():
                refuse_page(response)
            # Some servers stream although the whole answer was asked for, or the other way round.
            whole = not request.stream and response.content_type != "text/event-stream"
            if whole or response.content_type == "application/json":
                async with call.limits.step():
                    body = await response.read()
                with self._door.reading():
                    completion = decode_completion(body, self.name)
                yield _once(completion)
            else:
                async with held(call.pump(response, ChatDecoder(self.name))) as batches:
                    yield batches

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


async def _once(batch: Batch) -> AsyncIterator[Batch]:
    yield batch


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory the registry names."""
    return OpenAICompatibleProvider(session, config)
