"""From the name that a caller gives to the targets that may answer, and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.config.routing import Pool, Routing, Strategy
from penstock.types import Value


class Target(Value, frozen=True):
    """A provider and a model of it.

    Attributes:
        name: ``provider/model``, or the provider's name where the model is its default one.
    """

    name: str
    provider: str
    model: str

    @classmethod
    def of(cls, name: str) -> Target:
        """The target of ``provider/model``; the model may hold slashes, or be empty."""
        provider, _, model = name.partition("/")
        return cls(name if model else provider, provider, model)


class Plan(Value, frozen=True):
    """What a name stands for.

    Attributes:
        name: as the caller gave it, aliases resolved.
        targets: in the order of the configuration.
        pool: the rules; those of a pool of one where the name is a target's.
        pooled: the name is a pool's.
    """

    name: str
    targets: tuple[Target, ...]
    pool: Pool
    pooled: bool


def plan_of(name: str, routing: Routing) -> Plan:
    """The plan for a model name: an alias, a pool, or ``provider/model``."""
    name = routing.aliases.get(name, name)
    pool = routing.pools.get(name)
    if pool is not None:
        return Plan(name, tuple(map(Target.of, pool.targets)), pool, True)
    target = Target.of(name)
    return Plan(name, (target,), Pool(targets=(target.name,)), False)


def ordered(
    targets: Sequence[Target],
    strategy: Strategy,
    *,
    turn: int,
    busy: Callable[[Target], int],
    rests: Callable[[Target], bool],
) -> list[Target]:
    """The targets in the order to be asked.

    Args:
        turn: number of this request among those of the pool.
        busy: requests under way at a target.
        rests: the target's server asked for a pause; such a one comes last, for it may be asked
            where nothing else is left.
    """
    if strategy == "round_robin":
        start = turn % len(targets)
        order = [*targets[start:], *targets[:start]]
    elif strategy == "least_busy":
        order = sorted(targets, key=busy)
    else:
        order = list(targets)
    return sorted(order, key=rests)
