"""Lists with cursors: ``{next, previous, results}``, where next and previous are whole URLs."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import quote

MODELS_PER_PAGE = 25
PREDICTIONS_PER_PAGE = 100


def page_of(
    items: Mapping[int, object], cursor: str | None, size: int, url: str
) -> dict[str, object] | None:
    """One page of `items`; None where the cursor is none of ours.

    Args:
        items: Number that stays the same while the list grows -> what is listed, in order.
        cursor: From the query; None begins with the first item.
        size: Items on a page.
        url: Where the list is asked for, without query.
    """
    numbers = list(items)
    first = 0
    if cursor is not None:
        number = _number(cursor)
        if number is None or number not in items:
            return None
        first = numbers.index(number)
    following = numbers[first + size : first + size + 1]
    before = numbers[max(0, first - size) : first][:1]
    return {
        "next": _link(url, following),
        "previous": _link(url, before),
        "results": [items[number] for number in numbers[first : first + size]],
    }


def _link(url: str, numbers: Sequence[int]) -> str | None:
    if not numbers:
        return None
    cursor = b64encode(f"p={numbers[0]}".encode()).decode()
    return f"{url}?cursor={quote(cursor, safe='')}"


def _number(cursor: str) -> int | None:
    try:
        text = b64decode(cursor, validate=True).decode()
        return int(text.removeprefix("p="))
    except (binascii.Error, ValueError):
        return None
