"""How a program that runs in its client's environment tells what it found.

Standard library only: there is nothing else beside the client.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

Given = TypeVar("Given")


def tell(given: Given, tasks: Iterable[Callable[[Given], object]]) -> None:
    """Run all tasks and print what they found; one that fails is told as its traceback."""
    found: dict[str, object] = {}
    for task in tasks:
        try:
            found[task.__name__] = task(given)
        except BaseException:
            found[task.__name__] = {"failed": traceback.format_exc()}
            if not isinstance(sys.exc_info()[1], Exception):
                raise
    json.dump(found, sys.stdout)
