"""One run of a case: the derived calls, made through the client, against the replay server.

The client has no retries here, so a 429 is the outcome of its call. Limits are short
where the case is about a stall, so that a recorded silence is met by our own limits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec

from penstock.client import Client
from penstock.config import Settings
from penstock.errors import CallerError, PenstockError
from penstock.provider import ProviderConfig
from penstock.stream import AnswerStream
from penstock.testing.replay.case import Case, ExpectedError
from penstock.testing.replay.plan import Access, CaseProtocol, Chat, Step
from penstock.testing.replay.server import Arrived, Delivery, ReplayServer
from penstock.types import ChatRequest, Conversation, Reasoning, Text, Timeouts, Value

SHORT = Timeouts(connect=5.0, first_content=2.5, idle=2.5, total=None, waiting=4.0)
"""For cases that stall; their healthy requests must keep to it on a busy machine, too."""
BRIEF = Timeouts(connect=5.0, first_content=6.0, idle=6.0, total=None, waiting=6.0)
"""For answers that break off: their end may be looked for elsewhere, and never be found there."""
LONG = Timeouts(connect=20.0, first_content=60.0, idle=60.0, total=None, waiting=60.0)
"""For all others: no limit of ours is the matter. Byte by byte, a long answer on a busy machine
takes its time, so only ``runner.DEADLINE`` is above this."""
FIRST_SIGN = 0.3
"""A caller that leaves before any piece waits this long for a first sign of life."""
_PORT = re.compile(r"127\.0\.0\.1:\d+")


class Trouble(Value, frozen=True, kw_only=True):
    """An error as the caller sees it."""

    kind: str
    status: int | None
    text: str
    retry_after: float | None = None


class Outcome(Value, frozen=True, kw_only=True):
    """What came out of one call.

    Attributes:
        left: the caller left, as the recorded one did.
        refused: our own checks refused the call before anything was sent.
        parent: where the conversation goes on, or the id of the reply that was cut.
        forgone: parameters that our checks refused, and that the call then went without.
    """

    pieces: tuple[str, ...] = ()
    reasoning: str = ""
    finish: str | None = None
    error: Trouble | None = None
    left: bool = False
    refused: bool = False
    parent: str | None = None
    models: tuple[str, ...] | None = None
    final_text: str | None = None
    warnings: tuple[str, ...] = ()
    forgone: frozenset[str] = frozenset()
    refusals: tuple[Trouble, ...] = ()

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(self.pieces)


class Run(Value, frozen=True, kw_only=True):
    """All outcomes of one run, with what arrived at the server.

    Attributes:
        arrived: for each step the requests it caused.
        after: the requests of the cleanup after the last step.
        left_behind: what the client could not undo, as labels.
    """

    outcomes: tuple[Outcome, ...]
    arrived: tuple[tuple[Arrived, ...], ...]
    after: tuple[Arrived, ...]
    left_behind: tuple[str, ...]

    @property
    def all_arrived(self) -> tuple[Arrived, ...]:
        """Every request, in order."""
        return (*(request for step in self.arrived for request in step), *self.after)


async def run(case: Case, protocol: CaseProtocol, steps: Sequence[Step], delivery: Delivery) -> Run:
    """Make the calls of ``case`` once, with answers cut as ``delivery`` says."""
    server = ReplayServer(case, protocol, delivery)
    async with server.running():
        caller = _Caller(protocol, server, _limits(case, steps))
        outcomes: list[Outcome] = []
        arrived: list[tuple[Arrived, ...]] = []
        try:
            for step in steps:
                seen = len(server.arrived)
                server.window(step.start, step.stop)
                outcomes.append(await caller.make(step))
                arrived.append(tuple(server.arrived[seen:]))
            seen = len(server.arrived)
            server.window(0, len(case.exchanges))
            await caller.tidy()
        finally:
            left = await caller.aclose()
        return Run(
            outcomes=tuple(outcomes),
            arrived=tuple(arrived),
            after=tuple(server.arrived[seen:]),
            left_behind=tuple(left),
        )


def _limits(case: Case, steps: Sequence[Step]) -> Timeouts:
    if _stalls(case, steps):
        return SHORT
    error = case.expected.error
    return BRIEF if isinstance(error, ExpectedError) and error.kind == "truncated" else LONG


def _stalls(case: Case, steps: Sequence[Step]) -> bool:
    """True where the recorded server fell silent, so that one of our limits must end the wait."""
    error = case.expected.error
    if isinstance(error, ExpectedError) and error.kind == "timeout":
        return True
    left = any(step.leave_after is not None for step in steps)
    return not left and any(exchange.response.client_left for exchange in case.exchanges)


class _Caller:
    """The callers of one run: one client for each credential, conversations by thread."""

    def __init__(self, protocol: CaseProtocol, server: ReplayServer, limits: Timeouts) -> None:
        self._protocol = protocol
        self._server = server
        self._timeouts = limits
        self._clients: dict[bytes, Client] = {}
        self._gone: set[str] = set()
        self._threads: dict[str, tuple[Client, str, Conversation]] = {}

    async def make(self, step: Step) -> Outcome:
        """Make one call; where our checks refuse a parameter, once more without it."""
        refusals: list[Trouble] = []
        while True:
            heard = await self._try(step)
            outcome = heard.outcome()
            relaxed = None
            if heard.refused and heard.error is not None:
                relaxed = self._protocol.relaxed(step, heard.error)
            if relaxed is None or outcome.error is None:
                return msgspec.structs.replace(
                    outcome, forgone=step.forgone, refusals=tuple(refusals)
                )
            refusals.append(outcome.error)
            step = relaxed

    async def tidy(self) -> None:
        """Delete the conversations that the calls went on with."""
        for client, model, conversation in self._threads.values():
            if conversation.id is not None and conversation.id not in self._gone:
                label = f"delete conversation {conversation.id}"
                undo = partial(client.delete, model, conversation)
                await client.session.outbox.settle(label, undo)

    async def aclose(self) -> list[str]:
        """Close the clients; returns what they gave up undoing."""
        left: list[str] = []
        for client in self._clients.values():
            left += await client.aclose()
        return left

    async def _try(self, step: Step) -> _Heard:
        seen = len(self._server.arrived)
        heard = _Heard()
        try:
            await self._perform(step, heard)
        except PenstockError as error:
            heard.error = error
            nothing_sent = len(self._server.arrived) == seen
            heard.refused = nothing_sent and isinstance(error, CallerError)
        return heard

    async def _perform(self, step: Step, heard: _Heard) -> None:
        client = self._client(step.access)
        if not isinstance(step.call, Chat):
            listed = await client.models(self._protocol.provider)
            heard.models = tuple(info.id for info in listed)
            return
        before = self._threads.get(step.call.thread or "")
        conversation = heard.conversation = self._conversation(client, step)
        request = ChatRequest(
            model=self._model(step.call),
            messages=step.call.messages,
            sampling=step.call.sampling,
            conversation=conversation,
            tools=step.call.tools,
            extra=step.call.extra,
        )
        stream = heard.stream = client.stream(request)
        stream.whole = step.call.whole
        try:
            async with stream:
                await heard.listen(stream, step.leave_after)
        except PenstockError:
            if before is not None and step.call.thread is not None:
                self._threads[step.call.thread] = before  # a branch that failed leads nowhere
            raise

    def _model(self, call: Chat) -> str:
        return f"{self._protocol.provider}/{call.model}"

    def _client(self, access: Access) -> Client:
        key = msgspec.json.encode(access)
        client = self._clients.get(key)
        if client is None:
            base = ProviderConfig(
                name=self._protocol.provider,
                base_url=self._server.origins[access.host],
                api_key=access.api_key,
                cookies=dict(access.cookies),
                options=dict(access.options),
                dialect=access.dialect,
                timeouts=self._timeouts,
            )
            config = self._protocol.config(base)
            client = self._clients[key] = Client(config=Settings(), providers={config.name: config})
        return client

    def _conversation(self, client: Client, step: Step) -> Conversation | None:
        call = step.call
        assert isinstance(call, Chat)
        if call.thread is None:
            return None
        known = self._threads.get(call.thread)
        if known is None:
            conversation = client.conversation(self._model(call))
        else:
            conversation = known[2]
            conversation.model = call.model
        if call.conversation_id is not None:
            conversation.id = call.conversation_id
            if call.conversation_gone:
                self._gone.add(call.conversation_id)
        if call.pinned and conversation.parent != call.parent:
            conversation = type(conversation).from_dict(conversation.to_dict())
            conversation.parent = call.parent
        if step.access.user is not None and hasattr(conversation, "x_anonymous_user_id"):
            conversation.x_anonymous_user_id = step.access.user
        self._threads[call.thread] = (client, self._model(call), conversation)
        return conversation


class _Heard:
    """What a caller heard during one call."""

    def __init__(self) -> None:
        self.stream: AnswerStream | None = None
        self.conversation: Conversation | None = None
        self.models: tuple[str, ...] | None = None
        self.error: PenstockError | None = None
        self.refused = False
        self.left = False
        self._pieces: list[str] = []
        self._reasoning: list[str] = []

    async def listen(self, stream: AnswerStream, leave_after: int | None) -> None:
        """Listen to the end, or until the caller leaves."""
        if leave_after == 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SIGN):
                    await stream.next_batch()
            self.left = True
            return
        async for event in stream:
            if isinstance(event, Text):
                self._pieces.append(event.text)
            elif isinstance(event, Reasoning):
                self._reasoning.append(event.text)
            if leave_after is not None and len(self._pieces) >= leave_after:
                self.left = True
                return

    def outcome(self) -> Outcome:
        """All of it as a value."""
        error, stream = self.error, self.stream
        finished = stream.finished if stream is not None else None
        trouble = None
        if error is not None:
            trouble = Trouble(
                kind=error.kind,
                status=error.status,
                text=_words(error),
                retry_after=error.retry_after,
            )
        finish = finished.finish_reason if finished is not None else None
        if self.left or (error is not None and error.kind == "cancelled"):
            finish = "cancelled"
        elif error is not None:
            finish = "error"
        return Outcome(
            pieces=tuple(self._pieces),
            reasoning="".join(self._reasoning),
            finish=finish,
            error=trouble,
            left=self.left,
            refused=self.refused,
            parent=self._parent(),
            models=self.models,
            final_text=finished.final_text if finished is not None else None,
            warnings=tuple(notice.code for notice in finished.warnings) if finished else (),
        )

    def _parent(self) -> str | None:
        """Decision 4: of a whole turn the conversation's parent, of a cut one the reply's id."""
        stream = self.stream
        if stream is None:
            return None
        if stream.finished is not None and self.conversation is not None:
            return self.conversation.parent
        return stream.started.id if stream.started is not None else None


def _words(error: PenstockError) -> str:
    words = " ".join(filter(None, (str(error), error.message, error.detail)))
    return _PORT.sub("127.0.0.1", words)  # the same words however often the case is run
