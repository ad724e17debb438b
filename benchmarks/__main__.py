"""Measure all, print a table, end with 1 where a budget is missed."""

from __future__ import annotations

import argparse
import sys

from benchmarks import clients, decoders, peers, startup
from benchmarks.figures import show
from benchmarks.gateway import gateways, side_by_side


def main() -> int:
    """Measure, or make what is measured beside ours."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="install what others have made first")
    if parser.parse_args().peers:
        peers.make()
        gateways.install()
    measured = (startup, decoders, clients, peers, side_by_side)
    return int(not show(figure for each in measured for figure in each.figures()))


if __name__ == "__main__":
    sys.exit(main())
