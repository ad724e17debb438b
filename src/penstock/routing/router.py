"""The router: one stream over several targets.

Laws:
* before the commit point - the first event that shows something of the answer - a failure may
  lead to another try; after it, it is raised;
* batches before the commit point hold only ``Waiting`` and ``Started``. They are handed on, and
  may be of a try that then fails;
* a ``Routed`` owns the tries and is left like every stream; its iterator owns nothing;
* a target without rules has a shorter way (``routing.single``): no task, no timer and no lock.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType

import msgspec

from penstock.config.routing import Routing
from penstock.errors import BadRequestError, Kind, PenstockError
from penstock.observe import Breaker, Observer, RequestEnded, Route, silent
from penstock.provider import Batch
from penstock.routing import policy
from penstock.routing.attempt import Attempt, Cleaner, commits
from penstock.routing.batches import Batches
from penstock.routing.journey import Journey, Means, ProviderOf
from penstock.routing.lane import Lane
from penstock.routing.plan import Plan, Target, ordered, plan_of
from penstock.routing.race import Race
from penstock.routing.single import Single
from penstock.routing.standing import Standings
from penstock.types import ChatRequest, Conversation, Timeouts

_PLANS = 1000
"""How many plans are remembered: callers may make up names."""


class Router:
    """Streams by the name of a model, an alias or a pool. For one event loop.

    Args:
        provider_of: name of a provider, and time limits to set over its own -> provider.
        routing: the rules.
        clock: seconds, monotonic.
        chance: random numbers from 0 to 1.
        observer: is told of tries, requests and breakers.
        clean: applied to every error before it is told or kept.
    """

    def __init__(
        self,
        provider_of: ProviderOf,
        routing: Routing,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        observer: Observer = silent,
        clean: Cleaner = lambda _: None,
    ) -> None:
        self._routing = routing
        self._standings = Standings(routing, clock, observer)
        wants = getattr(observer, "wants_request_ends", True) is not False
        ends = wants and observer is not silent
        self._means = Means(provider_of, self._standings, clock, chance, observer, clean, {}, ends)
        self._turns: dict[str, int] = {}
        self._plans: dict[str, Plan] = {}

    def adopt(self, routing: Routing) -> None:
        """Go by other rules from now on; streams under way go on, what is known stays."""
        self._routing = routing
        self._plans.clear()
        self._standings.adopt(routing)

    def plan(self, model: str) -> Plan:
        """What the name of a model stands for. Whether its provider exists is not looked at."""
        plan = self._plans.get(model)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = self._plans[model] = plan_of(model, self._routing)
        return plan

    def breakers(self) -> dict[str, Breaker]:
        """Target -> state of its breaker, for those with rules that were asked."""
        return self._standings.breakers()

    def stream(
        self,
        model: str,
        request: ChatRequest,
        *,
        request_id: str = "",
        timeouts: Timeouts | Mapping[str, float | None] | None = None,
    ) -> Routed | Single:
        """The answer to ``request``; its ``model`` is replaced by that of the target.

        It is entered as soon as a target was asked; where a second one may be asked beside it, at
        once.

        Args:
            model: ``provider/model``, an alias, or a pool.
            timeouts: limits of this call, over those of the pool and the providers; ``total``
                covers all tries together.
        """
        plan = self.plan(model)
        limits: Mapping[str, float | None] = plan.pool.timeouts
        if timeouts is not None:
            limits = {**limits, **_given(timeouts)}
        if not plan.pooled and self._standings.of(plan.targets[0]) is None:
            return Single(self._means, model, plan.targets[0], request, request_id, limits)
        if plan.pool.retries or plan.pool.hedge is not None:
            budgets = self._means.budgets
            budgets[plan.name] = policy.paid_in(budgets.get(plan.name, policy.RESERVE))
        journey = Journey(
            self._means, plan, self._order(plan, request), request, request_id, limits
        )
        return Routed(model, journey, self._means)

    def _order(self, plan: Plan, request: ChatRequest) -> list[Target]:
        if not plan.pooled:
            return list(plan.targets)
        conversation = request.conversation
        targets = plan.targets if conversation is None else self._own(plan, conversation)
        turn = self._turns.get(plan.name, 0)
        self._turns[plan.name] = turn + 1
        return ordered(targets, plan.pool.strategy, turn=turn, busy=self._busy, rests=self._rests)

    def _busy(self, target: Target) -> int:
        standing = self._standings.of(target)
        return 0 if standing is None else standing.under_way

    def _rests(self, target: Target) -> bool:
        standing = self._standings.of(target)
        return standing is not None and standing.rests

    def _own(self, plan: Plan, conversation: Conversation) -> tuple[Target, ...]:
        """The targets that a native conversation can go on with: its ids are one server's."""
        own = tuple(target for target in plan.targets if self._fits(target, conversation))
        if not own:
            raise BadRequestError(
                f"no target of {plan.name} can go on with this conversation", param="conversation"
            )
        return own

    def _fits(self, target: Target, conversation: Conversation) -> bool:
        try:
            made = self._means.provider_of(target.provider).conversation(target.model)
        except PenstockError:
            return False
        return type(made) is type(conversation) and conversation.model in ("", made.model)


