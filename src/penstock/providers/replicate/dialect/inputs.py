"""A chat as the ``input`` of one model: its own parameter names, ranges and places.

Names differ from model to model and change (wire/replicate.md section 7), and a wrong one is
dropped by the server without a word. So a name is only used where the model's schema, or the
table in ``models.py``, knows it; what has no name is told in a warning. Where nothing is known of
a model, the most common names are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.errors import BadRequestError
from penstock.prompts import data_url, fold, split_system
from penstock.providers.replicate.models import (
    IMAGE_NAMES,
    LIMIT_NAMES,
    SAMPLING_NAMES,
    Field,
    ModelInputs,
)
from penstock.types import ChatRequest, ImagePart, Message, Notice, Sampling, Value
from penstock.wire.decoder import JSON_ERRORS


class Plan(Value, frozen=True):
    """What is sent to a model, and what is to be remembered of it.

    Attributes:
        inputs: the ``input`` object.
        stops: strings to be cut here.
        limit: the largest number of tokens asked for.
        warnings: parameters the model does not have.
    """

    inputs: Mapping[str, Any]
    stops: tuple[str, ...] = ()
    limit: int | None = None
    warnings: tuple[Notice, ...] = ()


def plan_of(request: ChatRequest, model: ModelInputs) -> Plan:
    """``request`` for a model with these inputs; raw keys of the caller win.

    Raises:
        BadRequestError: a value out of the model's range, or images where none are taken.
    """
    inputs = _content(request, model)
    warnings = _sampling(request.sampling, model, request.model, inputs)
    _stops(request.sampling.stop, model, inputs)
    inputs.update(request.extra)
    limit = next((inputs[name] for name in LIMIT_NAMES if name in inputs), None)
    return Plan(
        inputs,
        stops=request.sampling.stop,
        limit=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        warnings=warnings,
    )


def _content(request: ChatRequest, model: ModelInputs) -> dict[str, Any]:
    images = [image for message in request.messages for image in message.images]
    system, others = split_system(request.messages)
    if not images and _takes_list(model, others):
        return {"messages": _messages(request.messages, model)}
    if model.fields is not None and not model.has("prompt") and not request.extra:
        raise BadRequestError(
            "this model takes neither a prompt nor messages; pass its own inputs as extra",
            param="messages",
        )
    inputs: dict[str, Any] = {}
    spoken: Sequence[Message] = request.messages
    if system is not None and others and model.has("system_prompt"):
        inputs["system_prompt"], spoken = system, others
    inputs["prompt"] = fold(spoken)
    if images:
        inputs |= _images(images, model)
    return inputs


def _takes_list(model: ModelInputs, others: Sequence[Message]) -> bool:
    return model.has("messages") and (len(others) > 1 or not model.has("prompt"))


def _messages(messages: Sequence[Message], model: ModelInputs) -> object:
    # The vendor's page says both, list and JSON text (section 12); the schema's type decides.
    listed = [{"role": message.role, "content": message.text} for message in messages]
    kind = model.fields["messages"].kind if model.fields else ""
    return msgspec.json.encode(listed).decode() if kind == "string" else listed


def _images(images: Sequence[ImagePart], model: ModelInputs) -> dict[str, Any]:
    name = next((name for name in IMAGE_NAMES if model.has(name)), None)
    if name is None or model.fields is None:
        raise BadRequestError("this model is not known to take images", param="messages")
    urls = [data_url(image) for image in images]
    if model.fields[name].kind == "array":
        return {name: urls}
    if len(urls) > 1:
        raise BadRequestError("this model takes one image only", param="messages")
    return {name: urls[0]}


def _sampling(
    sampling: Sampling, model: ModelInputs, model_name: str, inputs: dict[str, Any]
) -> tuple[Notice, ...]:
    dropped: list[Notice] = []
    for ours, value in sampling.given().items():
        names = SAMPLING_NAMES.get(ours)
        if names is None:
            continue
        if model.fields is None:
            inputs[names[0]] = value
            continue
        name = next((name for name in names if name in model.fields), None)
        if name is None:
            dropped.append(Notice.dropped(ours, f"{model_name} has no such parameter"))
        else:
            _check(ours, value, model.fields[name])
            inputs[name] = value
    return tuple(dropped)


def _check(name: str, value: float, field: Field) -> None:
    low, high = field.low, field.high
    if (low is None or value >= low) and (high is None or value <= high):
        return
    if high is None:
        span = f"at least {low:g}"
    else:
        span = f"at most {high:g}" if low is None else f"within {low:g} to {high:g}"
    raise BadRequestError(f"{name} must be {span} for this model, not {value!r}", param=name)


def _stops(stops: Sequence[str], model: ModelInputs, inputs: dict[str, Any]) -> None:
    # One comma-joined field: a stop string with a comma cannot be sent, and is cut here alone.
    sendable = [stop for stop in stops if "," not in stop]
    if sendable and (model.fields is None or model.has("stop_sequences")):
        inputs["stop_sequences"] = ",".join(sendable)


def schema_inputs(body: bytes, version: str | None) -> ModelInputs | None:
    """The inputs in a model's own schema; None where it has none, or one of another version."""
    try:
        latest = msgspec.json.decode(body)["latest_version"]
        if version is not None and latest.get("id", version) != version:
            return None
        properties = latest["openapi_schema"]["components"]["schemas"]["Input"]["properties"]
        fields = {str(name): _field(given) for name, given in properties.items()}
    except (*JSON_ERRORS, KeyError, TypeError, AttributeError):
        return None
    return ModelInputs(fields) if fields else None


def _field(given: Any) -> Field:
    if not isinstance(given, dict):
        return Field()
    kind = given.get("type")
    return Field(
        kind if isinstance(kind, str) else "",
        low=_number(given.get("minimum")),
        high=_number(given.get("maximum")),
    )


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
