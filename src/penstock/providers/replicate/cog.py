"""The provider for Cog, the model server: one request, one answer, cancelled by closing it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import msgspec

from penstock.errors import PenstockError, ProtocolError
from penstock.provider import Batch, ProviderConfig
from penstock.providers.checks import check_dialect, check_options, check_request, required_base
from penstock.providers.common import Call, Stateless, patience, refuse_page
from penstock.providers.door import Door
from penstock.providers.pump import EventLists, Pump, held
from penstock.providers.replicate.dialect.answers import PollReader
from penstock.providers.replicate.dialect.cog import (
    CogDecoder,
    cog_cancel,
    cog_error,
    cog_request,
    decode_cog,
)
from penstock.providers.replicate.dialect.hosted import Prediction
from penstock.providers.replicate.dialect.inputs import Plan, plan_of
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.providers.replicate.models import CAPABILITIES, known_inputs
from penstock.transport import Response, Session
from penstock.types import ChatRequest, Event, Finished, ModelInfo, Started

_OURS = ("accept", "content-type")
_BELIEVED = 2
"""Refused streams after which a server is not asked for one any more."""


class CogProvider(Stateless):
    """One Cog server; it serves one model, whatever name the caller gives it.

    Raises (from making it):
        ConfigError: the address is missing, or there is no such dialect.
    """

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        self.name = config.name
        self.capabilities = CAPABILITIES
        check_dialect(config, "cog")
        check_options(config.options, frozenset(), config.name)
        self._session = session
        self._base = required_base(config, "http://host:5000")
        kept = {name: text for name, text in config.headers.items() if name.lower() not in _OURS}
        self._config = config.with_(headers=kept)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; see ``penstock.provider``.

        Leaving early closes the stream, which cancels the prediction at its next step, and says
        so to the server as well.
        """
        check_request(request, self.capabilities, self.name)
        plan = plan_of(request, known_inputs(request.model))
        call = Call(self._session, self._config)
        decoder = CogDecoder(Transcript(plan.stops), plan.limit)
        async with AsyncExitStack() as connection:
            response = await self._open(call, connection, request.model, plan)
            if response.content_type == "text/event-stream":
                try:
                    pump = call.pump(response, decoder)
                    async with held(_dressed(pump, plan), call.relay) as batches:
                        yield batches
                finally:
                    await connection.aclose()
                    await self._leave(call, decoder)
            else:
                with call.limits.step():
                    body = await response.read()
                with self._door.reading():
                    refuse_page(response)
                    prediction = decode_cog(body)
                yield _once(prediction, plan)

    async def _open(
        self, call: Call, connection: AsyncExitStack, model: str, plan: Plan
    ) -> Response:
        """The answer, as a stream if the model is made for it.

        406 says that it is not, but also that the server is in its setup, which may end before the
        plain request after it. So only a second one is believed for good.
        """
        memory, place = call.session.memory, ("replicate", "cog-plain", self._base)
        refusals = memory.get(place, 0)

        def on_error(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
            return cog_error(status, headers, body, provider=self.name, model=model)

        door = self._door
        if refusals < _BELIEVED:
            asked = cog_request(self._base, plan.inputs, stream=True)
            try:
                refused = door.refusal(on_error)
                return await connection.enter_async_context(call.open(asked, refused))
            except PenstockError as error:
                if error.status != 406:
                    raise
        asked = cog_request(self._base, plan.inputs, stream=False)
        response = await connection.enter_async_context(call.open(asked, door.refusal(on_error)))
        memory[place] = refusals + 1  # only now: in its setup a server goes on to say 503
        return response

    @property
    def _door(self) -> Door:
        return Door(self._base, "a Cog server")

    async def _leave(self, call: Call, decoder: CogDecoder) -> None:
        prediction = decoder.id
        if prediction is None or decoder.ended:
            return

        async def cancel() -> None:
            await call.again().ask(cog_cancel(self._base, prediction))

        label = f"{self.name}: cancel prediction {prediction}"
        await call.session.outbox.settle(label, cancel, wait=patience())

    async def models(self) -> Sequence[ModelInfo]:
        """The configured names; a Cog server has one model and no name for it."""
        return [ModelInfo(id=name) for name in self._config.models or ("default",)]


async def _dressed(pump: Pump, plan: Plan) -> EventLists:
    async with aclosing(pump):
        async for events in pump:
            events[-1] = _warned(events[-1], plan)
            yield events


def _warned(event: Event, plan: Plan) -> Event:
    if isinstance(event, Finished) and plan.warnings:
        return msgspec.structs.replace(event, warnings=plan.warnings)
    return event


async def _once(prediction: Prediction, plan: Plan) -> AsyncIterator[Batch]:
    """The events of an answer that came whole."""
    reader = PollReader(Transcript(plan.stops), plan.limit)
    events: list[Event] = [Started(id=prediction.id or None)]
    events += reader.see(prediction)
    events[-1] = _warned(events[-1], plan)
    yield events
    if reader.done:
        return
    raise reader.failure or ProtocolError("the server answered before the prediction was over")
