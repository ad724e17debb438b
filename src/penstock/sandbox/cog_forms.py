"""Cog's bodies and frames: what its server reads and writes (wire/replicate.md section 8).

Keys stand in alphabetical order, as coglet writes them; wordings are those of cog 0.23.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import msgspec

JSON = object

BUSY = {"error": "At capacity - all prediction slots busy", "status": "failed"}
NOT_READY = {
    "error": "Setup has not finished yet. Wait until it has finished, or GET /health-check"
    " for status.",
    "status": "failed",
}
NO_STREAM = {
    "error": "This model does not support streaming responses."
    " Add @cog.streaming to predict() to enable SSE."
}
OTHER_ID = {
    "detail": [
        {
            "loc": ["body", "id"],
            "msg": "prediction ID must match the ID supplied in the URL",
            "type": "value_error",
        }
    ]
}
INDEX = {
    "cog_version": "0.23.1",
    "docs_url": "/docs",
    "healthcheck_url": "/health-check",
    "openapi_url": "/openapi.json",
    "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
    "predictions_idempotent_url": "/predictions/{prediction_id}",
    "predictions_url": "/predictions",
    "shutdown_url": "/shutdown",
}
KEEP_ALIVE = b": keep-alive\n\n"
# That there is such an event is documented, what it says is not: these words are ours.
DROPPED = b'event: error\ndata: {"error":"the history of this prediction was dropped"}\n\n'

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
}


class Asked(msgspec.Struct, frozen=True):
    """A body; what it does not name is accepted and ignored."""

    id: str | None = None
    input: JSON = None
    webhook: str | None = None


class Unreadable(Exception):
    """A body that is refused as plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def read_body(body: bytes, content_type: str) -> Asked:
    """Read a body; none at all asks with an empty input.

    Raises:
        Unreadable: It has another type, is no JSON, or has another form.
    """
    if not body and not content_type:
        return Asked(input={})
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Unreadable(415, "Expected request with `Content-Type: application/json`")
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except msgspec.ValidationError as problem:
        text = f"Failed to deserialize the JSON body into the target type: {problem}"
        raise Unreadable(422, text) from problem
    except msgspec.DecodeError as problem:
        text = f"Failed to parse the request body as JSON: {problem}"
        raise Unreadable(400, text) from problem
    return msgspec.structs.replace(asked, input={}) if asked.input is None else asked


def schema(max_tokens: int, *, streams: bool) -> dict[str, JSON]:
    """``/openapi.json``, as far as anybody reads it."""
    post = {"summary": "Predict", **({"x-cog-streaming": True} if streams else {})}
    return {
        "components": {
            "schemas": {
                "Input": {
                    "properties": input_properties(max_tokens),
                    "required": ["prompt"],
                    "title": "Input",
                    "type": "object",
                },
                "Output": {
                    "items": {"type": "string"},
                    "title": "Output",
                    "type": "array",
                    "x-cog-array-display": "concatenate",
                    "x-cog-array-type": "iterator",
                },
            }
        },
        "info": {"title": "Cog", "version": "0.1.0"},
        "openapi": "3.0.2",
        "paths": {"/predictions": {"post": post}},
    }


def input_properties(max_tokens: int) -> dict[str, dict[str, JSON]]:
    """The inputs of the model that is served."""
    limit = {"default": max_tokens, "maximum": max_tokens, "minimum": 1, "type": "integer"}
    return {
        "max_tokens": {**limit, "x-order": 2},
        "prompt": {"type": "string", "x-order": 0},
        "stop_sequences": {"type": "string", "x-order": 4},
        "system_prompt": {"default": "", "type": "string", "x-order": 1},
        "temperature": {"maximum": 5, "minimum": 0, "type": "number", "x-order": 3},
    }


def invalid(given: JSON, max_tokens: int) -> dict[str, JSON] | None:
    """The body of a 422, or None where the input fits. Unknown names fit."""
    if not isinstance(given, dict):
        said = f'{_shown(given)} is not of type "object"'
        return {"detail": [_detail("__root__", said)]}
    details = [
        detail
        for name, rules in sorted(input_properties(max_tokens).items())
        for detail in _faults(name, rules, given)
    ]
    return {"detail": details} if details else None


def event(name: str, data: Mapping[str, JSON]) -> bytes:
    """The bytes of an event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def _faults(
    name: str, rules: Mapping[str, JSON], given: Mapping[str, JSON]
) -> Iterator[dict[str, JSON]]:
    if name not in given:
        if name == "prompt":
            yield _detail(name, "Field required", "value_error.missing")
        return
    value, low, high = given[name], rules.get("minimum"), rules.get("maximum")
    # In the alphabetical order of the schema's words, as recorded: maximum, minimum, type.
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(high, int) and value > high:
            yield _detail(name, f"{_shown(value)} is greater than the maximum of {high}")
        if isinstance(low, int) and value < low:
            yield _detail(name, f"{_shown(value)} is less than the minimum of {low}")
    kind = str(rules["type"])
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (whole or isinstance(value, _TYPES[kind])):
        yield _detail(name, f'{_shown(value)} is not of type "{kind}"')


def _detail(name: str, said: str, kind: str = "value_error") -> dict[str, JSON]:
    return {"loc": ["body", "input", name], "msg": said, "type": kind}


def _shown(value: JSON) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
