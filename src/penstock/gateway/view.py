"""What is seen of a gateway from outside: it hears of every request and try, and tells figures.

A view is the observer of the gateway's client and hears of requests from the gateway itself:

    view = View()
    gateway = Gateway(Client(observer=view), view=view)
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic, time
from typing import Protocol

import msgspec

from penstock import __version__
from penstock.client import Client
from penstock.gateway.exchange import Exchange
from penstock.gateway.metrics import Live, Metrics, rendered
from penstock.gateway.siblings import Siblings
from penstock.gateway.status import Board, Counts, Status, added, providers_of
from penstock.gateway.tallies import Family
from penstock.gateway.traces import Traces
from penstock.observe import AttemptEnded, AttemptStarted, BreakerChanged, Record

ROUTES = frozenset(
    {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/models",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/status",
        "/openapi.json",
        "/",
    }
)
"""Paths that are a label as they are."""
SOON = 0.1
"""Seconds until what was noted is counted."""
MOST_NOTED = 200
"""Records that may wait to be counted."""

Ended = tuple[Exchange, float]
"""A request that ended, and when."""


class Watched(Protocol):
    """What a view reads of its gateway."""

    ready: bool

    @property
    def client(self) -> Client:
        """Who makes the answers."""

    @property
    def open_streams(self) -> int:
        """Answers under way."""


class Facts(msgspec.Struct, frozen=True):
    """All that one process knows."""

    families: list[Family]
    counts: list[Counts]
    streams: int
    uptime: float


class View:
    """The figures of one gateway.

    Args:
        siblings: the other processes of the gateway, if it has several.
    """

    wants_request_ends = False  # the exchange knows more of them, and of refusals as well

    def __init__(self, siblings: Siblings | None = None) -> None:
        self.metrics = Metrics(self._live)
        self._board = Board()
        self._traces = Traces()
        self._siblings = siblings
        self._began = monotonic()
        self._gateway: Watched | None = None
        self._noted: deque[Record | Ended] = deque()
        self._soon: asyncio.AbstractEventLoop | None = None  # where it is to be counted

    def attach(self, gateway: Watched) -> None:
        """Look at this gateway, also each time when it is configured anew."""
        self._gateway = gateway
        settings = gateway.client.settings
        pools = settings.routing.pools
        targets = {target for pool in pools.values() for target in pool.targets}
        targets |= {name for name in settings.routing.targets if "/" in name}
        self._board.adopt(targets)
        self.metrics.names.admit(*sorted(targets), *pools, *settings.aliases)

    def __call__(self, record: Record) -> None:
        """Take note of a record of the router."""
        noted = self._noted
        noted.append(record)
        if len(noted) >= MOST_NOTED:
            self.settle()

    def ended(self, exchange: Exchange, now: float) -> None:
        """Take note of a request that ended: it is counted soon, with others.

        To count many at a time costs a fourth of what it costs to count each when it ends.
        """
        loop = asyncio.get_running_loop()
        if self._soon is not loop:
            self._soon = loop
            loop.call_later(SOON, self._settle_soon)
        self._noted.append((exchange, now))
        if len(self._noted) >= MOST_NOTED:
            self.settle()

    def _settle_soon(self) -> None:
        self._soon = None
        self.settle()

    def settle(self) -> None:
        """Count what was noted so far."""
        traces = self._traces if self._traces.wanted else None
        noted = self._noted
        while noted:
            each = noted.popleft()
            if type(each) is AttemptEnded:
                self._board.ended(each)
                self.metrics.ended(each)
                if traces is not None:
                    traces.ended(each)
            elif type(each) is AttemptStarted:
                self._board.started(each)
            elif type(each) is tuple:
                exchange, now = each
                route = route_of(exchange.path)
                self.metrics.request(exchange, route, now)
                if traces is not None:
                    traces.request(exchange, route, now)
            elif type(each) is BreakerChanged:
                self._board.changed(each)
        self.metrics.settle()

    async def metrics_text(self, accept: str) -> tuple[bytes, str]:
        """The answer of ``/metrics`` and its content type; of all processes."""
        facts = await self._of_all()
        return rendered({name: each.families for name, each in facts.items()}, accept)

    async def status(self) -> Status:
        """The answer of ``/api/status``; of all processes together."""
        facts = list((await self._of_all()).values())
        now, clock = time(), monotonic()
        return Status(
            __version__,
            round(now, 1),
            round(max(each.uptime for each in facts), 1),
            sum(each.streams for each in facts),
            providers_of(added(each.counts for each in facts), self._labels(), clock, now - clock),
        )

    def told(self) -> bytes:
        """The facts of this process for another one."""
        return msgspec.msgpack.encode(self._facts())

    async def _of_all(self) -> dict[str, Facts]:
        if self._siblings is None:
            return {"": self._facts()}
        told = await self._siblings.others()
        facts = {name: msgspec.msgpack.decode(data, type=Facts) for name, data in told.items()}
        return dict(sorted({self._siblings.name: self._facts(), **facts}.items()))

    def _facts(self) -> Facts:
        self.settle()
        gateway = self._gateway
        streams = 0 if gateway is None else gateway.open_streams
        uptime = monotonic() - self._began
        return Facts(self.metrics.families(), self._board.counts(), streams, uptime)

    def _live(self) -> Live:
        gateway = self._gateway
        outbox = None if gateway is None else gateway.client.session.outbox
        return Live(
            streams=0 if gateway is None else gateway.open_streams,
            ready=gateway is not None and gateway.ready,
            cleanups=0 if outbox is None else len(outbox.pending),
            failed_cleanups=0 if outbox is None else outbox.failures,
            breakers=self._board.breakers(),
            in_flight=self._board.in_flight(),
        )

    def _labels(self) -> dict[str, str]:
        if self._gateway is None:
            return {}
        client = self._gateway.client
        entries = client.registry.entries
        return {
            name: entries[name].label if name in entries else name
            for name in client.usable_providers()
        }


def route_of(path: str) -> str:
    """The template of a path: labels are bounded, paths are not."""
    if path in ROUTES:
        return path
    if path.startswith("/v1/models/"):
        return "/v1/models/{id}"
    return "/assets/{name}" if path.startswith("/assets/") else "other"
