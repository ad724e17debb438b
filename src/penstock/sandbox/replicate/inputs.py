"""Bodies of creates as values: what is refused of them, and what the model is asked.

A name that is not in the model's schema is dropped without a word, so that a wrong parameter
name has no effect (wire/replicate.md section 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from penstock.sandbox.replicate.models import LIMIT_NAMES, Model, Parameter
from penstock.sandbox.replicate.refusals import Fault
from penstock.sandbox.script import Message, Prompt

JSON = object
_TOP = ("input", "stream", "webhook", "webhook_events_filter", "webhook_completed")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
}
_GIVEN = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def body_faults(body: Mapping[str, JSON], *, versioned: bool) -> list[Fault]:
    """What is wrong with the top level of a create."""
    allowed = (*_TOP, "version") if versioned else _TOP
    needed = ("version", "input") if versioned else ("input",)
    faults = [Fault("required", "", f"{key} is required") for key in needed if key not in body]
    if not isinstance(body.get("input", {}), dict):
        faults.append(_wrong_type("input", "object", body["input"]))
    if not isinstance(body.get("version", ""), str):
        faults.append(_wrong_type("version", "string", body["version"]))
    extra = "additional_property_not_allowed"
    return faults + [
        Fault(extra, "", f"Additional property {key} is not allowed")
        for key in body
        if key not in allowed
    ]


def input_faults(model: Model, given: Mapping[str, JSON]) -> list[Fault]:
    """What is wrong with the input of a create."""
    faults = [
        Fault("required", "input", f"{one.name} is required")
        for one in model.inputs
        if one.required and one.name not in given
    ]
    for one in model.inputs:
        if one.name in given:
            faults += _faults(one, given[one.name])
    return faults


def prompt_of(model: Model, given: Mapping[str, JSON]) -> Prompt:
    """What the model is asked by an input that fits."""
    known = {
        one.name: given.get(one.name, one.default)
        for one in model.inputs
        if given.get(one.name, one.default) is not None
    }
    stop = str(known.get("stop_sequences", ""))
    return Prompt(
        messages=tuple(_messages(known)),
        model=model.id,
        max_tokens=next(
            (int(float(str(known[name]))) for name in LIMIT_NAMES if name in known),
            None,
        ),
        stop=tuple(one for one in stop.split(",") if one),
    )


def seconds_to_wait(prefer: str | None) -> float | None:
    """Seconds that ``Prefer: wait`` asks for, within 1 and 60; None where it does not."""
    found = re.search(r"\bwait(?:=(\d+))?\b", prefer or "")
    if found is None:
        return None
    return float(min(max(int(found[1]), 1), 60)) if found[1] else 60.0


def seconds_until_cancel(cancel_after: str | None) -> float | None:
    """Seconds of a ``Cancel-After`` header, at least 5; None where it says nothing."""
    found = _DURATION.fullmatch((cancel_after or "").strip())
    if found is None or not found[0]:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return max(5.0, hours * 3600.0 + minutes * 60 + seconds)


def _faults(one: Parameter, value: JSON) -> Iterator[Fault]:
    field = f"input.{one.name}"
    wanted = _KINDS.get(one.kind)
    whole = one.kind == "integer" and isinstance(value, float) and value.is_integer()
    odd_bool = isinstance(value, bool) and one.kind in ("integer", "number")
    if wanted is not None and (odd_bool or not (whole or isinstance(value, wanted))):
        yield _wrong_type(field, one.kind, value)
        return
    if one.choices and value not in one.choices:
        offered = ", ".join(f'"{choice}"' for choice in one.choices)
        yield Fault("enum", field, f"{field} must be one of the following: {offered}")
    if isinstance(value, int | float):
        if one.low is not None and value < one.low:
            limit = f"Must be greater than or equal to {one.low:g}"
            yield Fault("number_gte", field, limit)
        if one.high is not None and value > one.high:
            yield Fault("number_lte", field, f"Must be less than or equal to {one.high:.15g}")


def _wrong_type(field: str, wanted: str, value: JSON) -> Fault:
    given = "null" if value is None else _GIVEN.get(type(value), "object")
    said = f"Invalid type. Expected: {wanted}, given: {given}"
    return Fault("invalid_type", field, said)


class _Part(msgspec.Struct):
    text: str = ""


class _Said(msgspec.Struct):
    role: str
    content: str | list[_Part]


def _messages(known: Mapping[str, JSON]) -> Iterator[Message]:
    # With messages, prompt and system_prompt are ignored (section 7, openai rows).
    if chat := _chat(known.get("messages")):
        yield from chat
        return
    text = str(known.get("prompt", known.get("text", "")))
    system = str(known.get("system_prompt", ""))
    template = str(known.get("prompt_template", "")) or "{prompt}"
    if system and "{system_prompt}" not in template:
        yield Message("system", system)
    # The prompt goes in last: what a caller writes is no template.
    yield Message("user", template.replace("{system_prompt}", system).replace("{prompt}", text))


def _chat(given: JSON) -> list[Message]:
    """The messages, as a list or as the JSON of one: the page says both (section 12)."""
    try:
        if isinstance(given, str):
            said = msgspec.json.decode(given or "[]", type=list[_Said])
        else:
            said = msgspec.convert(given or [], list[_Said])
    except msgspec.MsgspecError:
        return []
    return [Message(one.role, _text(one.content)) for one in said]


def _text(content: str | list[_Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
