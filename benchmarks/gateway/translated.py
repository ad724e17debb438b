"""What a translated protocol costs beside one that is passed through.

All upstreams are servers of the sandbox, so that they write in the same way; the budget is a ratio
to the stream of the OpenAI-compatible one among them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
ALONE = frozenset({"openassistant", "cog"})
"""Those that take one turn at a time: one place in the queue of an account, one model on a host."""
BUDGET = 1.3
_PACE, _TOKENS, _CONNECTIONS = 0.02, 150, 50


def figures(rounds: int) -> list[Figure]:
    """The ratio of each protocol to the one that is passed through."""
    load = Load("paced", _CONNECTIONS, _TOKENS, "token")
    with _running() as served:
        for _ in range(rounds):
            for name in [name for name in MODELS if name not in ALONE]:
                measure(served, load, name, MODELS[name])
        passed = served.cost(PASSED)
        found = [Figure("passed through, from a sandbox server", passed, "us CPU/token")]
        found += [
            Figure(f"    {name}, translated", served.cost(name) / passed, "x", BUDGET)
            for name in MODELS
            if name not in ALONE and name != PASSED
        ]
        for _ in range(rounds):
            for name in (PASSED, *ALONE):
                single = Load("paced", 1, _TOKENS, "token")
                measure(served, single, f"{name} alone", MODELS[name])
        passed = served.cost(f"{PASSED} alone")
        found += [
            Figure(f"    {name}, translated, alone", served.cost(f"{name} alone") / passed, "times")
            for name in sorted(ALONE)
        ]
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
