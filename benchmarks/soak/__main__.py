"""Soak the gateway: ``python -m benchmarks.soak [--seconds 600] [--streams 200]``.

Callers ask by all surfaces, streamed and whole, over all back ends of the sandbox; one in twenty
answers is given a fault, one caller in ten leaves. It ends with 1 where a byte is wrong, where
anything is left open on either side, or where memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.soak.run import Soak
from benchmarks.soak.verdict import table


def main() -> int:
    """Run it, print what was seen."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between two pieces")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    soak = Soak(given.seconds, given.streams, given.pace, given.seed)
    seen = asyncio.run(soak.run())
    print(table(seen))
    for one in seen.complaints():
        print(f"WRONG: {one}")
    return int(bool(seen.complaints()))


if __name__ == "__main__":
    sys.exit(main())
