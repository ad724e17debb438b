"""Parameters by the router's own names, checked before anything is sent (rule 17).

The app passes them on unread and the router answers a wrong type with 422 in plain text, a wrong
value with an error frame (``wire/h2o.md`` section 5), so both are refused here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from penstock.errors import BadRequestError
from penstock.types import Sampling

_NAMES = {"max_tokens": "max_new_tokens"}
_ABOVE_ZERO = frozenset({"temperature", "repetition_penalty"})
_FRACTIONS = frozenset({"top_p", "typical_p"})
_COUNTS: Mapping[str, tuple[int, int]] = {
    "top_k": (1, 2**31 - 1),
    "max_new_tokens": (1, 2**32 - 1),
    "truncate": (1, 2**32 - 1),
    "seed": (0, 2**64 - 1),
}


def parameters_of(
    sampling: Sampling,
    extra: Mapping[str, Any],
    defaults: Mapping[str, Any],
    known: frozenset[str],
    provider: str,
) -> dict[str, Any]:
    """All parameters of a call: defaults, over them ``sampling``, over them ``extra``.

    ``details`` is asked for, because without it the wire does not tell why an answer ended
    (rule 12). A None in ``extra`` takes a default away.

    Raises:
        BadRequestError: a value the router would refuse; it names the parameter.
    """
    given = {_NAMES.get(name, name): value for name, value in sampling.given().items()}
    raw = {name: value for name, value in extra.items() if name in known}
    merged = {**defaults, "details": True, **given, **raw}
    parameters = {name: value for name, value in merged.items() if value is not None}
    if "stop" in parameters:
        stop = parameters["stop"]
        parameters["stop"] = [stop] if isinstance(stop, str) else list(stop)
    for name, value in parameters.items():
        problem = _problem(name, value)
        if problem is not None:
            raise BadRequestError(
                f"{name} must be {problem}, not {value!r:.60}", provider=provider, param=name
            )
    return parameters


def _problem(name: str, value: object) -> str | None:
    if name == "stop":
        fits = isinstance(value, list) and all(isinstance(one, str) and one for one in value)
        return None if fits else "a list of strings, none empty"
    if name in _COUNTS:
        low, high = _COUNTS[name]
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"a whole number from {low} to {high}"
    if name in _ABOVE_ZERO:
        return None if _is_number(value, math.inf) else "a number above 0"
    if name in _FRACTIONS:
        return None if _is_number(value, 1.0) else "a number above 0 and below 1"
    return None if isinstance(value, bool) else "true or false"


def _is_number(value: object, below: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < below
