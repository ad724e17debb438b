"""The shell that every provider shares: one call's way to its server.

``Call`` joins the session, the provider's configuration and the call's time limits. It adds no
meaning: requests come from the dialect, answers go back to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TypeVar

from penstock.errors import BadRequestError, PenstockError, ProtocolError, StreamCancelledError
from penstock.provider import ProviderConfig, Sink
from penstock.providers.door import StatusError
from penstock.providers.pump import Pump
from penstock.transport import Limits, Opened, Response, Session, Watch
from penstock.types import Conversation
from penstock.wire.decoder import AnswerDecoder
from penstock.wire.request import HttpRequest, origin_of

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds that a caller who leaves waits for the cleanup; later it goes on in the outbox."""

_DAY = 86_400.0
"""For what is bounded by the call's own limits."""


class Opening:
    """The context of ``Call.open``. A class of its own: every turn goes through it."""

    __slots__ = ("_on_error", "_opened", "_session")

    def __init__(self, session: Session, opened: Opened, on_error: StatusError) -> None:
        self._session = session
        self._opened = opened
        self._on_error = on_error

    async def __aenter__(self) -> Response:
        try:
            response = await self._opened.__aenter__()
            if 200 <= response.status < 300:
                return response
            try:
                body = await response.read_error()
            finally:
                response.free()
            raise self._on_error(response.status, response.headers, body)
        except PenstockError as error:
            self._session.clean(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        await self._opened.__aexit__(kind, error, place)
        if isinstance(error, PenstockError):
            self._session.clean(error)


class Call:
    """One turn's way to its server.

    Attributes:
        session: connections, outbox, memory.
        config: the provider's configuration.
        limits: the time limits of this call; what waits counts.
    """

    def __init__(self, session: Session, config: ProviderConfig) -> None:
        self.session = session
        self.config = config
        self.limits = Limits(config.timeouts)
        self._pump: Pump | None = None

    def again(self) -> Call:
        """A call with fresh time limits, for a cleanup that outlives this one."""
        return Call(self.session, self.config)

    def open(self, request: HttpRequest, on_error: StatusError) -> Opening:
        """Send ``request`` and hand out its answer, whose status is a success.

        Raises (from the context):
            PenstockError: what ``on_error`` made of any other status, and the transport's own.
        """
        opened = self.session.open(self._dressed(request), self.limits, proxy=self.config.proxy)
        return Opening(self.session, opened, on_error)

    async def fetch(self, request: HttpRequest, on_error: StatusError) -> tuple[Response, bytes]:
        """Send ``request`` and read its whole answer.

        Raises:
            PenstockError: as for ``open``.
        """
        response, body = await self.ask(request)
        if not 200 <= response.status < 300:
            with self.session.discreet():
                raise on_error(response.status, response.headers, body)
        return response, body

    async def ask(self, request: HttpRequest) -> tuple[Response, bytes]:
        """Like ``fetch``, but every status is an answer. For cleanups and probes.

        Raises:
            PenstockError: the transport's own. A cancellation closes the connection.
        """
        return await self.session.fetch(
            self._dressed(request), self.limits, proxy=self.config.proxy
        )

    async def delete(self, request: HttpRequest, on_error: StatusError) -> None:
        """Send a deletion; what is gone already is a success.

        Raises:
            PenstockError: the server refused, or could not be reached.
        """
        response, body = await self.ask(request)
        if response.status >= 300 and response.status != 404:
            with self.session.discreet():
                raise on_error(response.status, response.headers, body)
        refuse_page(response)

    def pump(self, response: Response, decoder: AnswerDecoder, watch: Watch | None = None) -> Pump:
        """The events of a streamed answer.

        Args:
            watch: the time limits of its reads, if they are not the call's alone.

        Raises:
            ProtocolError: it is a web page.
        """
        refuse_page(response)
        self._pump = Pump(response, decoder, watch or self.limits.watch(response.abort))
        return self._pump

    async def relay(self, sink: Sink) -> None:
        """Hand on what the latest pump brings; ``penstock.provider.Relaying`` is the contract."""
        if self._pump is not None:
            await self._pump.relay(sink)

    def _dressed(self, request: HttpRequest) -> HttpRequest:
        """``request`` with the configured headers, if it goes to the server's own origin."""
        base = self.config.base_url
        if not self.config.headers or base is None or origin_of(base) != origin_of(request.url):
            return request
        return request.with_headers(*self.config.headers.items())


def refuse_page(response: Response) -> None:
    """Refuse a web page with a success status: a bot wall, or a gateway in front (row 32).

    Raises:
        ProtocolError: it is one.
    """
    if response.content_type == "text/html" and response.status != 404:
        raise ProtocolError("a web page came instead of an answer", status=response.status)


async def to_its_end(
    session: Session,
    label: str,
    make: Callable[[], Awaitable[T]],
    *,
    late: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """What ``make`` makes on the server, made in the outbox, so that it is known in any case.

    A cancellation passes through at once. ``make`` goes on, and notes what it made where it can be
    undone: by whoever leaves, if it is there by then, else by ``late``.

    Args:
        label: what is undone or made, for people.
        make: sends the request; it is never begun a second time.
        late: undoes what was made after the caller had left.

    Raises:
        PenstockError: the server refused.
        StreamCancelledError: the session was closed meanwhile.
    """
    outcome: list[T | PenstockError] = []
    left = False

    async def run() -> None:
        try:
            outcome.append(await make())
        except PenstockError as error:
            outcome.append(error)
            return
        if left and late is not None:
            await late()

    try:
        await session.outbox.settle(label, run, wait=_DAY, limit=_DAY, once=True)
    except BaseException:
        left = True
        raise
    result = outcome[0] if outcome else StreamCancelledError("the session was closed meanwhile")
    if isinstance(result, PenstockError):
        raise result
    return result


def patience() -> float:
    """Seconds to wait for an undo: none for a task that is being cancelled, which goes at once."""
    task = asyncio.current_task()
    return 0.0 if task is not None and task.cancelling() else _PATIENCE


@asynccontextmanager
async def usable(session: Session) -> AsyncIterator[Session]:
    """``session``, or one like it for as long as this lasts where it is closed already.

    For what a caller does with a conversation after the call that made it has ended.
    """
    if not session.closed:
        yield session
        return
    async with session.like() as fresh:
        yield fresh


class Stateless:
    """What a provider says of conversations whose server keeps nothing between two requests.

    Attributes:
        name: the name in model names and errors.
    """

    name: str

    def conversation(self, model: str) -> Conversation:
        """Refused.

        Raises:
            BadRequestError: the protocol has no conversations.
        """
        raise BadRequestError(
            "this provider has no native conversations; send the history as messages",
            provider=self.name,
            model=model,
            param="conversation",
        )

    async def delete(self, conversation: Conversation) -> None:
        """Nothing is kept on the server, so nothing is to be deleted."""
