"""One call to the Playground, from the first request to the last cleanup.

Laws:
* a turn is posted again only where the server said that it ran nothing: a JSON 404, for it does
  not have this path, or a model it knows on another host;
* a thread that nobody keeps is deleted at every end: the thread of a one-shot call, and the one
  that the first turn of a conversation opened and failed in;
* a conversation moves on only when its turn ended well (wire/allenai.md section 7);
* cancellation passes at once. If it came before the server named the thread, a one-shot call
  asks which threads its anonymous id owns, which is used for this call alone, and deletes those.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from functools import partial
from uuid import uuid4

import msgspec

from penstock.errors import (
    BadRequestError,
    ModelNotFoundError,
    NetworkError,
    PenstockError,
    StreamTimeoutError,
)
from penstock.providers.allenai.conversation import Conversation
from penstock.providers.allenai.dialect import (
    TurnDecoder,
    candidates,
    check_for,
    decoder_of,
    notices,
    nowhere,
)
from penstock.providers.allenai.dialect.errors import is_gone, is_refusal, refusal
from penstock.providers.allenai.dialect.forms import (
    Headers,
    Post,
    delete_request,
    identity,
    list_request,
    models_request,
    post_request,
)
from penstock.providers.allenai.dialect.lists import models_of, roots_of
from penstock.providers.allenai.dialect.turns import Turn, turns_of
from penstock.providers.allenai.models import DEFAULT_HOST, HOSTS
from penstock.providers.common import Call, patience, refuse_page, usable
from penstock.providers.door import Door
from penstock.providers.pump import EventLists
from penstock.transport import Response
from penstock.types import ChatRequest, Finished, Timeouts
from penstock.wire.request import header_value

_SWEEPS = (0.0, 0.3, 1.0)
"""Pauses before each look for a thread whose name never came."""

_SWEEP_TIMEOUTS = Timeouts(connect=1.0, first_content=10.0, idle=10.0)


class Exchange:
    """One call: its dialect, its thread, and what must be undone.

    Args:
        call: the way to the server; its configuration holds ``base_url``.
        request: with the model's id resolved.
    """

    def __init__(self, call: Call, request: ChatRequest) -> None:
        self.call = call
        self.base = base_of(call)
        self._request = request
        self._turns = turns_of(request)
        self._conversation = _own(request)
        anonymous_id = self._conversation.x_anonymous_user_id if self._conversation else None
        self._anonymous_id = anonymous_id or str(uuid4())
        self._headers = headers_of(call, self._anonymous_id)
        self._parent = request.conversation.parent if request.conversation else None
        self._dialect = ""
        self._decoder: TurnDecoder | None = None
        self._asked = False
        self._gone = False
        self._ended = False

    # -- the answer ----------------------------------------------------------------------------

    async def start(self, stack: AsyncExitStack) -> EventLists:
        """Post the turns; the last one's answer is the stream, which ``stack`` holds open.

        Raises:
            PenstockError: refused, or no connection.
        """
        for turn in self._turns[:-1]:
            async with AsyncExitStack() as held:
                response = await self._open(held, turn)
                async with aclosing(self._pumped(response)) as batches:
                    async for _ in batches:
                        pass
            assert self._decoder is not None
            self._parent = self._decoder.reply
        return self._batches(await self._open(stack, self._turns[-1]))

    async def _batches(self, response: Response) -> EventLists:
        async with aclosing(self._pumped(response)) as batches:
            async for events in batches:
                if isinstance(events[-1], Finished):
                    events[-1] = self._finished(events[-1])
                yield events

    async def _pumped(self, response: Response) -> EventLists:
        decoder = self._decoder
        assert decoder is not None
        try:
            async with aclosing(self.call.pump(response, decoder)) as batches:
                async for events in batches:
                    yield events
        except PenstockError as error:
            # An error line that said why is worth more than the broken end after it.
            told = decoder.reported or error
            told.status = told.status or response.status
            raise told from None

    def _finished(self, end: Finished) -> Finished:
        self._ended = True
        self._move_on()
        return msgspec.structs.replace(
            end,
            conversation=self._conversation,
            warnings=(*end.warnings, *notices(self._dialect, self._request)),
        )

    def _move_on(self) -> None:
        conversation, decoder = self._conversation, self._decoder
        if conversation is None or decoder is None or decoder.reply is None:
            return
        if conversation.id is not None and decoder.root not in (None, conversation.id):
            conversation.detached.append(conversation.id)
        conversation.id = decoder.root
        conversation.parent = decoder.reply
        conversation.model = conversation.model or self._request.model
        conversation.messages.extend(turn.as_message() for turn in self._turns)
        conversation.messages.append({"role": "assistant", "content": decoder.text})
        call = self.call
        conversation.bind(lambda: delete_thread(call, conversation))

    # -- the way there -------------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack, turn: Turn) -> Response:
        """Post ``turn`` in the dialect that the server speaks."""
        config = self.call.config
        order = candidates(config.dialect, self.call.session.memory.get(self._key), self.base)
        refused: PenstockError | None = None
        for dialect in order:
            try:
                check_for(dialect, self._request, self.base, config.models, config.name)
            except (BadRequestError, ModelNotFoundError) as error:
                refused = refused or error
                continue
            try:
                return await self._answer(stack, dialect, turn)
            except PenstockError:
                if not self._gone or len(order) == 1:
                    raise
        raise refused or nowhere(config.name, self._request.model, self.base)

    async def _answer(self, stack: AsyncExitStack, dialect: str, turn: Turn) -> Response:
        """Post once; or twice, where the model is known on another host than we believed."""
        host = self._host()
        try:
            return await self._post(stack, dialect, turn, host)
        except ModelNotFoundError:
            if dialect != "message-stream" or self._named_host is not None:
                raise
            listed = await self._listed_host()
            if listed in (None, "", host):
                raise
            return await self._post(stack, dialect, turn, listed or host)

    async def _post(self, stack: AsyncExitStack, dialect: str, turn: Turn, host: str) -> Response:
        config, request = self.call.config, self._request
        post = Post(
            model=request.model,
            turn=turn,
            parent=self._parent,
            host=host,
            private=bool(config.options.get("private", True)),
            sampling=request.sampling,
            tools=request.tools,
            extra=request.extra,
        )
        self._dialect, self._asked, self._gone = dialect, True, False
        root = self._conversation.id if self._conversation else None
        self._decoder = decoder_of(dialect, root, tuple(tool.name for tool in request.tools))
        sent = post_request(dialect, self.base, post, self._headers)
        door = Door(self.base, "the Ai2 Playground")
        on_error = self._refusal if self._parent else door.refusal(self._refusal)
        response = await stack.enter_async_context(self.call.open(sent, on_error))
        with door.reading():
            refuse_page(response)
        self._remember()
        return response

    def _refusal(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        self._gone = is_gone(status, headers)
        if is_refusal(status, headers):
            self._remember()
        if status < 500:
            self._asked = False  # nothing ran
        config = self.call.config
        secrets = (config.api_key,) if config.api_key else ()
        return refusal(
            status,
            headers,
            body,
            provider=config.name,
            model=self._request.model,
            secrets=secrets,
        )

    @property
    def _key(self) -> tuple[str, ...]:
        return dialect_key(self.base)

    def _remember(self) -> None:
        if self.call.config.dialect is None:  # a forced one says nothing about the others
            self.call.session.memory[self._key] = self._dialect

    @property
    def _named_host(self) -> str | None:
        named = self._request.extra.get("host") or self.call.config.options.get("host")
        return None if named is None else str(named)

    def _host(self) -> str:
        listed = self.call.session.memory.get(hosts_key(self.base), {})
        model = self._request.model
        known = listed.get(model) or HOSTS.get(model) or DEFAULT_HOST
        return self._named_host or str(known)

    async def _listed_host(self) -> str | None:
        """The model's host by the server's own list; None if it cannot tell."""
        try:
            response, body = await self.call.ask(models_request("message-stream", self.base))
            listed = models_of(body) if response.status == 200 else ()
        except PenstockError:
            return None  # the refusal that led here is the better answer
        hosts = {model.id: model.host for model in listed}
        self.call.session.memory[hosts_key(self.base)] = hosts
        return hosts.get(self._request.model)

    # -- the cleanup ---------------------------------------------------------------------------

    async def settle(self) -> None:
        """Delete the thread that nobody keeps. To be called at every end.

        A cancellation passes through at once; the deletion goes on in the outbox.
        """
        conversation = self._conversation
        if conversation is not None and (self._ended or conversation.id is not None):
            return
        name, outbox = self.call.config.name, self.call.session.outbox
        root = self._decoder.root if self._decoder is not None else None
        if root is not None:
            call, headers = self.call.again(), self._headers
            undo = partial(remove, call, root, headers)
            await outbox.settle(f"{name}: delete thread {root}", undo, wait=patience())
        elif self._asked and conversation is None and self.call.config.api_key is None:
            label = f"{name}: find and delete a thread that was not named"
            await outbox.settle(label, self._sweep, wait=0.0)

    async def _sweep(self) -> None:
        call = Call(self.call.session, self.call.config.with_(timeouts=_SWEEP_TIMEOUTS))
        asked = list_request(self._dialect, self.base, self._anonymous_id, self._headers)
        for pause in _SWEEPS:
            await call.limits.pause(pause)
            try:
                response, body = await call.ask(asked)
            except NetworkError as error:
                if isinstance(error, StreamTimeoutError) and error.phase != "connect":
                    raise
                return  # a server that cannot be reached never got the turn
            roots = roots_of(body) if response.status == 200 else ()
            for root in roots:
                await remove(call, root, self._headers)
            if roots:
                return


def _own(request: ChatRequest) -> Conversation | None:
    conversation = request.conversation
    if conversation is None or isinstance(conversation, Conversation):
        return conversation
    raise BadRequestError(
        "conversation must be one of this provider: client.conversation(model), "
        "or penstock.providers.allenai.documented.Conversation(model)",
        param="conversation",
    )


def base_of(call: Call) -> str:
    """The base URL of a call whose configuration was completed by the provider."""
    assert call.config.base_url is not None
    return call.config.base_url


def headers_of(call: Call, anonymous_id: str) -> Headers:
    """Who a call is made as.

    Raises:
        BadRequestError: the id or the key cannot stand in a header.
    """
    key = call.config.api_key
    return identity(
        header_value("x_anonymous_user_id", anonymous_id),
        None if key is None else header_value("api_key", key),
    )


def dialect_key(base: str) -> tuple[str, ...]:
    """Where a session remembers which dialect the server at ``base`` speaks."""
    return ("allenai", "dialect", base)


def list_key(base: str) -> tuple[str, ...]:
    """Where a session remembers whose list of models the server at ``base`` has."""
    return ("allenai", "list", base)


def hosts_key(base: str) -> tuple[str, ...]:
    """Where a session remembers the hosts of the models at ``base``."""
    return ("allenai", "hosts", base)


async def remove(call: Call, root: str, headers: Headers) -> None:
    """Delete a thread by its root; one that is gone is a success.

    Raises:
        PenstockError: the server refused, or could not be reached.
    """
    on_error = partial(refusal, provider=call.config.name, model="")
    await call.delete(delete_request(base_of(call), root, headers), on_error)


async def delete_thread(call: Call, conversation: Conversation) -> None:
    """Delete the remote side of ``conversation``, with what the server had cut off from it.

    Raises:
        PenstockError: the server refused, or could not be reached.
    """
    headers = headers_of(call, conversation.x_anonymous_user_id)
    async with usable(call.session) as session:
        again = Call(session, call.config)
        for root in (conversation.id, *conversation.detached):
            if root is not None:
                await remove(again, root, headers)
    conversation.id = conversation.parent = None
    conversation.detached.clear()
