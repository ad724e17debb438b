"""Pools, limits and breakers: the tables of the file, what they become, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any, Literal, NoReturn, Protocol, TypeVar

from penstock.config.places import key_of
from penstock.types import Value

T = TypeVar("T")

MOST = 10**12
"""The highest limit that can be set."""

Strategy = Literal["ordered", "round_robin", "least_busy"]


class PoolTable(Value, kw_only=True, frozen=True):
    """``[pools.NAME]`` of the file: a model name of its own, answered by one of several targets.

    Attributes:
        targets: ``provider/model`` or aliases; a failure before the first piece goes to the next.
        strategy: ``ordered`` begins with the first, ``round_robin`` with the next at each
            request, ``least_busy`` with the one that has fewest requests under way.
        hedge: seconds without a first piece after which a second target is asked as well; the
            first to answer wins, the other is cancelled. Without it none is.
        retries: how often one target is asked again, where that may help.
        retry_wait: the longest wait before asking again, in seconds. A server that asks for more
            is not asked again.
        timeouts: limits for the targets of this pool, as in ``[timeouts]``. ``total`` covers all
            tries together.
    """

    targets: tuple[str, ...] = ()
    strategy: Strategy = "ordered"
    hedge: float | None = None
    retries: int = 0
    retry_wait: float = 10.0
    timeouts: Mapping[str, Any] = {}


class TargetLimits(Value, kw_only=True, frozen=True):
    """``[targets."PROVIDER/MODEL"]`` of the file, or ``[targets.PROVIDER]`` for a whole provider.

    Attributes:
        concurrency: most requests under way at a time.
        rpm: most requests a minute.
        tpm: most tokens a minute, of questions and answers together.
        wait: seconds a request may wait for its turn; 0 refuses it at once.
    """

    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    wait: float = 10.0


class BreakerRules(Value, kw_only=True, frozen=True):
    """``[breaker]`` of the file: when a failing target is left alone, and for how long.

    Without the table it holds for the targets of pools, with it for every target.

    Attributes:
        failures: failures of the server in a row that open it.
        error_rate: the share of failures that opens it as well.
        window: seconds that the share looks back.
        requests: requests in the window below which the share says nothing.
        open: seconds it stays open; doubled at each reopening.
        open_most: seconds it stays open at most.
    """

    failures: int = 5
    error_rate: float = 0.5
    window: float = 60.0
    requests: int = 20
    open: float = 30.0
    open_most: float = 300.0


class Pool(Value, kw_only=True, frozen=True):
    """A pool as the router uses it; the fields are those of ``PoolTable``.

    Attributes:
        timeouts: name of a limit -> seconds, None for none; only those that the pool sets.
    """

    targets: tuple[str, ...]
    strategy: Strategy = "ordered"
    hedge: float | None = None
    retries: int = 0
    retry_wait: float = 10.0
    timeouts: Mapping[str, float | None] = {}


class Routing(Value, kw_only=True, frozen=True):
    """What was configured about the way to an answer.

    Attributes:
        pools: name -> pool.
        targets: ``provider/model`` or provider -> limits.
        breaker: None where there is no such table.
        aliases: short name -> ``provider/model`` or pool.
    """

    pools: Mapping[str, Pool] = {}
    targets: Mapping[str, TargetLimits] = {}
    breaker: BreakerRules | None = None
    aliases: Mapping[str, str] = {}


class Tables(Protocol):
    """The reader's side: tables of the file, and the sentence for a mistake."""

    def section(self, key: str, type_: type[T]) -> T:
        """The table of that key, checked."""

    def timeouts(self, key: str) -> Mapping[str, float | None]:
        """The limits that the table of that key sets."""

    def path(self, key: str, value: str | None) -> str | None:
        """A path; one that the file names without a root starts in the file's folder."""

    def names(self, key: str) -> Collection[str]:
        """The names of the tables below that key; none where it is absent."""

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise the error that names the place of that key."""


def read_routing(tables: Tables, aliases: Mapping[str, str], providers: Set[str]) -> Routing:
    """The routing that the tables describe.

    Args:
        providers: the names of all providers; empty where they are not known.

    Raises:
        ConfigError: file, key and line are named.
    """
    return Routing(
        pools={name: _pool(tables, name, aliases, providers) for name in tables.names("pools")},
        targets={name: _limits(tables, name, providers) for name in tables.names("targets")},
        breaker=_breaker(tables) if "breaker" in tables.names("") else None,
        aliases=aliases,
    )


def _pool(tables: Tables, name: str, aliases: Mapping[str, str], providers: Set[str]) -> Pool:
    key = key_of("pools", name)
    table = tables.section(key, PoolTable)
    if "/" in name or name in providers or name in aliases:
        tables.fail(key, "the name of a pool is no alias, no provider and holds no /")
    if not table.targets:
        tables.fail(f"{key}.targets", "it must name at least one provider/model")
    for target in table.targets:
        if providers and aliases.get(target, target).partition("/")[0] not in providers:
            tables.fail(f"{key}.targets", f"{target[:80]} names no provider and no alias")
    within(tables, key, "retries", table.retries, 0, 10)
    within(tables, key, "retry_wait", table.retry_wait, 0, 3600)
    if table.hedge is not None:
        within(tables, key, "hedge", table.hedge, 0.001, 3600)
    return Pool(
        targets=tuple(dict.fromkeys(aliases.get(target, target) for target in table.targets)),
        strategy=table.strategy,
        hedge=table.hedge,
        retries=table.retries,
        retry_wait=table.retry_wait,
        timeouts=tables.timeouts(f"{key}.timeouts"),
    )


def _limits(tables: Tables, name: str, providers: Set[str]) -> TargetLimits:
    key = key_of("targets", name)
    limits = tables.section(key, TargetLimits)
    if providers and name.partition("/")[0] not in providers:
        tables.fail(key, "the name of a target is provider/model, or a provider")
    for field in ("concurrency", "rpm", "tpm"):
        value = getattr(limits, field)
        if value is not None:
            within(tables, key, field, value, 1, MOST)
    within(tables, key, "wait", limits.wait, 0, 3600)
    return limits


def _breaker(tables: Tables) -> BreakerRules:
    rules = tables.section("breaker", BreakerRules)
    within(tables, "breaker", "failures", rules.failures, 1, 10**6)
    within(tables, "breaker", "error_rate", rules.error_rate, 0.01, 1)
    within(tables, "breaker", "window", rules.window, 1, 86400)
    within(tables, "breaker", "requests", rules.requests, 1, 10**6)
    within(tables, "breaker", "open", rules.open, 0.001, 86400)
    within(tables, "breaker", "open_most", rules.open_most, rules.open, 86400)
    return rules


def within(tables: Tables, key: str, field: str, value: float, least: float, most: float) -> None:
    """Refuse a number outside of ``least`` to ``most``.

    Raises:
        ConfigError: file, key and line are named.
    """
    if not least <= value <= most:
        tables.fail(f"{key}.{field}", f"it must be from {least:g} to {most:g}")
