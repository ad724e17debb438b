"""The same client for scripts, notebooks and threads.

Calls run in the process's one portal thread; no event loop of the caller is touched, so all of
this works inside a running loop, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, Unpack

from penstock import client as async_client
from penstock.client import CallParameters, ClientArguments
from penstock.config import Settings
from penstock.portal import portal
from penstock.stream import AnswerStream, Facts
from penstock.types import (
    ChatRequest,
    Conversation,
    Event,
    Messages,
    ModelInfo,
    Reply,
    Text,
)


class Client:
    """The sync twin of ``penstock.Client``; arguments are the same.

    ``with penstock.sync.Client() as client``. It may be used by several threads at once.

    Raises:
        ConfigError: the configuration is wrong.
    """

    def __init__(self, **arguments: Unpack[ClientArguments]) -> None:
        self._open = False
        portal.acquire(self)
        try:
            self._client = portal.call(lambda: _made(arguments))
        except BaseException:
            portal.release(self)
            raise
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._open:
            portal.discard(self._client.aclose)

    def close(self) -> list[str]:
        """Finish the cleanups and close all connections; returns what could not be undone."""
        if not self._open:
            return []
        self._open = False
        try:
            return portal.call(self._client.aclose)
        finally:
            portal.release(self)

    def stream(
        self,
        model: str | ChatRequest,
        messages: Messages = (),
        **parameters: Unpack[CallParameters],
    ) -> Answer:
        """As ``penstock.Client.stream``; the answer is a plain iterator of events."""
        return Answer(self._client.stream(model, messages, **parameters), self)

    def complete(
        self,
        model: str | ChatRequest,
        messages: Messages = (),
        **parameters: Unpack[CallParameters],
    ) -> Reply:
        """As ``penstock.Client.complete``."""
        return portal.call(lambda: self._client.complete(model, messages, **parameters))

    def models(self, provider: str | None = None) -> list[ModelInfo]:
        """As ``penstock.Client.models``."""
        return portal.call(lambda: self._client.models(provider))

    @property
    def open(self) -> bool:
        """False once it was closed."""
        return self._open

    @property
    def settings(self) -> Settings:
        """What was configured."""
        return self._client.settings

    def resolve(self, model: str) -> tuple[str, str]:
        """As ``penstock.Client.resolve``."""
        return self._client.resolve(model)

    def conversation(self, model: str, saved: Mapping[str, Any] | None = None) -> Conversation:
        """As ``penstock.Client.conversation``.

        ``client.delete(model, conversation)`` deletes it; its own ``delete`` is for async code.
        """
        return self._client.conversation(model, saved)

    def delete(self, model: str, conversation: Conversation) -> None:
        """As ``penstock.Client.delete``."""
        portal.call(lambda: self._client.delete(model, conversation))


class Answer(Facts):
    """One answer: an iterator of events and a context manager; see ``AnswerStream``.

    One network read crosses the threads as one batch, not one hop for each token.
    """

    def __init__(self, stream: AnswerStream, client: Client) -> None:
        self._stream = stream
        self._client = client
        self._queue: Iterator[Event] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while True:
            for event in self._queue:
                return event
            batch = portal.call(self._stream.next_batch)
            if batch is None:
                raise StopIteration
            self._queue = iter(batch)

    def text(self) -> Iterator[str]:
        """The pieces of text, exactly as they came."""
        for event in self:
            if isinstance(event, Text):
                yield event.text

    def reply(self) -> Reply:
        """Read to the end and return the whole answer."""
        return portal.call(self._stream.reply)

    def close(self) -> None:
        """Leave the answer; before its end this stops the remote side."""
        if self._client.open:  # else the client has left it
            portal.call(self._stream.aclose)


async def _made(arguments: ClientArguments) -> async_client.Client:
    return async_client.Client(**arguments)
