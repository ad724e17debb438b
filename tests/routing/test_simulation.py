"""A thousand hours of failing targets: no storm, the budget held, breakers as drawn.

The router itself runs, in a loop whose time costs nothing; the servers are scripted by the hour.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from penstock.config.routing import BreakerRules, Pool, Routing
from penstock.errors import Kind, PenstockError, error_of
from penstock.observe import AttemptStarted, BreakerChanged, Record
from penstock.provider import Batch, Provider
from penstock.routing.policy import RESERVE, SHARE
from penstock.routing.router import Router
from penstock.types import Finished, Text
from tests.routing.stage import REQUEST
from tests.routing.warp import in_no_time

HOUR = 3600.0
RULES = BreakerRules()
Weather = Callable[[float], tuple[float, Kind]]
"""Hour -> share of requests that fail, and how."""


class Server:
    """A server with weather; it counts who came, by the minute."""

    def __init__(self, name: str, weather: Weather, chance: random.Random) -> None:
        self.name = name
        self.visits: Counter[int] = Counter()
        self._weather = weather
        self._chance = chance

    @asynccontextmanager
    async def stream(self, _: object) -> AsyncIterator[AsyncIterator[Batch]]:
        now = asyncio.get_running_loop().time()
        self.visits[int(now // 60)] += 1
        share, kind = self._weather(now / HOUR)
        if self._chance.random() < share:
            raise error_of(kind, "bad weather", retryable=True)
        yield self._answer()

    async def _answer(self) -> AsyncIterator[Batch]:
        yield [Text("fair"), Finished()]


class World:
    """Servers of a pool, and callers who come at random."""

    def __init__(self, weathers: dict[str, Weather], **pool: Any) -> None:
        self.chance = random.Random(7)
        self.servers = {
            name: Server(name, weather, self.chance) for name, weather in weathers.items()
        }
        self.records: list[Record] = []
        self.outcomes: Counter[str] = Counter()
        self.changes: list[tuple[float, str, str]] = []
        self.first_tries = 0
        self.tries = 0
        targets = tuple(f"{name}/m" for name in weathers)
        self._routing = Routing(pools={"pool": Pool(targets=targets, **pool)}, breaker=RULES)

    def provider_of(self, name: str, _: object = None, /) -> Provider:
        return self.servers[name]  # type: ignore[return-value]

    def observe(self, record: Record) -> None:
        if isinstance(record, AttemptStarted):
            self.tries += 1
            self.first_tries += record.attempt == 1
        elif isinstance(record, BreakerChanged):
            now = asyncio.get_running_loop().time()
            self.changes.append((now, record.target[0], record.state))

    def run(self, hours: float, each: float) -> None:
        """Callers come for so many hours, every ``each`` seconds on average."""
        in_no_time(self._run(hours, each))

    async def _run(self, hours: float, each: float) -> None:
        loop = asyncio.get_running_loop()
        router = Router(
            self.provider_of,
            self._routing,
            clock=loop.time,
            chance=self.chance.random,
            observer=self.observe,
        )
        end = loop.time() + hours * HOUR
        async with asyncio.TaskGroup() as group:
            while loop.time() < end:
                group.create_task(self._call(router))
                await asyncio.sleep(self.chance.expovariate(1 / each))

    async def _call(self, router: Router) -> None:
        try:
            async with router.stream("pool", REQUEST) as batches:
                async for _ in batches:
                    pass
        except PenstockError as error:
            self.outcomes[error.kind] += 1
        else:
            self.outcomes["fair"] += 1

    def spells(self, name: str) -> list[float]:
        """How long the breaker of a server stayed open, each time."""
        found, since = [], 0.0
        for at, target, state in self.changes:
            if target == name and state == "open":
                since = at
            elif target == name and state == "half_open":
                found.append(at - since)
        return found


def always(share: float, kind: Kind = "overloaded") -> Weather:
    return lambda _: (share, kind)


def by_turns(period: float, kind: Kind = "network") -> Weather:
    """Fine for so many hours, then down for as many."""
    return lambda hour: (float(hour % (2 * period) >= period), kind)


def test_a_thousand_hours_with_one_server_down_every_other_hour() -> None:
    world = World({"a": by_turns(1.0), "b": always(0.0)}, retries=2)
    world.run(1000, each=120)
    asked = sum(world.outcomes.values())
    assert asked > 28_000
    assert world.outcomes["fair"] == asked  # there was always one that answered
    down = world.tries - asked  # tries that met bad weather
    # Each hour down: those that open it, and a probe now and then; not the 30 that came.
    assert down < 500 * (RULES.failures + 1 + 60 / 5)
    spells = world.spells("a")
    assert len(spells) > 2000
    # Callers come every two minutes, so the probe is late; the time itself doubles up to the most.
    assert min(spells) >= RULES.open
    assert max(spells) >= RULES.open_most
    words = [state for _, name, state in world.changes if name == "a"]
    following = {"open": {"half_open"}, "half_open": {"open", "closed"}, "closed": {"open"}}
    assert all(after in following[word] for word, after in pairwise(words))
    assert not world.spells("b")


def test_a_server_that_is_down_for_good_is_asked_once_in_five_minutes() -> None:
    world = World({"a": always(1.0, "network")}, retries=2)
    world.run(24, each=4)
    hours = world.servers["a"].visits
    later = [count for minute, count in hours.items() if minute > min(hours) + 20]
    assert sum(later) / (24 * 60 - 20) <= 1.05 / 5
    assert max(hours.values()) <= RULES.failures + 3
    assert world.outcomes["fair"] == 0
    assert world.outcomes["overloaded"] > 0.95 * sum(world.outcomes.values())


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_flaky_server_is_asked_again_within_the_budget(share: float) -> None:
    world = World({"a": always(share)}, retries=3)
    world.run(12, each=5)
    again = world.tries - world.first_tries
    assert again <= RESERVE + SHARE * sum(world.outcomes.values())
    if share == 0.1:
        assert world.outcomes["fair"] > 0.98 * sum(world.outcomes.values())
        assert again > 0.08 * world.first_tries


def test_an_overload_that_grows_with_what_is_asked_does_not_feed_itself() -> None:
    """A server that refuses what is over 20 requests a minute: asking again makes it worse."""
    world = World({"a": always(0.0)}, retries=3)
    server = world.servers["a"]

    def weather(hour: float) -> tuple[float, Kind]:
        return float(server.visits[int(hour * 60)] > 20), "rate_limited"

    server._weather = weather
    world.run(10, each=2)
    asked = sum(world.outcomes.values())
    assert world.tries <= asked * (1 + SHARE) + RESERVE
    assert world.outcomes["fair"] > 0.6 * asked


def test_everything_down_at_once_recovers_when_the_servers_do() -> None:
    storm: Weather = lambda hour: (float(1.0 <= hour - 1000 / HOUR < 2.0), "network")  # noqa: E731
    world = World({"a": storm, "b": storm}, strategy="round_robin", retries=1)
    world.run(3, each=1)
    down = world.outcomes.total() - world.outcomes["fair"]
    assert 3500 < down < 3600 + 2 * RULES.open_most
    during = range(int((1000 + HOUR) // 60) + 1, int((1000 + 2 * HOUR) // 60) - 1)
    for server in world.servers.values():
        assert sum(server.visits[minute] for minute in during) < 60
