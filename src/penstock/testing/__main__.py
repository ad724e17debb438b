"""``python -m penstock.testing replay PATH...``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from penstock.testing.replay import CaseError, replay


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay the cases at and below the paths.

    Returns:
        0 if all agree or were skipped, 1 if one differs, 2 for a path that cannot be used, 130 if
        interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m penstock.testing")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "replay", help="run recorded cases through the providers, three ways each"
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="case file, or folder of them")
    # The verdicts say what matters; a cleanup that a recording cannot answer is no news.
    logging.getLogger("penstock").addHandler(logging.NullHandler())
    paths = parser.parse_args(arguments).paths
    try:
        summary = replay(paths, report=lambda line: print(line, flush=True))  # noqa: T201 - a command
    except CaseError as error:
        print(f"penstock replay: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 2
    except KeyboardInterrupt:
        return 130
    return summary.exit_status


if __name__ == "__main__":
    sys.exit(main())
