"""Where in a TOML text a key stands: the parser of the standard library does not tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HEADER = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]")
_PAIR = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*'|\s*\.\s*)+?)\s*=")
_BARE = re.compile(r"[\w-]+")
_PART = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^.]+)")

_WHOLE = frozenset({"cookies", "headers", "options", "aliases"})
"""Tables whose keys are the user's own: they have one origin, that of the table."""


def line_of(text: str, key: str) -> int:
    """The line of ``key``, or of the nearest table above it; 1 if neither is there."""
    wanted = parts_of(key)
    section: list[str] = []
    best, best_depth = 1, 0
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            path = section = parts_of(header.group(1))
        elif pair := _PAIR.match(line):
            path = section + parts_of(pair.group(1))
        else:
            continue
        common = path[: len(wanted)]  # a table may be there only by what is below it
        depth = 2 * len(common) + (common == path)
        if wanted[: len(common)] == common and depth > best_depth:
            best, best_depth = number, depth
    return best


def leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted key -> value of all that is set."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{prefix}{key_of(name)}"
        if isinstance(value, dict) and value and name not in _WHOLE:
            found += leaves(value, f"{key}.")
        else:
            found.append((key, value))
    return found


def parts_of(dotted: str) -> list[str]:
    """The names of a dotted key, quoted ones without their quotes."""
    return [part.strip().strip("\"'") for part in _PART.findall(dotted)]


def key_of(*names: str) -> str:
    """The dotted key of ``names``; one that is no bare key of TOML is quoted."""
    return ".".join(name if _BARE.fullmatch(name) else f'"{name}"' for name in names)
