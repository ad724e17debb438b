"""Request bodies to values: multipart, JSON or query string, in both spellings of names.

`read_body` reads, `Reader` takes fields out one by one and collects what is wrong, so
that a refusal lists everything (wire/allenai.md sections 3.1 and 4.1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from aiohttp import BodyPartReader, web

from penstock.sandbox.allenai.refusals import Complaint, Refused

_FIELD_LIMIT = 500_000
_MISSING = object()

Number = TypeVar("Number", int, float)


class Upload(msgspec.Struct, frozen=True):
    """A file part."""

    name: str
    content_type: str
    data: bytes


class Body(msgspec.Struct, frozen=True):
    """A request body.

    Attributes:
        fields: Values by the name they were sent under; of a repeated one the first.
        repeated: All values of each form field.
        files: The file parts.
        form: Whether it was a form; else the values are those of JSON.
    """

    fields: Mapping[str, object] = {}
    repeated: Mapping[str, Sequence[str]] = {}
    files: tuple[Upload, ...] = ()
    form: bool = True


async def read_body(request: web.Request, *, urlencoded: bool = False) -> Body:
    """Read the body of a request.

    Args:
        request: The request.
        urlencoded: Whether such forms are understood; both v4 versions see no fields
            in them.

    Raises:
        Refused: The body is no JSON object, no form, or has a field over the limit.
    """
    if request.content_type.startswith("multipart/"):
        return await _multipart(request)
    if request.content_type == "application/x-www-form-urlencoded":
        sent = await request.post()
        return _form([(name, str(value)) for name, value in sent.items()] if urlencoded else [])
    data = await request.read()
    if data:
        return Body(fields=_object(data), form=False)
    return _form(list(request.query.items()))


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Refused(400) from error
    if not isinstance(value, dict):
        raise Refused(400)
    return value


async def _multipart(request: web.Request) -> Body:
    values: list[tuple[str, str]] = []
    files: list[Upload] = []
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise Refused(400)
            data = bytes(await part.read())
            if part.filename is not None:
                kind = part.headers.get("Content-Type", "application/octet-stream")
                files.append(Upload(part.filename, kind, data))
            elif len(data) > _FIELD_LIMIT:
                raise Refused(413)
            else:
                values.append((part.name or "", data.decode("utf-8", "replace")))
    except ValueError as error:
        raise Refused(400) from error
    return _form(values, tuple(files))


def _form(values: Sequence[tuple[str, str]], files: tuple[Upload, ...] = ()) -> Body:
    repeated: dict[str, list[str]] = {}
    for name, value in values:
        repeated.setdefault(name, []).append(value)
    first = {name: given[0] for name, given in repeated.items()}
    return Body(fields=first, repeated=repeated, files=files)


def camel(name: str) -> str:
    """Spell a name of ours as the newer version does."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


class Reader:
    """Takes fields out of a body.

    Attributes:
        complaints: What was wrong so far.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        self.complaints: list[Complaint] = []

    def complain(self, message: str) -> None:
        """Note that the body as a whole is wrong."""
        shown = repr(dict(self.body.fields))
        self.complaints.append(Complaint(message=f"Value error, {message}", shown=shown))

    def text(
        self, name: str, *, required: bool = False, least: int = 0, nullable: bool = True
    ) -> str | None:
        """Take a text of at least so many characters."""
        key, value = self._find(name)
        if value is _MISSING and required:
            self._missing(name)
        if value is _MISSING or (value is None and nullable and not required):
            return None
        if not isinstance(value, str):
            self._wrong(key, value, "Input should be a valid string", "string_type")
            return None
        if len(value) < least:
            plural = "" if least == 1 else "s"
            message = f"String should have at least {least} character{plural}"
            self._wrong(key, value, message, "string_too_short")
        return value

    def word(self, name: str, allowed: Sequence[str]) -> str | None:
        """Take one of some words."""
        key, value = self._find(name)
        if value is _MISSING or value is None:
            return None
        if value not in allowed:
            *most, last = (repr(one) for one in allowed)
            listed = f"{', '.join(most)} or {last}" if most else last
            self._wrong(key, value, f"Input should be {listed}", "enum")
            return None
        return str(value)

    def flag(self, name: str) -> bool | None:
        """Take a truth value, in any of the spellings pydantic takes."""
        key, value = self._find(name)
        if value is _MISSING or value is None:
            return None
        told = {"true": True, "1": True, "yes": True, "on": True}
        told |= {"false": False, "0": False, "no": False, "off": False}
        found = value if isinstance(value, bool) else told.get(str(value).lower())
        if found is None:
            message = "Input should be a valid boolean, unable to interpret input"
            self._wrong(key, value, message, "bool_parsing")
        return found

    def whole(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """Take a whole number within a range."""
        return self._number(name, int, least, most, "integer")

    def real(
        self,
        name: str,
        *,
        least: float | None = None,
        most: float | None = None,
        step: float | None = None,
    ) -> float | None:
        """Take a number within a range, on a grid where there is one."""
        value = self._number(name, float, least, most, "number")
        if value is not None and step and abs(round(value / step) * step - value) > 1e-9:
            key, sent = self._find(name)
            message = f"Input should be a multiple of {step:g}"
            self._wrong(key, sent, message, "multiple_of")
        return value

    def texts(self, name: str, *, in_json: bool = True) -> tuple[str, ...] | None:
        """Take a list of texts, a repeated field in a form."""
        if self.body.form:
            repeated = self.body.repeated
            given = repeated.get(name) or repeated.get(camel(name))
            return tuple(given) if given else None
        key, value = self._find(name)
        if not in_json or value is _MISSING or value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._wrong(key, value, "Input should be a valid list", "list_type")
            return None
        return tuple(value)

    def _number(
        self,
        name: str,
        kind: type[Number],
        least: Number | None,
        most: Number | None,
        called: str,
    ) -> Number | None:
        key, sent = self._find(name)
        if sent is _MISSING or sent is None:
            return None
        value = _parsed(sent, kind)
        if value is None:
            article = "an" if kind is int else "a"
            message = f"Input should be a valid {called}, unable to parse string as {article} "
            self._wrong(key, sent, message + called, f"{kind.__name__}_parsing")
        elif least is not None and value < least:
            message = f"Input should be greater than or equal to {least:g}"
            self._wrong(key, sent, message, "greater_than_equal")
        elif most is not None and value > most:
            message = f"Input should be less than or equal to {most:g}"
            self._wrong(key, sent, message, "less_than_equal")
        else:
            return value
        return None

    def _find(self, name: str) -> tuple[str, object]:
        for key in (name, camel(name)):
            if key in self.body.fields:
                return key, self.body.fields[key]
        return name, _MISSING

    def _missing(self, name: str) -> None:
        shown = repr(dict(self.body.fields))
        self.complaints.append(
            Complaint(field=name, message="Field required", type="missing", shown=shown)
        )

    def _wrong(self, key: str, value: object, message: str, kind: str) -> None:
        self.complaints.append(
            Complaint(
                field=key,
                message=message,
                type=kind,
                shown=repr(value),
                shown_type=type(value).__name__,
            )
        )


def _parsed(sent: object, kind: type[Number]) -> Number | None:
    if isinstance(sent, bool) or not isinstance(sent, str | int | float):
        return None
    try:
        value = kind(sent)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(value) or (isinstance(sent, float) and value != sent):
        return None
    return value
