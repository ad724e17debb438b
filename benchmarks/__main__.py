"""Measure all, print a table, end with 1 where a budget is missed."""

from __future__ import annotations

import sys

from benchmarks import decoders, startup
from benchmarks.figures import show

if __name__ == "__main__":
    sys.exit(int(not show([*startup.figures(), *decoders.figures()])))