def _given(timeouts: Timeouts | Mapping[str, float | None]) -> Mapping[str, float | None]:
    return msgspec.structs.asdict(timeouts) if isinstance(timeouts, Timeouts) else timeouts


class Routed:
    """One routed answer: a context manager that owns it, as every provider's stream is.

    Attributes:
        answering: the try that has shown something of its answer, and from which the rest comes.
    """

    __slots__ = (
        "_first_at",
        "_hedge",
        "_journey",
        "_kind",
        "_lane",
        "_means",
        "_model",
        "_route",
        "answering",
    )

    def __init__(self, model: str, journey: Journey, means: Means) -> None:
        self._model = model
        self._journey = journey
        self._means = means
        self._lane = Lane(journey)
        self._hedge = journey.hedge_after
        self._kind: Kind | None = "cancelled"
        self._first_at: float | None = None
        self._route: Route | None = None
        self.answering: Attempt | None = None

    @property
    def route(self) -> Route:
        """The way so far; it changes no more once a piece of the answer has come."""
        if self._route is not None:
            return self._route
        route = self._journey.route(self._lane.attempt)
        if self._first_at is not None:
            self._route = route
        return route

    async def __aenter__(self) -> AsyncIterator[Batch]:
        try:
            if self._hedge is None:
                await self._lane.enter()
        except BaseException as error:
            if isinstance(error, PenstockError):
                self.note(error)
            await self.__aexit__(None, None, None)
            raise
        return Batches(self)

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _place: TracebackType | None,
    ) -> None:
        if self._journey.left:
            return
        attempt = self._lane.attempt
        if attempt is not None and attempt.finished is not None:
            self._kind = None
        try:
            await self._journey.leave()
        finally:
            self._tell_end()

    async def first(self) -> Batch:
        """The next batch, up to the one that shows something of the answer.

        Raises:
            PenstockError: there is nothing more to try.
        """
        if self._hedge is None:
            batch = await self._lane.advance()
        else:
            delay = self._journey.begun + self._hedge - self._means.clock()
            self._lane, batch = await Race(self._journey, self._lane, max(delay, 0.0)).run()
        if commits(batch):
            self._first_at = self._means.clock()
            self.answering = self._lane.attempt
            assert self.answering is not None
            self.answering.commit(batch)
        return batch

    def note(self, error: PenstockError) -> None:
        """Note why the answer fails."""
        self._kind = error.kind
        attempt = self._lane.attempt
        if self._first_at is not None and attempt is not None:
            attempt.failed(error)

    def _tell_end(self) -> None:
        if not self._means.tells_ends:
            return
        now, begun = self._means.clock(), self._journey.begun
        self._means.observer(
            RequestEnded(
                self._journey.request_id,
                self._model,
                self.route,
                now,
                self._kind,
                None if self._first_at is None else self._first_at - begun,
                now - begun,
            )
        )
