"""Measure gateways side by side: ``python -m benchmarks.gateway``.

The scripted upstream, nginx as a relay that parses nothing, Penstock, and what of the others is
installed. Every round asks each of them for each load; what is printed are medians and, beside
them, ratios to nginx. Ends with 1 where a budget of Penstock is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import show
from benchmarks.gateway import gateways
from benchmarks.gateway.side_by_side import figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="benchmarks.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--only", help="these, with commas: nginx,penstock,litellm,portkey,g4f")
    parser.add_argument(
        "--loads", help="these, with commas: paced,burst,plain,idle,workers,translated"
    )
    parser.add_argument("--peers", action="store_true", help="install what others have made first")
    parser.add_argument("--beside", type=Path, metavar="SRC", help="another checkout's src")
    options = parser.parse_args(arguments)
    if options.peers:
        gateways.install()
    found = figures(
        options.rounds,
        only=options.only.split(",") if options.only else None,
        loads=options.loads.split(",") if options.loads else None,
        beside=options.beside,
    )
    return int(not show(found))


if __name__ == "__main__":
    sys.exit(main())
