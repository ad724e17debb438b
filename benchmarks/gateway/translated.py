"""What a translated protocol costs beside one that is passed through.

All upstreams are servers of the sandbox, so that they write in the same way. The budget of a token
is 1.3 times that of one that is passed through; the requests before and after an answer of 150
tokens count. The ratio to the OpenAI-compatible server among them says what is due to the protocol
and not to the machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.gateway.gateways import Gateway
from benchmarks.gateway.measuring import Load, Served, measure
from benchmarks.gateway.processes import free_port, serving

PASSED = "openai_compatible"
MODELS = {
    PASSED: "openai_compatible/sandbox-model",
    "allenai": "allenai/Olmo-3-7B-Instruct",
    "h2o": "h2o/falcon-40b",
    "tgi": "tgi/",
    "chatui": "chatui/",
    "openassistant": "openassistant/OA_SFT_Llama_30B_6",
    "replicate": "replicate/meta/meta-llama-3-70b-instruct",
    "cog": "cog/",
}
ALONE = "cog"
"""It has one model, which takes one turn at a time."""
BUDGET = 1.3 * 35.0
"""Microseconds of CPU for a token."""
_PACE, _TOKENS, _CONNECTIONS = 0.02, 150, 100


def figures(rounds: int) -> list[Figure]:
    """What a token of each protocol costs, and its ratio to one that is passed through."""
    together = [name for name in MODELS if name != ALONE]
    with _running() as served:
        return [
            *_costs(served, rounds, together, _CONNECTIONS, BUDGET),
            *_costs(served, rounds, [PASSED, ALONE], 1),
        ]


def _costs(
    served: Served, rounds: int, names: Sequence[str], connections: int, budget: float | None = None
) -> list[Figure]:
    load = Load("paced", connections, _TOKENS, "token")
    streams = f"{connections} streams" if connections > 1 else "one stream"
    labels = {name: f"{name}, a token of {streams}" for name in names}
    for number in range(rounds + 1):
        for name, label in labels.items():
            measure(served, load, label, MODELS[name])
            if number == 0:  # the first round only warms up
                del served.costs[label]
    passed = served.cost(labels[PASSED])
    found: list[Figure] = []
    for name, label in labels.items():
        found.append(Figure(label, served.cost(label), "us CPU", budget))
        if name != PASSED:
            found.append(Figure("    ratio", served.cost(label) / passed, "times"))
    return found


@contextmanager
def _running() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        file = Path(folder, "penstock.toml")
        command = (sys.executable, "-m", "benchmarks.gateway.sandboxed", str(file))
        with subprocess.Popen(
            (*command, str(_PACE), str(_TOKENS)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as sandbox:
            assert sandbox.stdout is not None
            sandbox.stdout.readline()
            port = free_port()
            serve = (sys.executable, "-m", "penstock", "--config", str(file), "serve", "--quiet")
            gateway = Gateway(
                "penstock",
                (*serve, "--lenient", "--port", str(port)),
                headers={"x-penstock-lenient": "true"},
            )
            with serving(gateway.command, port) as tree:
                yield Served(gateway, port, tree)
            sandbox.communicate()
