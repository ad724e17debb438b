"""One request's way through its targets: who is asked next, and what follows a failure.

A ``Journey`` holds what the tries of one request share. No target is asked twice but where the
policy says so, also where two lanes go through the list at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

import msgspec

from penstock.errors import OverloadedError, PenstockError, RateLimitError, StreamCancelledError
from penstock.observe import Failure, Observer, Route
from penstock.provider import EventStream, Provider
from penstock.routing import policy
from penstock.routing.attempt import Attempt, Cleaner
from penstock.routing.limits import Waiter, tokens_of, turn, useful
from penstock.routing.plan import Plan, Target
from penstock.routing.policy import Again, Situation, Stop
from penstock.routing.standing import Permit, Standing, Standings
from penstock.types import ChatRequest


class ProviderOf(Protocol):
    """Provider name -> provider, with other time limits than the configured ones where given."""

    def __call__(self, name: str, timeouts: Mapping[str, float | None] = ..., /) -> Provider:
        """The provider of that name.

        Raises:
            PenstockError: there is none, or it is not configured as it needs.
        """


class Means(msgspec.Struct, frozen=True):
    """What every journey of a router uses.

    Attributes:
        chance: a random number from 0 to 1.
        tells_ends: the observer takes note of the ends of requests.
        budgets: pool -> what is left for asking again.
    """

    provider_of: ProviderOf
    standings: Standings
    clock: Callable[[], float]
    chance: Callable[[], float]
    observer: Observer
    clean: Cleaner
    budgets: dict[str, float]
    tells_ends: bool


class Journey:
    """What the tries of one request share.

    Args:
        order: the targets in the order to be asked.
        limits: name of a time limit -> seconds, where they are not the provider's own.

    Attributes:
        stopped: no other target can help.
        left: the caller has left; nothing is begun any more.
        hedge_after: seconds after which a second lane begins; None for never.
    """

    __slots__ = (
        "_begun",
        "_errors",
        "_failures",
        "_key",
        "_left",
        "_limits",
        "_means",
        "_pool",
        "_refusals",
        "_request",
        "_request_id",
        "_tries",
        "hedge_after",
        "left",
        "stopped",
    )

    def __init__(
        self,
        means: Means,
        plan: Plan,
        order: Sequence[Target],
        request: ChatRequest,
        request_id: str,
        limits: Mapping[str, float | None],
    ) -> None:
        self.stopped = False
        self.left = False
        hedged = len(order) > 1 and request.conversation is None
        self.hedge_after = plan.pool.hedge if hedged else None
        self._means = means
        self._pool, self._key = plan.pool, plan.name
        self._left = list(order)
        self._request = request
        self._request_id = request_id
        self._limits = limits
        self._begun = means.clock()
        self._tries: list[Attempt] = []
        self._failures: list[Failure] = []
        self._errors: list[PenstockError] = []
        self._refusals: list[PenstockError] = []

    async def leave(self) -> None:
        """Leave all tries and begin no more."""
        self.left = True
        for attempt in self._tries:
            await attempt.leave()

    def route(self, answering: Attempt | None) -> Route:
        """The way so far; where nobody answers yet, to the last one tried."""
        attempt = answering or (self._tries[-1] if self._tries else None)
        target = "" if attempt is None else attempt.target.name
        return Route(target, len(self._tries), tuple(self._failures))

    @property
    def request_id(self) -> str:
        """The id that the caller gave."""
        return self._request_id

    @property
    def begun(self) -> float:
        """The instant of the request."""
        return self._begun

    # -- whom to ask ---------------------------------------------------------------------------

    def hedge(self) -> Attempt | None:
        """A try beside the one under way; None where none is to be had, or the budget is empty."""
        if self._budget() < 1.0:
            return None
        attempt = self._found(self._left, None)
        if attempt is not None:
            self._pay()
        return attempt

    def begin(self, again: Target | None) -> Attempt | None:
        """A try at ``again``, or at the first target left that takes one now; None if none does."""
        return self._found(self._left if again is None else [again, *self._left], None)

    async def wait(self, again: Target | None) -> Attempt:
        """The same after a wait for the limits.

        Raises:
            PenstockError: no target is left.
        """
        targets = self._left if again is None else [again, *self._left]
        found = await self._waited(targets)
        if found is None:
            raise self._refused(targets)
        if self.left:
            await found.leave()
            raise StreamCancelledError("the answer was left while it waited for its turn")
        return found

    async def _waited(self, targets: Sequence[Target]) -> Attempt | None:
        open_to = [at for at in map(self._standing, targets) if at is not None and at.allows()]
        patience = self._within_total(max((at.patience for at in open_to), default=0.0))
        gates = dict.fromkeys(gate for at in open_to for gate in at.gates)
        found: list[Attempt] = []

        def look(waiter: Waiter, left: float) -> float | None:
            attempt = self._found(targets, waiter)
            if attempt is not None:
                found.append(attempt)
                return 0.0
            return useful([self._delay(at, waiter) for at in open_to if at.allows()], left)

        if await turn(look, list(gates), clock=self._means.clock, patience=patience):
            return found[0]
        return None

    def _found(self, targets: Sequence[Target], waiter: Waiter | None) -> Attempt | None:
        for target in targets:
            at = self._standing(target)
            if at is None:
                return self._begin(target, None)
            if at.allows() and self._delay(at, waiter) == 0.0:
                return self._begin(target, at.take(self._tokens(at)))
        return None

    def _begin(self, target: Target, permit: Permit | None) -> Attempt:
        if target in self._left:
            self._left.remove(target)
        number = len(self._tries) + 1
        attempt = Attempt(
            target,
            lambda: self._open(target, number),
            permit,
            request_id=self._request_id,
            number=number,
            clock=self._means.clock,
            observer=self._means.observer,
            clean=self._means.clean,
        )
        self._tries.append(attempt)
        return attempt

    def _open(self, target: Target, number: int) -> EventStream:
        limits = self._limits
        total = limits.get("total")
        if total is not None and number > 1:
            limits = {**limits, "total": max(self._within_total(total), 0.001)}
        provider_of = self._means.provider_of
        provider = provider_of(target.provider, limits) if limits else provider_of(target.provider)
        return provider.stream(msgspec.structs.replace(self._request, model=target.model))

    def _refused(self, targets: Sequence[Target]) -> PenstockError:
        for target in targets:
            at = self._standing(target)
            if at is not None:
                error = self._refusal(target, at)
                self._refusals.append(error)
                self._failures.append(Failure(target.name, error.kind, error.message, tried=False))
        self._left.clear()
        return policy.outcome([*self._refusals, *self._errors])

    def _refusal(self, target: Target, at: Standing) -> PenstockError:
        if not at.allows():
            seconds = at.closed_for()
            return OverloadedError(
                f"{target.name} has been failing and is left alone for a while",
                provider=target.provider,
                model=target.model,
                retry_after=seconds or None,
            )
        seconds = self._delay(at, None)
        if seconds == inf:
            return OverloadedError(
                f"{target.name} answers as many requests as it may at a time",
                provider=target.provider,
                model=target.model,
            )
        return RateLimitError(
            f"{target.name} got as much in this minute as it may",
            provider=target.provider,
            model=target.model,
            retry_after=seconds,
        )

    # -- what follows a failure ----------------------------------------------------------------

    async def after(self, attempt: Attempt, error: PenstockError, asked: int) -> Target | None:
        """Wait where that is to be done, and return the target to ask again, or None for the next.

        Raises:
            PenstockError: there is nothing more to try.
        """
        target = attempt.target
        self._errors.append(error)
        self._failures.append(Failure(target.name, error.kind, error.message))
        step = policy.decide(
            error,
            Situation(
                committed=attempt.committed,
                asked=asked,
                retries=self._pool.retries,
                longest=self._within_total(self._pool.retry_wait),
                budget=self._budget(),
                others=bool(self._left) and self._within_total(inf) > 0.0,
                chance=self._means.chance() if self._pool.retries else 1.0,
            ),
        )
        if isinstance(step, Again):
            self._pay()
            await asyncio.sleep(step.wait)
            return target
        if isinstance(step, Stop):
            self.stopped = policy.is_final(error)
            raise error if self.stopped else policy.outcome([*self._refusals, *self._errors])
        return None

    def _budget(self) -> float:
        return self._means.budgets.get(self._key, policy.RESERVE)

    def _pay(self) -> None:
        self._means.budgets[self._key] = self._budget() - 1.0

    # -- facts ---------------------------------------------------------------------------------

    def _standing(self, target: Target) -> Standing | None:
        return self._means.standings.of(target)

    def _delay(self, at: Standing, waiter: Waiter | None) -> float:
        return at.delay(self._tokens(at), waiter)

    def _tokens(self, at: Standing) -> float:
        return tokens_of(self._request) if at.counts_tokens else 0.0

    def _within_total(self, seconds: float) -> float:
        """``seconds``, or what is left of the limit on the whole request if that is less."""
        total = self._limits.get("total")
        if total is None:
            return seconds
        return max(min(seconds, total - (self._means.clock() - self._begun)), 0.0)
