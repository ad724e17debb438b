"""The provider for today's chat-ui: conversation, question, reconciled answer, cleanup."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial

import msgspec

from penstock.errors import BadRequestError, ConfigError, NotFoundError
from penstock.provider import Batch, Provider, ProviderConfig
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.providers.chatui.dialect import requests
from penstock.providers.chatui.dialect.errors import answer_error
from penstock.providers.chatui.dialect.lines import LinesDecoder
from penstock.providers.chatui.dialect.requests import Question, question_of
from penstock.providers.chatui.models import CAPABILITIES
from penstock.providers.chatui.visit import Visit, door_of
from penstock.providers.checks import check_options, check_request, required_base
from penstock.providers.common import Call, refuse_page, usable
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

DIALECTS = ("chat-ui",)


class ChatUIProvider:
    """One chat-ui, by its ``base_url``.

    Raises (from making it):
        ConfigError: the address is missing, or there is no such dialect.
    """

    capabilities = CAPABILITIES

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        if config.dialect not in (None, *DIALECTS):
            raise ConfigError(
                f"dialect must be {DIALECTS[0]}, not {config.dialect!r:.60}",
                provider=config.name,
                param="dialect",
            )
        check_options(config.options, frozenset(), config.name)
        self.name = config.name
        self._session = session
        self._base = required_base(config, "http://127.0.0.1:3000")
        self._config = config

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer one turn; see ``penstock.provider``.

        Leaving early stops the run by its route; a conversation that the call does not keep is
        deleted at every end. A conversation that a cut turn leaves is as it was: the next turn
        goes below the same message.

        Raises:
            PenstockError: what ``penstock.provider`` says. A cancellation is an early leaving.
        """
        check_request(request, self.capabilities, self.name)
        conversation = request.conversation
        going_on = conversation is not None and conversation.id is not None
        question = question_of(request, self.name, going_on=going_on)
        model = await self._model(request)
        visit = Visit(Call(self._session, self._config), self._base, model, conversation)
        if conversation is not None and visit.keep:
            self._bind(conversation)
        try:
            await visit.begin(question.preprompt)
            if conversation is not None and visit.keep:
                conversation.parent = visit.parent
            relay = visit.call.relay if conversation is None else None
            async with (
                visit.ask(question) as response,
                held(self._answer(visit, question, response, conversation), relay) as batches,
            ):
                yield batches
        finally:
            await visit.leave()

    async def models(self) -> Sequence[ModelInfo]:
        """The configured models, else those the server lists.

        Raises:
            PenstockError: the server could not be asked.
        """
        if self._config.models:
            return [ModelInfo(id=name) for name in self._config.models]
        try:
            return await self._listed(plain=False)
        except NotFoundError:
            return await self._listed(plain=True)

    def conversation(self, model: str) -> ChatUIConversation:
        """A new native conversation, nothing sent yet."""
        return ChatUIConversation(model=model)

    async def delete(self, conversation: Conversation) -> None:
        """Delete the remote side of ``conversation``; one that is gone is a success.

        Raises:
            PenstockError: the server refused.
        """
        if conversation.id is None:
            return
        cookies = {**self._config.cookies, **getattr(conversation, "cookies", {})}
        async with usable(self._session) as session:
            request = requests.delete_request(self._base, conversation.id, cookies)
            secrets = tuple(cookies.values())
            await Call(session, self._config).delete(
                request, partial(answer_error, provider=self.name, secrets=secrets)
            )
        conversation.id = conversation.parent = None

    async def _answer(
        self,
        visit: Visit,
        question: Question,
        response: Response,
        conversation: Conversation | None,
    ) -> EventLists:
        decoder = visit.decoder = LinesDecoder(self.name)
        yield [Started(conversation_id=visit.id, model=visit.model)]
        pieces: list[str] = []
        async with aclosing(visit.call.pump(response, decoder)) as batches:
            async for batch in batches:
                if conversation is not None:
                    pieces += [event.text for event in batch if type(event) is Text]
                    end = batch[-1]
                    # One that was stopped on the server is cut like any other cut turn.
                    if isinstance(end, Finished) and end.finish_reason != "cancelled":
                        text = end.final_text if end.final_text is not None else "".join(pieces)
                        await self._move_on(conversation, visit, question, response, text)
                        batch[-1] = msgspec.structs.replace(end, conversation=conversation)
                yield batch

    async def _move_on(
        self,
        conversation: Conversation,
        visit: Visit,
        question: Question,
        response: Response,
        text: str,
    ) -> None:
        parent = await visit.next_parent(response)
        visit.adopt(conversation, question.inputs, text, parent)
        self._bind(conversation)

    def _bind(self, conversation: Conversation) -> None:
        conversation.bind(partial(self.delete, conversation))

    async def _listed(self, *, plain: bool) -> list[ModelInfo]:
        call = Call(self._session, self._config)
        request = requests.models_request(self._base, self._config.cookies, plain=plain)
        door = door_of(self._base)
        refused = door.refusal(partial(answer_error, provider=self.name, url=request.url))
        response, body = await call.fetch(request, refused)
        with door.reading():
            refuse_page(response)
            return requests.decode_models(body)

    async def _model(self, request: ChatRequest) -> str:
        """The model asked for, else the conversation's, else the first one of the server's list."""
        conversation = request.conversation
        own = conversation.model if conversation is not None else ""
        if own and request.model and own != request.model and conversation and conversation.id:
            raise BadRequestError(
                f"this conversation is with {own}; its model cannot change",
                provider=self.name,
                model=request.model,
                param="model",
            )
        model = request.model or own
        key = (self.name, "default model", self._base)
        if not model and key not in self._session.memory:
            listed = await self.models()
            if not listed:
                raise BadRequestError("the server lists no model", provider=self.name)
            self._session.memory[key] = listed[0].id
        return model or str(self._session.memory[key])


def create(session: Session, config: ProviderConfig) -> Provider:
    """The factory the registry names.

    Raises:
        ConfigError: the server's address is missing, or the dialect is not one of ours.
    """
    return ChatUIProvider(session, config)
