"""The spellings of a model, and which endpoint each of them means (wire/replicate.md section 3)."""

from __future__ import annotations

import re

from penstock.errors import ModelNotFoundError
from penstock.types import Value
from penstock.wire.request import path_of

VERSION = re.compile(r"[0-9a-f]{64}")


class Target(Value, frozen=True):
    """Where a prediction of a model is created.

    Attributes:
        path: below the base of the API, percent-encoded.
        version: goes into the body.
        model: ``owner/name``, whose schema may be asked for; None where it is not known.
    """

    path: str
    version: str | None = None
    model: str | None = None


def target_of(model: str) -> Target:
    """The endpoint for ``owner/name``, ``owner/name:64hex``, ``64hex`` or ``deployments/...``.

    Raises:
        ModelNotFoundError: spelled in no such way.
        BadRequestError: a part holds what an id cannot.
    """
    if VERSION.fullmatch(model):
        return Target("/predictions", version=model)
    name, colon, version = model.partition(":")
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "deployments" and not colon:
        return Target(f"/deployments/{path_of(*parts[1:])}/predictions")
    if len(parts) == 2 and not colon:
        return Target(f"/models/{path_of(*parts)}/predictions", model=name)
    if len(parts) == 2 and VERSION.fullmatch(version):
        path_of(*parts)
        return Target("/predictions", version=version, model=name)
    raise ModelNotFoundError(
        f"{model[:80]!r} is no model name of Replicate; write owner/name, "
        "owner/name:version, a version of 64 hexadecimal digits, or deployments/owner/name",
        model=model,
        param="model",
    )
