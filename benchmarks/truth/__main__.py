"""Ask a gateway the truth table: ``python -m benchmarks.truth --base-url URL --model M``.

The scripted upstream is started here; the gateway under test must already send the model there
(``--upstream-port``). Ends with 1 where a row fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.truth.ours import running_penstock
from benchmarks.truth.probing import Gateway, Result, judge
from benchmarks.truth.rows import ROWS
from benchmarks.truth.upstream import Upstream, running_upstream

UPSTREAM_PORT = 8790
_MARKS = {True: "pass", False: "FAIL", None: "-"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask all rows, or those that were named, and print what was seen."""
    options = _options(arguments)
    try:
        results = asyncio.run(_asked(options))
    except OSError as error:
        print(f"the scripted upstream cannot listen: {error.strerror}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([result.plain() for result in results], indent=1))
    else:
        print(*_table(results), sep="\n")
    return int(any(result.passed is False for result in results))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.truth", description=__doc__)
    parser.add_argument("--base-url", help="of the gateway's OpenAI surface, with its /v1")
    parser.add_argument("--model", help="a model that it sends to the scripted upstream")
    parser.add_argument("--key", help="the caller's key, where it wants one")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="goes with every question; may be repeated",
    )
    parser.add_argument("--penstock", action="store_true", help="start Penstock and ask it")
    parser.add_argument(
        "--back-ends", action="store_true", help="with --penstock: leave each of its back ends, too"
    )
    parser.add_argument("--upstream-port", type=int, help=f"default {UPSTREAM_PORT}")
    parser.add_argument("--only", metavar="WORDS", help="rows whose name holds these words")
    parser.add_argument("--leave-limit", type=float, default=0.2, help="seconds, default 0.2")
    parser.add_argument("--patience", type=float, default=15.0, help="seconds for an answer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if not options.penstock and not (options.base_url and options.model):
        parser.error("say --base-url and --model, or --penstock")
    if options.back_ends and not options.penstock:
        parser.error("--back-ends needs --penstock")
    options.headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (header.partition(":") for header in options.header)
    }
    if options.upstream_port is None:
        options.upstream_port = 0 if options.penstock else UPSTREAM_PORT
    return options


async def _asked(options: argparse.Namespace) -> list[Result]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(running_upstream(options.upstream_port))
        base_url, model, key = options.base_url, options.model, options.key
        if options.penstock:
            base_url, model, key = await stack.enter_async_context(running_penstock(upstream.port))
        results = await judged(
            base_url,
            model,
            key,
            upstream,
            headers=options.headers,
            only=options.only or "",
            patience=options.patience,
            leave_limit=options.leave_limit,
        )
    if options.back_ends:
        from benchmarks.truth import backends

        results += await backends.results(options.leave_limit)
    return results


async def judged(
    base_url: str,
    model: str,
    key: str | None,
    upstream: Upstream,
    *,
    headers: Mapping[str, str] | None = None,
    only: str = "",
    patience: float = 15.0,
    leave_limit: float = 0.2,
) -> list[Result]:
    """The result of each row whose name holds ``only``, in turn: rows never disturb each other."""
    gateway = Gateway(
        base_url, model, key, upstream, headers=headers, patience=patience, leave_limit=leave_limit
    )
    return [await judge(row, gateway) for row in ROWS if only in row.probe]


def _table(results: Sequence[Result]) -> Iterable[str]:
    for result in results:
        yield f"{_MARKS[result.passed]:<6}{result.probe:<38}{result.required}"
        if result.seen:
            yield f"{'':<6}{result.seen}"
    passed = sum(result.passed is True for result in results)
    yield f"{passed} of {len(results)} rows pass"


if __name__ == "__main__":
    sys.exit(main())
