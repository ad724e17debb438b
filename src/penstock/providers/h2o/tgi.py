"""The provider for text-generation-inference itself: one request, one answer, nothing kept.

Unlike the chat-ui in front of it, the router stops a generation when its client goes away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from penstock.errors import PenstockError
from penstock.provider import Batch, ProviderConfig
from penstock.providers.checks import check_dialect, check_options, check_request, required_base
from penstock.providers.common import Call, Stateless, refuse_page
from penstock.providers.door import Door
from penstock.providers.h2o.dialect import router
from penstock.providers.h2o.dialect.errors import answer_error
from penstock.providers.h2o.dialect.frames import decoder_for
from penstock.providers.h2o.dialect.turn import router_turn_of
from penstock.providers.h2o.models import ROUTER_CAPABILITIES
from penstock.providers.pump import held
from penstock.transport import Session
from penstock.types import ChatRequest, ModelInfo


class TgiProvider(Stateless):
    """One router, by its ``base_url``.

    Raises (from making it):
        ConfigError: the address is missing, or there is no such dialect.
    """

    capabilities = ROUTER_CAPABILITIES

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        check_dialect(config, "tgi")
        check_options(config.options, frozenset(), config.name)
        self.name = config.name
        self._session = session
        self._base = required_base(config, "http://127.0.0.1:8080")
        self._door = Door(self._base, "text-generation-inference")
        self._config = config

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; see ``penstock.provider``.

        Leaving early closes the connection, which stops the generation.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, self.capabilities, self.name)
        turn = router_turn_of(request, self.name)
        call = Call(self._session, self._config)
        asked = router.generate_request(self._base, turn, self._config.api_key)
        async with call.open(asked, self._door.refusal(self._error)) as response:
            with self._door.reading():
                refuse_page(response)
            decoder = decoder_for(
                response.content_type, self.name, stop=turn.stop, full_text=turn.full_text
            )
            async with held(call.pump(response, decoder)) as batches:
                yield batches

    async def models(self) -> Sequence[ModelInfo]:
        """The configured models, else the one the router says it serves.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models:
            return [ModelInfo(id=name) for name in self._config.models]
        call = Call(self._session, self._config)
        request = router.info_request(self._base, self._config.api_key)
        response, body = await call.fetch(request, self._door.refusal(self._error))
        with self._door.reading():
            refuse_page(response)
            return [router.decode_info(body)]

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        secrets = (self._config.api_key,) if self._config.api_key else ()
        return answer_error(status, headers, body, provider=self.name, model="", secrets=secrets)
