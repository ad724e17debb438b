"""How targets stand: their breakers, their limits, and what is under way there.

A target that has neither has no ``Standing``; a request for it costs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.config.routing import BreakerRules, Routing
from penstock.errors import PenstockError
from penstock.observe import Breaker, BreakerChanged, Observer
from penstock.routing import breaker
from penstock.routing.breaker import CLOSED, State
from penstock.routing.limits import Gate, Waiter, delay_of
from penstock.routing.plan import Target

REST_MOST = 300.0
"""Seconds for which a target is asked last because its server asked for a pause."""

MOST = 1000
"""How many targets are remembered. Callers make up names where a provider takes any model."""


class Standing:
    """How one target stands.

    Args:
        rules: None where it has no breaker.
        gates: its own limits and those of its provider.

    Attributes:
        under_way: requests that were taken here and have not left.
    """

    def __init__(
        self,
        name: str,
        rules: BreakerRules | None,
        gates: Sequence[Gate],
        clock: Callable[[], float],
        observer: Observer,
    ) -> None:
        self.under_way = 0
        self.rules = rules
        self.gates = tuple(gates)
        self._name = name
        self._clock = clock
        self._observer = observer
        self._state: State = CLOSED
        self._rests_until = 0.0

    @property
    def breaker(self) -> Breaker:
        """The state of its breaker."""
        return breaker.word(self._state)

    @property
    def rests(self) -> bool:
        """Its server asked for a pause that is not over."""
        return self._rests_until > self._clock()

    @property
    def patience(self) -> float:
        """Seconds that a request may wait here for its turn."""
        return min((gate.limits.wait for gate in self.gates), default=0.0)

    @property
    def counts_tokens(self) -> bool:
        """There is a limit on tokens, so that requests have to be weighed."""
        return any(gate.limits.tpm is not None for gate in self.gates)

    def allows(self) -> bool:
        """Whether the breaker lets a request go."""
        return self.rules is None or breaker.allows(self._state, self._clock())

    def closed_for(self) -> float:
        """Seconds until the breaker lets a request go; 0 where nobody can say."""
        return breaker.remaining(self._state, self._clock())

    def delay(self, tokens: float, waiter: Waiter | None = None) -> float:
        """Seconds until the limits let a request go; infinite where others have to leave first."""
        return delay_of(self.gates, self._clock(), tokens, waiter)

    def take(self, tokens: float) -> Permit:
        """A request goes."""
        now = self._clock()
        for gate in self.gates:
            gate.take(now, tokens)
        self.under_way += 1
        before = self._state
        self.become(breaker.entered(before))
        return Permit(self, tokens, probe=self._state is not before)

    def rest(self, seconds: float) -> None:
        """Its server asked for a pause."""
        self._rests_until = self._clock() + min(seconds, REST_MOST)

    def become(self, state: State) -> None:
        """The breaker's state is now this one."""
        before, self._state = breaker.word(self._state), state
        now = breaker.word(state)
        if now != before:
            self._observer(BreakerChanged(self._name, now))

    @property
    def state(self) -> State:
        """The breaker's state with all its counts."""
        return self._state

    def now(self) -> float:
        """The instant."""
        return self._clock()


class Permit:
    """One request's leave to ask a target, from ``take`` until ``leave``."""

    def __init__(self, standing: Standing, tokens: float, *, probe: bool) -> None:
        self._standing = standing
        self._gates = standing.gates
        self._tokens = tokens
        self._probe = probe

    def answered(self) -> None:
        """The first piece of the answer has come."""
        if self._probe:
            self._standing.become(breaker.answered(self._standing.state, probe=True))

    def succeeded(self) -> None:
        """The answer ended well."""
        at = self._standing
        if at.rules is not None:
            at.become(breaker.succeeded(at.state, at.rules, at.now()))

    def failed(self, error: PenstockError) -> None:
        """The request failed."""
        at = self._standing
        if error.retry_after is not None:
            at.rest(error.retry_after)
        if breaker.blames_server(error):
            if at.rules is not None:
                at.become(breaker.failed(at.state, at.rules, at.now(), probe=self._probe))
        elif error.status is not None:  # the server is there, and refuses with reason
            self.answered()
        else:
            self.abandoned()

    def abandoned(self) -> None:
        """The request ended before the server had shown how it is."""
        if self._probe:
            at = self._standing
            at.become(breaker.left(at.state, at.now(), probe=True))

    def leave(self, tokens: float | None) -> None:
        """The request has left.

        Args:
            tokens: what it used, where that is known.
        """
        self._standing.under_way -= 1
        more = 0.0 if tokens is None else tokens - self._tokens
        for gate in self._gates:
            gate.leave(more)


class Standings:
    """The standings of all targets."""

    def __init__(self, routing: Routing, clock: Callable[[], float], observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._gates: dict[str, Gate] = {}
        self._known: dict[str, Standing] = {}
        self.adopt(routing)

    def adopt(self, routing: Routing) -> None:
        """Go by other rules from now on; what is under way and known is kept."""
        self._routing = routing
        pooled = (target for pool in routing.pools.values() for target in pool.targets)
        self._pooled = {Target.of(name).name for name in pooled}
        self._idle = not (routing.targets or routing.pools or routing.breaker)
        limited = {Target.of(name).name: limits for name, limits in routing.targets.items()}
        for name, limits in limited.items():
            if name in self._gates:
                self._gates[name].adopt(limits)
            else:
                self._gates[name] = Gate(limits)
        for name in self._gates.keys() - limited.keys():
            del self._gates[name]
        for name, standing in self._known.items():
            target = Target.of(name)
            standing.rules, standing.gates = self._rules(target), self._gates_of(target)

    def of(self, target: Target) -> Standing | None:
        """The standing of ``target``; None where no rule is about it."""
        if self._idle:
            return None
        known = self._known.get(target.name)
        if known is not None:
            return known
        rules, gates = self._rules(target), self._gates_of(target)
        if rules is None and not gates:
            return None
        if len(self._known) >= MOST:
            self._forget_one()
        standing = Standing(target.name, rules, gates, self._clock, self._observer)
        self._known[target.name] = standing
        return standing

    def breakers(self) -> dict[str, Breaker]:
        """Target -> state of its breaker, for those that were asked."""
        return {name: standing.breaker for name, standing in self._known.items()}

    def _rules(self, target: Target) -> BreakerRules | None:
        rules = self._routing.breaker
        return BreakerRules() if rules is None and target.name in self._pooled else rules

    def _gates_of(self, target: Target) -> tuple[Gate, ...]:
        names = dict.fromkeys((target.name, target.provider))
        return tuple(self._gates[name] for name in names if name in self._gates)

    def _forget_one(self) -> None:
        idle = (name for name, standing in self._known.items() if not standing.under_way)
        name = next(idle, None)
        if name is not None:
            del self._known[name]
