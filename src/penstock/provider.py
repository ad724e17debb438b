"""The contract of every provider. Plug-ins need nothing else.

``stream(request)`` returns an async context manager. Nothing happens before it is entered;
entering may do I/O; inside, batches of events arrive: all events of one network read as one
sequence. The last event is exactly one ``Finished``, or a ``PenstockError`` is raised. Leaving the
context, however it is left, frees the connection and undoes on the remote server what a one-shot
call did there. The iterator owns nothing and may be dropped.

A provider never repeats a turn, never reads the environment, never prints and stores nothing.
Waits that belong to its protocol (polling, resuming a stream, a redirect) are its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

import msgspec

from penstock.types import (
    Capabilities,
    ChatRequest,
    Conversation,
    Event,
    ModelInfo,
    Timeouts,
    Value,
)

Batch = Sequence[Event]
EventStream = AbstractAsyncContextManager[AsyncIterator[Batch]]
Sink = Callable[[Batch], bool]
"""Takes a batch without waiting; False where it wants no more for now. That batch is taken, too."""


class Relaying(Protocol):
    """What an iterator of batches may offer beside iterating; a plug-in need not."""

    async def relay(self, sink: Sink) -> None:
        """Hand the batches that come to ``sink``, from within the reads that bring them.

        Only such as end with a piece of the answer are handed on, and only to whoever waits here.
        It returns when ``sink`` wants no more, and as soon as there is something that iterating
        must tell: the end, a failure, the need of another request. It may return at once, having
        done nothing. Nothing is lost and nothing comes twice: iterating goes on where this stops.

        Raises:
            CancelledError: passes through at once.
        """


def relay_of(batches: AsyncIterator[Batch]) -> Callable[[Sink], Awaitable[None]] | None:
    """The method of ``Relaying``, where ``batches`` has it."""
    return getattr(batches, "relay", None)


class ProviderConfig(Value, kw_only=True, frozen=True):
    """What a provider is told at its making. Its ``repr`` shows no secret.

    Attributes:
        name: the name the provider goes by in model names and errors.
        base_url: origin, with an optional path prefix, of the server; None for the vendor's own.
        api_key: credential, where the vendor uses one.
        cookies: session cookies, where the site uses them.
        headers: further headers, sent with every request to the server's own origin.
        proxy: URL of a proxy for every request of this provider.
        dialect: forces a wire protocol; None lets the provider find out.
        timeouts: time limits.
        trusted_hosts: further hosts that the server may name in URLs.
        models: ids to offer instead of the built-in ones.
        options: settings of this provider alone; an unknown one is refused by the provider.
    """

    name: str
    base_url: str | None = None
    api_key: str | None = None
    cookies: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    proxy: str | None = None
    dialect: str | None = None
    timeouts: Timeouts = Timeouts()
    trusted_hosts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        shown = {
            name: value
            for name in ("name", "base_url", "dialect", "models")
            if (value := getattr(self, name))
        }
        inner = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"ProviderConfig({inner})"

    def with_(self, **changes: Any) -> ProviderConfig:
        """The same configuration with changes."""
        return msgspec.structs.replace(self, **changes)


class SessionConfig(Value, kw_only=True, frozen=True):
    """How a session connects.

    Attributes:
        proxy: URL of an HTTP or SOCKS proxy, credentials in it allowed; never shown.
        no_proxy: hosts that are reached directly; ``*`` for all, ``.example.org`` for a domain,
            ``10.0.0.0/8`` for the addresses of a network.
        ca_bundle: path of a file with further certificate authorities.
        connections: most connections open at a time, over all hosts.
    """

    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_bundle: str | None = None
    connections: int = 1000

    def __repr__(self) -> str:
        return f"SessionConfig(proxy={'***' if self.proxy else None}, ca_bundle={self.ca_bundle!r})"


@runtime_checkable
class Provider(Protocol):
    """An adapter for one kind of server."""

    @property
    def name(self) -> str:
        """The name in model names and errors."""

    @property
    def capabilities(self) -> Capabilities:
        """What can be honoured; ``stream`` checks a request against it before sending."""

    def stream(self, request: ChatRequest) -> EventStream:
        """Answer one turn; the module's docstring is the contract.

        Raises (from entering or iterating):
            PenstockError: the one bad end. ``CancelledError`` passes through untouched.
        """

    async def models(self) -> Sequence[ModelInfo]:
        """The models on offer; asks the server where it has such a question.

        Raises:
            PenstockError: the server could not be asked.
        """

    def conversation(self, model: str) -> Conversation:
        """A new native conversation, nothing sent yet.

        Raises:
            BadRequestError: the protocol has none.
        """

    async def delete(self, conversation: Conversation) -> None:
        """Delete the remote side of ``conversation``; one that is gone is a success.

        Raises:
            PenstockError: the server refused.
        """
