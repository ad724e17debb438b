"""Reading JSON bodies: bytes to a struct, every complaint with the name of its field. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from penstock.errors import BadRequestError
from penstock.gateway.surfaces.surface import wrong

T = TypeVar("T")

ModelName = Annotated[str, msgspec.Meta(max_length=300)]
"""A model as a caller names it: it ends up in headers, in the log and in figures."""

MAX_DEPTH = 64
_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object in ``data``.

    Raises:
        BadRequestError: it is no JSON, no object, or nested too deeply.
    """
    try:
        value = msgspec.json.decode(data)
    except _JSON_ERRORS as error:
        raise BadRequestError(f"the body is not valid JSON: {_reason(error, data)}") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    openings = data.count(b"{") + data.count(b"[")
    if openings > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise BadRequestError(f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    # The decoder takes such a half for the end of the data.
    return "it holds half of a surrogate pair" if _HALF.search(data) else str(error)


def _deeper(value: object, levels: int) -> bool:
    inner: Any = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)


def converted(value: Mapping[str, Any], type_: type[T]) -> T:
    """``value`` as ``type_``; members that it does not name are left to the caller.

    Raises:
        BadRequestError: a member is missing or has the wrong type; ``param`` names it.
    """
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        param = place.strip("`").removeprefix("$").lstrip(".")
        missing = re.search(r"missing required field `(\w+)`", reason)
        if missing:
            param = f"{param}.{missing[1]}".lstrip(".")
            raise wrong(f"{param} is missing", param) from None
        plain = reason[:1].lower() + reason[1:].replace("`", "")
        raise wrong(f"{param}: {plain}" if param else plain, param or None) from None
