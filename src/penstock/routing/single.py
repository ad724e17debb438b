"""One target without rules: it is asked once, and how it fails is how the request fails.

Most requests are such. What is told and raised is what ``routing.router`` would tell and raise; but
as nothing can follow a failure, nothing is kept for what might.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType

import msgspec

from penstock.errors import PenstockError, StreamCancelledError
from penstock.observe import Failure, RequestEnded, Route
from penstock.provider import Batch, EventStream
from penstock.routing.attempt import Attempt, commits
from penstock.routing.batches import LEFT, Batches
from penstock.routing.journey import Means
from penstock.routing.plan import Target
from penstock.types import ChatRequest


class Single:
    """The one try of a request: a context manager that owns it.

    Args:
        model: the name that the caller used.
        limits: name of a time limit -> seconds, where they are not the provider's own.

    Attributes:
        route: the way so far; it changes no more once a piece of the answer has come.
        answering: the try, once it has shown something of its answer.
    """

    __slots__ = (
        "_attempt",
        "_left",
        "_limits",
        "_means",
        "_model",
        "_request",
        "_request_id",
        "_target",
        "answering",
        "route",
    )

    def __init__(
        self,
        means: Means,
        model: str,
        target: Target,
        request: ChatRequest,
        request_id: str,
        limits: Mapping[str, float | None],
    ) -> None:
        self.route = Route()
        self._means = means
        self._model = model
        self._target = target
        self._request = request
        self._request_id = request_id
        self._limits = limits
        self._attempt: Attempt | None = None
        self._left = False
        self.answering: Attempt | None = None

    async def __aenter__(self) -> AsyncIterator[Batch]:
        if self._left:
            raise StreamCancelledError(LEFT)
        means, target = self._means, self._target
        attempt = self._attempt = Attempt(
            target,
            self._open,
            None,
            request_id=self._request_id,
            number=1,
            clock=means.clock,
            observer=means.observer,
            clean=means.clean,
        )
        self.route = Route(target.name, 1)
        try:
            await attempt.enter()
        except BaseException as error:
            if isinstance(error, PenstockError):
                self.note(error)
            await self.__aexit__(None, None, None)
            raise
        return Batches(self)

    def _open(self) -> EventStream:
        target, provider_of, limits = self._target, self._means.provider_of, self._limits
        provider = provider_of(target.provider, limits) if limits else provider_of(target.provider)
        return provider.stream(msgspec.structs.replace(self._request, model=target.model))

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _place: TracebackType | None,
    ) -> None:
        attempt, left, self._left = self._attempt, self._left, True
        if attempt is None or left:
            return
        try:
            await attempt.leave()
        finally:
            self._tell_end(attempt)

    async def first(self) -> Batch:
        """The next batch, up to the one that shows something of the answer.

        Raises:
            PenstockError: the target failed, or another task has left the answer.
        """
        attempt = self._attempt
        assert attempt is not None
        batch = await attempt.next()
        if commits(batch):
            attempt.commit(batch)
            self.answering = attempt
        return batch

    def note(self, error: PenstockError) -> None:
        """Note why the answer fails.

        Raises:
            StreamCancelledError: another task has left it, and what was met then says nothing.
        """
        if self._left:
            raise StreamCancelledError(LEFT) from None
        attempt = self._attempt
        assert attempt is not None
        attempt.failed(error)
        if not attempt.committed:
            target = self._target.name
            self.route = Route(target, 1, (Failure(target, error.kind, error.message),))

    def _tell_end(self, attempt: Attempt) -> None:
        means = self._means
        if not means.tells_ends:
            return
        now, begun, first = means.clock(), attempt.begun, attempt.first_at
        means.observer(
            RequestEnded(
                self._request_id,
                self._model,
                self.route,
                now,
                attempt.kind,
                None if first is None else first - begun,
                now - begun,
            )
        )
