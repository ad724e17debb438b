"""Each gateway that is there under each load in turn, and the ratios of what they cost."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.gateway import gateways, translated
from benchmarks.gateway.gateways import Gateway
from benchmarks.gateway.measuring import (
    LOADS,
    Load,
    Served,
    asked,
    growth,
    measure,
    spread,
    weigh,
)
from benchmarks.gateway.processes import free_port, serving

BUDGETS = {"paced": 35.0, "burst": 4.0, "plain": 250.0}
FIRST_BUDGET = 25.0
IDLE_BUDGET = 40.0
GROWTH_BUDGET = 4096.0
"""KB: a million tokens kept anywhere would be a hundred times as much."""


def figures(
    rounds: int = 3,
    *,
    only: Sequence[str] | None = None,
    loads: Sequence[str] | None = None,
    beside: Path | None = None,
) -> list[Figure]:
    """All that is measured of the gateways that are there."""
    found: list[Figure] = []
    with _running(only, beside) as all_served:
        for load in LOADS:
            if loads is None or load.kind in loads:
                able = [one for one in all_served if one.gateway.streams or load.kind == "plain"]
                for number in range(rounds + 1):
                    for served in able:
                        measure(served, load)
                        if number == 0:  # the first round only warms up
                            served.costs.clear()
                            served.firsts.clear()
                found += _compared(able, load.kind, load.unit)
        if loads is None or "idle" in loads:
            found += _memory([served for served in all_served if served.gateway.streams])
    if loads is None or "workers" in loads:
        found.append(Figure("penstock --workers 2, over one", _workers(), "x", 1.8, at_least=True))
    if loads is None or "translated" in loads:
        found += translated.figures(rounds)
    return found


@contextmanager
def _running(only: Sequence[str] | None, beside: Path | None) -> Iterator[list[Served]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        upstream = free_port()
        command = (sys.executable, "-m", "benchmarks.gateway.upstream", str(upstream))
        stack.enter_context(serving(command, upstream))
        running = []
        others = (gateways.litellm, gateways.portkey, gateways.g4f)
        for make in (gateways.nginx, gateways.penstock, *others):
            if only is None or make.__name__ in only:
                port = free_port()
                gateway = make(port, upstream, folder)
                if gateway is None:
                    print(f"bench: {make.__name__} is not here")
                    continue
                running.append(_served(stack, gateway, port))
        if beside is not None:
            port = free_port()
            other = gateways.penstock(port, upstream, folder, name="beside", source=beside)
            running.append(_served(stack, other, port))
        yield running


def _served(stack: ExitStack, gateway: Gateway, port: int) -> Served:
    tree = stack.enter_context(serving(gateway.command, port, gateway.environment))
    return Served(gateway, port, tree)


def _workers() -> float:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        upstream, port = free_port(), free_port()
        command = (sys.executable, "-m", "benchmarks.gateway.upstream", str(upstream))
        stack.enter_context(serving(command, upstream))
        gateway = gateways.penstock(port, upstream, folder, workers=2)
        served = _served(stack, gateway, port)
        asked(served, Load("plain", 50, 10, ""))
        return statistics.median(spread(served) for _ in range(5))


def _compared(all_served: Sequence[Served], kind: str, unit: str) -> list[Figure]:
    found = []
    relay = next((one for one in all_served if one.gateway.name == "nginx"), None)
    for served in all_served:
        name, cost = served.gateway.name, served.cost(kind)
        budget = BUDGETS[kind] if name == "penstock" else None
        found.append(Figure(f"{name}, {unit}", cost, "us CPU", budget))
        if relay is not None and served is not relay:
            found.append(Figure("    ratio to nginx", cost / relay.cost(kind), "times"))
            if kind == "paced":
                added = served.first() - relay.first()
                budget = FIRST_BUDGET if name == "penstock" else None
                found.append(Figure("    added to the first token", added, "ms", budget))
    return found


def _memory(all_served: Sequence[Served]) -> list[Figure]:
    found = []
    for served in all_served:
        name = served.gateway.name
        ours = name == "penstock"
        idle = weigh(served)
        found.append(Figure(f"{name}, an idle stream", idle, "KB", IDLE_BUDGET if ours else None))
        if ours:
            found.append(
                Figure(f"{name}, after a million tokens", growth(served), "KB more", GROWTH_BUDGET)
            )
    return found
