"""Bodies of the posts to values, judged as pydantic 1 does (wire/openassistant.md section 5)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import msgspec

from penstock.sandbox.openassistant.models import PARAMETERS


class Problem(Exception):
    """The inference server refuses, or breaks down.

    Attributes:
        detail: What it says; None where a handler broke down and says nothing.
    """

    def __init__(self, status: int, detail: object = None) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail


class Prompting(msgspec.Struct, frozen=True):
    """A prompter message to be posted."""

    parent_id: str | None
    content: str


class Assisting(msgspec.Struct, frozen=True, kw_only=True):
    """An assistant message to be made."""

    parent_id: str
    model: str
    sampling: dict[str, float | None]
    system_prompt: str | None = None
    user_profile: str | None = None
    user_response_instructions: str | None = None
    plugins: list[dict[str, object]] = []


def parsed(data: bytes) -> object:
    """Parse a body.

    Raises:
        Problem: There is none, or it is no JSON.
    """
    if not data:
        raise Problem(422, [_complaint(["body"], "field required", "value_error.missing")])
    try:
        return json.loads(data)
    except ValueError as error:
        words = [_complaint(["body", 0], "Expecting value", "value_error.jsondecode")]
        raise Problem(422, words) from error


def prompting(body: object) -> Prompting:
    """Take a prompter message from a body.

    Raises:
        Problem: It does not fit.
    """
    take = _Reader(body)
    parent, content = take.text("parent_id"), take.text("content", required=True)
    take.judge()
    return Prompting(parent, content or "")


def assisting(body: object) -> Assisting:
    """Take an assistant message from a body.

    Raises:
        Problem: It does not fit.
    """
    take = _Reader(body)
    asked = Assisting(
        parent_id=take.text("parent_id", required=True) or "",
        model=take.text("model_config_name", required=True) or "",
        sampling=take.sampling(),
        system_prompt=take.text("system_prompt"),
        user_profile=take.text("user_profile"),
        user_response_instructions=take.text("user_response_instructions"),
        plugins=take.plugins(),
    )
    take.judge()
    return asked


def servable(sampling: Mapping[str, float | None]) -> bool:
    """Say whether the model server takes such values; what is left out it chooses itself."""

    def within(name: str, most: float = math.inf) -> bool:
        value = sampling.get(name)
        return value is None or 0 < value < most

    return all(
        (
            within("temperature"),
            within("top_p", 1),
            within("typical_p", 1),
            within("top_k"),
            within("repetition_penalty"),
            within("max_new_tokens"),
        )
    )


class _Reader:
    def __init__(self, body: object) -> None:
        self._body: Mapping[str, object] = body if isinstance(body, dict) else {}
        self._complaints: list[dict[str, object]] = []
        if not isinstance(body, dict):
            words = ("value is not a valid dict", "type_error.dict")
            self._complaints.append(_complaint(["body"], *words))

    def judge(self) -> None:
        if self._complaints:
            raise Problem(422, self._complaints)

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self._body.get(name)
        if value is None:
            if required and name in self._body:
                self._null(name)
            elif required:
                self._wrong([name], "field required", "value_error.missing")
            return None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)  # a number passes for a text
        self._wrong([name], "str type expected", "type_error.str")
        return None

    def sampling(self) -> dict[str, float | None]:
        given = self._body.get("sampling_parameters")
        if given is not None and not isinstance(given, dict):
            place = ["sampling_parameters"]
            self._wrong(place, "value is not a valid dict", "type_error.dict")
        values: Mapping[str, object] = given if isinstance(given, dict) else {}
        taken = {
            name: self._number(name, values.get(name), whole=name == "top_k") for name in PARAMETERS
        }
        if "max_new_tokens" in values and values["max_new_tokens"] is None:
            self._null("sampling_parameters", "max_new_tokens")
        most = self._number("max_new_tokens", values.get("max_new_tokens", 1024), whole=True)
        return {**taken, "max_new_tokens": most}

    def plugins(self) -> list[dict[str, object]]:
        given = self._body.get("plugins")
        if given is None:
            return []
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            self._wrong(["plugins"], "value is not a valid list", "type_error.list")
            return []
        return [
            {
                "url": one.get("url"),
                "enabled": one.get("enabled", True),
                "plugin_config": None,
                "trusted": False,
            }
            for one in given
        ]

    def _number(self, name: str, value: object, *, whole: bool) -> float | None:
        if value is None:
            return None
        found = _as_number(value, whole=whole)
        if found is None:
            kind = "integer" if whole else "float"
            place = ["sampling_parameters", name]
            self._wrong(place, f"value is not a valid {kind}", f"type_error.{kind}")
        return found

    def _null(self, *place: str) -> None:
        words = ("none is not an allowed value", "type_error.none.not_allowed")
        self._wrong(list(place), *words)

    def _wrong(self, place: Sequence[str], message: str, kind: str) -> None:
        self._complaints.append(_complaint(["body", *place], message, kind))


def _as_number(value: object, *, whole: bool) -> float | None:
    """Coerce as pydantic 1 does: 50.7 to 50, "12" to 12, but "50.7" to no whole number."""
    if not isinstance(value, str | int | float):
        return None
    try:
        return int(value) if whole else float(value)
    except (ValueError, OverflowError):
        return None


def _complaint(place: Sequence[str | int], message: str, kind: str) -> dict[str, object]:
    return {"loc": list(place), "msg": message, "type": kind}


def storable(text: str) -> bool:
    """Say whether the database takes a text: no U+0000, no half of a character."""
    return "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)
