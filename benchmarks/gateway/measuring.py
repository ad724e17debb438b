"""The loads, one gateway at a time, in rounds that take turns: medians of what each cost.

Nothing here is a time of the clock but the time to the first token, and that is compared with what
the relay needs in the same run.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from benchmarks.gateway.gateways import KEY, Gateway
from benchmarks.gateway.processes import Tree

IDLE = 500


class Load(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        kind: the model that the scripted upstream is asked for.
        connections: at a time.
        tokens: of each stream; for whole answers, requests one after the other.
        unit: what the CPU time is divided by.
    """

    kind: str
    connections: int
    tokens: int
    unit: str

    def smaller(self) -> Load:
        """For what needs so much longer."""
        if self.kind == "paced":
            return self
        return msgspec.structs.replace(self, tokens=max(self.tokens // 10, 10))


LOADS = (
    Load("paced", 100, 150, "token, 100 streams at 50 a second"),
    Load("burst", 20, 5000, "token, as fast as it comes"),
    Load("plain", 16, 150, "plain request"),
)


class Served(msgspec.Struct):
    """A gateway that runs, and what was measured of it: name of a load -> values."""

    gateway: Gateway
    port: int
    tree: Tree
    costs: dict[str, list[float]] = {}
    firsts: list[float] = []
    idle: float | None = None

    def cost(self, kind: str) -> float:
        """Microseconds of CPU, the median of the rounds."""
        return statistics.median(self.costs[kind])

    def first(self) -> float:
        """Milliseconds to the first token, median of the streams and of the rounds."""
        return statistics.median(self.firsts)


def measure(served: Served, load: Load, name: str | None = None, model: str | None = None) -> None:
    """Ask once, and note what it cost.

    Args:
        name: what it is noted under, if that is not the load's kind.
        model: what is asked for, if that is not the load's kind.

    Raises:
        SystemExit: not everything came that was asked for.
    """
    load = load.smaller() if served.gateway.slow else load
    before = served.tree.cpu()
    told = asked(served, load, model)
    spent = served.tree.cpu() - before
    came = told["answers"] if load.kind == "plain" else told["tokens"]
    count = load.connections * load.tokens
    # A relay that cuts the body into chunks of its own hides a token at a cut from the count.
    if not 0.99 * count <= came <= count:
        raise SystemExit(f"bench: {served.gateway.name}: {came} of {count} came: {told}")
    served.costs.setdefault(name or load.kind, []).append(spent / count * 1e6)
    if load.kind == "paced":
        served.firsts.append(told["first_ms"])


def asked(served: Served, load: Load, model: str | None = None) -> dict[str, float]:
    """Run the load; what it says of itself."""
    done = subprocess.run(
        _command(served, load, model), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {served.gateway.name}: {done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout)
    return told


def spread(served: Served) -> float:
    """How much more several workers can do than one of them: all their work over the busiest's.

    What they reach on the clock depends on the cores that are free, this does not.
    """
    load = Load("plain", 200, 20, "")
    before = served.tree.shares()
    asked(served, load)
    spent = [now - before[pid] for pid, now in served.tree.shares().items()]
    return sum(spent) / max(spent)


def weigh(served: Served) -> float:
    """KB that each of many silent streams, which have brought one token, adds to the process."""
    with _held(served, 50), _held(served, 50):  # what is made once is made
        pass
    before = served.tree.resident()
    with _held(served, IDLE):
        return (served.tree.resident() - before) / IDLE


@contextmanager
def _held(served: Served, count: int) -> Iterator[None]:
    load = Load("idle", count, 1, "")
    with subprocess.Popen(
        _command(served, load), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        if json.loads(process.stdout.readline())["tokens"] != count:
            raise SystemExit(f"bench: {served.gateway.name}: the silent streams do not begin")
        yield
        process.communicate()


def growth(served: Served, tokens: int = 1_000_000) -> float:
    """KB by which the process grows over so many tokens in streams of 50,000.

    Twice as many come before: until then the allocator finds its size for so large streams. Then
    the smallest of three: what is lost for good shows in each, the allocator's moods do not.
    """
    load = Load("burst", 10, 50_000, "")
    rounds = max(tokens // (load.connections * load.tokens), 1)
    sizes = []
    for _ in range(5):
        for _ in range(rounds):
            asked(served, load)
        sizes.append(served.tree.resident())
    return min(after - before for before, after in itertools.pairwise(sizes[1:]))


def _command(served: Served, load: Load, model: str | None = None) -> Sequence[str]:
    gateway = served.gateway
    return (
        sys.executable,
        "-m",
        "benchmarks.gateway.load",
        f"http://127.0.0.1:{served.port}/v1",
        model or gateway.prefix + load.kind,
        load.kind,
        str(load.connections),
        str(load.tokens),
        KEY,
        *(f"{name}: {value}" for name, value in gateway.headers.items()),
    )
