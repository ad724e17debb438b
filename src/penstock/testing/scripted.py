"""A provider whose answers are written down: the seam for tests of what uses a provider.

``ScriptedProvider`` keeps the contract of ``penstock.provider`` and remembers what happened to it,
so that a test can prove both sides: what the caller saw, and that nothing was left open here.

    provider = ScriptedProvider(["Hel", "lo"], [OverloadedError("no free slot")])
    async with provider.ask("Hi") as answer:
        assert [piece async for piece in answer.text()] == ["Hel", "lo"]

Nothing sleeps unless a script says so: ``Hold`` stops an answer at a place that the test can wait
for, and go on from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from penstock.errors import ConfigError, PenstockError
from penstock.prompts import parse_messages
from penstock.provider import Batch
from penstock.stream import AnswerStream
from penstock.types import (
    Capabilities,
    ChatRequest,
    Conversation,
    Event,
    Finished,
    Messages,
    ModelInfo,
    Text,
    Value,
)


class Pause(Value, frozen=True):
    """Wait for so many seconds."""

    seconds: float


class Hold:
    """A place in a script where the answer stops until it is let go.

    One hold serves one answer.
    """

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        """Wait until the answer has come to this place."""
        await self._reached.wait()

    def release(self) -> None:
        """Let the answer go on."""
        self._released.set()

    async def _pass(self) -> None:
        self._reached.set()
        await self._released.wait()


Item = str | Event | Sequence[Event] | PenstockError | Pause | Hold
"""A piece of text, an event, a batch of events, an error, or a wait."""

Script = Sequence[Item]
"""One answer. Where neither ``Finished`` nor an error ends it, it ends well."""


class Asked(msgspec.Struct):
    """One call that came.

    Attributes:
        request: as it came.
        end: how its stream was left: ``finished``, ``error``, or ``left`` before its end; empty
            while it is open.
    """

    request: ChatRequest
    end: str = ""


class ScriptedProvider:
    """Answers from scripts, one after the other.

    Args:
        scripts: the answers, in the order of the calls.
        name: the provider's name.
        models: ids it offers.
        capabilities: what it says of itself; nothing is checked against it here.

    Attributes:
        asked: the calls that came.
        deleted: the conversations that were deleted.
    """

    def __init__(
        self,
        *scripts: Script,
        name: str = "scripted",
        models: Sequence[str] = ("script",),
        capabilities: Capabilities | None = None,
    ) -> None:
        self.asked: list[Asked] = []
        self.deleted: list[Conversation] = []
        self._scripts = scripts
        self._name = name
        self._models = tuple(models)
        self._capabilities = capabilities or Capabilities(
            conversations=True, images=True, reasoning=True, tools=True, extra=None
        )

    @property
    def name(self) -> str:
        """The name in model names and errors."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What it says of itself."""
        return self._capabilities

    @property
    def open(self) -> int:
        """How many answers are open now."""
        return sum(1 for asked in self.asked if not asked.end)

    def ask(self, messages: Messages, conversation: Conversation | None = None) -> AnswerStream:
        """Ask as a caller does, without a client between."""
        request = ChatRequest(
            model=self._models[0],
            messages=parse_messages(messages),
            conversation=conversation,
        )
        return AnswerStream(lambda: self.stream(request), provider=self._name, model=request.model)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Batch]]:
        """Answer with the next script.

        Raises:
            ConfigError: there is no script left.
            PenstockError: the script says so.
        """
        number = len(self.asked)
        if number >= len(self._scripts):
            raise ConfigError(
                f"the script holds {len(self._scripts)} answers; this is call {number + 1}",
                provider=self._name,
            )
        asked = Asked(request)
        self.asked.append(asked)
        try:
            yield self._batches(self._scripts[number], asked)
        finally:
            asked.end = asked.end or "left"

    async def _batches(self, script: Script, asked: Asked) -> AsyncIterator[Batch]:
        for item in script:
            if isinstance(item, Hold):
                await item._pass()  # noqa: SLF001 - its own other half
            elif isinstance(item, Pause):
                await asyncio.sleep(item.seconds)
            elif isinstance(item, PenstockError):
                asked.end = "error"
                raise item
            else:
                batch = _batch(item)
                if any(isinstance(event, Finished) for event in batch):
                    asked.end = "finished"
                yield batch
                if asked.end:
                    return
        asked.end = "finished"
        yield [Finished(conversation=asked.request.conversation)]

    async def models(self) -> Sequence[ModelInfo]:
        """The models it was made with."""
        return [ModelInfo(id=model) for model in self._models]

    def conversation(self, model: str) -> Conversation:
        """A new conversation."""
        return Conversation(model=model)

    async def delete(self, conversation: Conversation) -> None:
        """Remember that this conversation was deleted."""
        self.deleted.append(conversation)


def _batch(item: str | Event | Sequence[Event]) -> Batch:
    if isinstance(item, str):
        return [Text(item)]
    return [item] if isinstance(item, msgspec.Struct) else list(item)
