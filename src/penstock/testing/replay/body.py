"""Request bodies, read back: what a client said in JSON, in a form, or in a multipart form.

The same reading serves recorded requests and those that arrive at the replay server, so that the
two can be compared field by field, whatever their spelling on the wire.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, unquote

from penstock.types import Value

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_PARAMETER = re.compile(r'(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class File(Value, frozen=True):
    """A file of a multipart form."""

    field: str
    name: str
    media_type: str
    data: bytes


class Form(Value, frozen=True):
    """A form: its fields in order, repeated ones too, and its files."""

    fields: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()

    def first(self, *names: str) -> str | None:
        """The first value of a field that goes by any of ``names``."""
        return next((value for name, value in self.fields if name in names), None)

    def all(self, *names: str) -> tuple[str, ...]:
        """Every value of a field that goes by any of ``names``."""
        return tuple(value for name, value in self.fields if name in names)


def read_json(content: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty where it is something else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_form(content_type: str, content: bytes) -> Form:
    """The form in a body: multipart, url-encoded, or a JSON object taken for one.

    Lists of a JSON object become repeated fields; other values that are no text stay JSON.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        boundary = _BOUNDARY.search(content_type)
        return _multipart(boundary.group(1).encode(), content) if boundary else Form()
    if kind == "application/x-www-form-urlencoded":
        return Form(tuple(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True)))
    fields = []
    for name, value in read_json(content).items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                fields.append((name, item if isinstance(item, str) else json.dumps(item)))
    return Form(tuple(fields))


def _multipart(boundary: bytes, content: bytes) -> Form:
    fields: list[tuple[str, str]] = []
    files: list[File] = []
    for part in (b"\r\n" + content).split(b"\r\n--" + boundary)[1:]:
        head, separator, data = part.partition(b"\r\n\r\n")
        if not separator:
            continue  # the closing boundary, or what follows it
        lines = head.decode("utf-8", "replace").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        named = {
            key.lower(): unquote(value)
            for key, value in _PARAMETER.findall(headers.get("content-disposition", ""))
        }
        field = named.get("name", "")
        if "filename" in named:
            media_type = headers.get("content-type", "application/octet-stream")
            files.append(File(field, named["filename"], media_type, data))
        else:
            fields.append((field, data.decode("utf-8", "replace")))
    return Form(tuple(fields), tuple(files))


def cookies_of(header: str) -> dict[str, str]:
    """Name -> value of a ``Cookie`` header, in its order."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
