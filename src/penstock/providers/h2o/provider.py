"""The provider for the 2023 chat-ui: settings, conversation, message, and always the cleanup."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial

import msgspec

from penstock.errors import BadRequestError, ConfigError
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.checks import check_model, check_options, check_request
from penstock.providers.common import Call, usable
from penstock.providers.door import StatusError
from penstock.providers.h2o.conversation import H2oConversation
from penstock.providers.h2o.dialect import app
from penstock.providers.h2o.dialect.errors import answer_error
from penstock.providers.h2o.dialect.frames import decoder_for
from penstock.providers.h2o.dialect.turn import Ids, Turn, turn_of
from penstock.providers.h2o.models import ALIASES, CAPABILITIES, DEFAULT_MODEL, MODELS, URL
from penstock.providers.h2o.tgi import TgiProvider
from penstock.providers.h2o.visit import Visit, door_of
from penstock.providers.pump import EventLists, held
from penstock.transport import Response, Session
from penstock.types import (
    ChatRequest,
    Conversation,
    Finished,
    ModelInfo,
    Started,
    Text,
)

DIALECTS = ("chat-ui-2023", "tgi")


class H2oProvider:
    """One 2023 chat-ui; without ``base_url`` the public one, which is gone."""

    capabilities = CAPABILITIES

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        check_options(config.options, frozenset(), config.name)
        self.name = config.name
        self._session = session
        self._base = config.base_url or URL
        self._open_models = config.base_url is not None
        self._config = config.with_(base_url=self._base)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; see ``penstock.provider``.

        Leaving early stops the generation by its route; a conversation that the call does not
        keep is deleted at every end. A conversation that a cut turn leaves is as it was: the next
        turn takes the place of the cut one.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, self.capabilities, self.name)
        model, conversation = self._model(request.model), request.conversation
        self._check(conversation, model)
        turn = turn_of(
            request,
            model,
            _ids(conversation),
            self.name,
            going_on=conversation is not None and conversation.id is not None,
        )
        visit = Visit(Call(self._session, self._config), self._base, model, conversation)
        if conversation is not None and visit.keep:
            self._bind(conversation)
        try:
            await visit.begin()
            relay = visit.call.relay if conversation is None else None
            async with (
                visit.ask(turn) as response,
                held(self._answer(visit, turn, response, conversation), relay) as batches,
            ):
                yield batches
        finally:
            await visit.leave()

    async def models(self) -> Sequence[ModelInfo]:
        """The configured models, else those a server of one's own lists, else the known ones.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models or not self._open_models:
            return [ModelInfo(id=name) for name in self._config.models or MODELS]
        call = Call(self._session, self._config)
        request = app.models_request(self._base, self._config.cookies)
        door = door_of(self._base)
        _, body = await call.fetch(request, door.refusal(self._errors(self._config.cookies)))
        with door.reading():
            return app.decode_models(body)

    def conversation(self, model: str) -> H2oConversation:
        """A new native conversation, nothing sent yet."""
        return H2oConversation(model=self._model(model))

    async def delete(self, conversation: Conversation) -> None:
        """Delete the remote side of ``conversation``; one that is gone is a success.

        Raises:
            PenstockError: the server refused.
        """
        if conversation.id is None:
            return
        cookies = {**self._config.cookies, **getattr(conversation, "cookies", {})}
        async with usable(self._session) as session:
            request = app.delete_request(self._base, conversation.id, cookies)
            await Call(session, self._config).delete(request, self._errors(cookies))
        conversation.id = conversation.parent = None

    async def _answer(
        self, visit: Visit, turn: Turn, response: Response, conversation: Conversation | None
    ) -> EventLists:
        decoder = visit.decoder = decoder_for(
            response.content_type, self.name, stop=turn.stop, full_text=turn.full_text
        )
        yield [Started(id=turn.response_id, conversation_id=visit.id, model=visit.model)]
        pieces: list[str] = []
        async with aclosing(visit.call.pump(response, decoder)) as batches:
            async for batch in batches:
                if conversation is not None:
                    pieces += [event.text for event in batch if type(event) is Text]
                    if isinstance(end := batch[-1], Finished):
                        self._move_on(conversation, visit, turn, "".join(pieces))
                        batch[-1] = msgspec.structs.replace(end, conversation=conversation)
                yield batch

    def _move_on(self, conversation: Conversation, visit: Visit, turn: Turn, text: str) -> None:
        visit.adopt(conversation, turn.inputs, text, turn.response_id)
        self._bind(conversation)

    def _errors(self, cookies: Mapping[str, str]) -> StatusError:
        secrets = tuple(cookies.values())
        return partial(answer_error, provider=self.name, model="", secrets=secrets)

    def _bind(self, conversation: Conversation) -> None:
        conversation.bind(partial(self.delete, conversation))

    def _check(self, conversation: Conversation | None, model: str) -> None:
        if conversation is None or conversation.id is None:
            return
        if conversation.model and self._model(conversation.model) != model:
            raise BadRequestError(
                f"this conversation is with {conversation.model}; its model cannot change",
                provider=self.name,
                model=model,
                param="model",
            )

    def _model(self, name: str) -> str:
        default = self._config.models[0] if self._config.models else DEFAULT_MODEL
        full = ALIASES.get(name, name) or default
        return full if self._open_models else check_model(full, MODELS, self.name)


def _ids(conversation: Conversation | None) -> Ids:
    """New ids; in a conversation the question's follows from its place there.

    So a turn that was cut and the one that is asked in its stead have the same id, also when the
    conversation was stored in between.
    """
    if conversation is None or conversation.id is None:
        return Ids(str(uuid.uuid4()), str(uuid.uuid4()))
    place = f"{conversation.id}/{conversation.parent}"
    return Ids(str(uuid.uuid5(uuid.NAMESPACE_OID, place)), str(uuid.uuid4()))


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory the registry names.

    Raises:
        ConfigError: the dialect is not one of ours.
    """
    if config.dialect == "tgi":
        return create_tgi(session, config)
    if config.dialect not in (None, DIALECTS[0]):
        raise ConfigError(
            f"dialect must be one of {', '.join(DIALECTS)}, not {config.dialect!r:.60}",
            provider=config.name,
            param="dialect",
        )
    return H2oProvider(session, config)


def create_tgi(session: Session, config: ProviderConfig) -> Provider:
    """The factory for the router by itself, under the name ``tgi``."""
    return TgiProvider(session, config)
