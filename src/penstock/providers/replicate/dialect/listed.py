"""The list of models, as far as a chat can use them (wire/replicate.md section 3).

The service lists models of every kind. Where a model's schema is known, one that takes neither a
prompt nor messages, demands more than these and an image, or gives files is left out. A community
model is named with its version, for it answers to no other name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.providers.replicate.dialect.targets import VERSION
from penstock.providers.replicate.models import IMAGE_NAMES
from penstock.types import ModelInfo
from penstock.wire.decoder import JSON_ERRORS, bad_payload

_SPOKEN = frozenset({"prompt", "messages"})


class _Listed(msgspec.Struct, frozen=True):
    owner: str
    name: str
    description: str | None = None
    is_official: bool | None = None
    latest_version: Any = None


class _Page(msgspec.Struct, frozen=True):
    results: list[_Listed]
    next: str | None = None


def decode_models(body: bytes) -> tuple[list[ModelInfo], str | None]:
    """The models of a page that can chat, and the URL of the next one; None after an empty one.

    Raises:
        ProtocolError: it is no list of models.
    """
    try:
        page = msgspec.json.decode(body, type=_Page)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    found = [info for item in page.results if (info := _info(item)) is not None]
    return found, page.next if page.results else None


def _info(item: _Listed) -> ModelInfo | None:
    version = _table(item.latest_version)
    schemas = _table(version, "openapi_schema", "components", "schemas")
    names, needed = _names(schemas, "properties"), _names(schemas, "required")
    if (names and not names & _SPOKEN) or needed - _SPOKEN - {*IMAGE_NAMES}:
        return None
    if _gives_files(_table(schemas, "Output")):
        return None
    pinned = version.get("id") if item.is_official is False else None
    end = f":{pinned}" if isinstance(pinned, str) and VERSION.fullmatch(pinned) else ""
    return ModelInfo(
        id=f"{item.owner}/{item.name}{end}",
        name=item.name,
        description=item.description or "",
        images=not names.isdisjoint(IMAGE_NAMES),
        needs_image=not needed.isdisjoint(IMAGE_NAMES),
    )


def _names(schemas: Mapping[str, Any], key: str) -> set[str]:
    """The input parameters: all, or the required ones."""
    found = _table(schemas, "Input").get(key)
    if not isinstance(found, dict | list):
        return set()
    return {name for name in found if isinstance(name, str)}


def _gives_files(output: Mapping[str, Any]) -> bool:
    return "uri" in (output.get("format"), _table(output, "items").get("format"))


def _table(value: object, *path: str) -> Mapping[str, Any]:
    """The table at that path; an empty one where something else stands."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
