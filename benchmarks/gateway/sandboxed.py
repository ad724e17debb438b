"""The sandbox's servers as upstreams: every wire protocol says the same tokens at the same pace.

Run as ``python -m benchmarks.gateway.sandboxed FILE PACE TOKENS``; writes the configuration for a
gateway into FILE once all of them listen, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox

MANY_AT_A_TIME = {"openassistant": {"slots": 100}}
"""An account has one place in the queue, but may have any number of answers under way."""


async def main(file: Path, pace: float, script: Path) -> None:
    """Serve until the input ends."""
    async with Sandbox(
        SANDBOX_PROVIDERS, script=str(script), pace=pace, options=MANY_AT_A_TIME
    ) as running:
        await asyncio.to_thread(file.write_text, configuration(running.providers))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def configuration(providers: Mapping[str, Mapping[str, str]]) -> str:
    """The table of each provider."""
    lines = []
    for name, settings in providers.items():
        lines.append(f"[providers.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    name, pace, tokens = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        script = Path(folder, "script.json")
        script.write_text(json.dumps([" token"] * int(tokens)))
        asyncio.run(main(Path(name), float(pace), script))
