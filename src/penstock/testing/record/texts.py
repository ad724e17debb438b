"""What people and models said, made unreadable without moving a byte. Pure.

Each letter and digit becomes another one of as many bytes, so that pieces, chunks, blanks and
lengths stay what they were and decoders have the same work as before. Texts are known by the names
that protocols have for them. The data of an event that is no JSON is text, too (wire/replicate.md
section 9), and so is every file. Words of an error stay: they tell its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from penstock.testing.record.bodies import replaced_body, text_or_none
from penstock.testing.replay.case import Exchange

_NAMES = (
    rb"(?:content|text|inputs?|prompt|preprompt|system_prompt|token|generated_text|answer|output"
    rb"|snippet|title|reasoning|reasoning_content|thinking|logs|arguments|continuation|chunk|data)"
)
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_TEXTS = re.compile(
    rb'(?:(?<!\\)"' + _NAMES + rb'"\s*:\s*' + _STRING + rb")"
    rb'|(?:\\"' + _NAMES + rb'\\"\s*:\s*\\"(.*?)(?<!\\)\\")'  # in JSON within a string
    rb'|(?:"(?:output|stop)"\s*:\s*\[((?:\s*"(?:[^"\\]|\\.)*"\s*,?)*)\])'
    rb"|(?:\bname=\"(?:content|inputs|prompt|stop)\"\r\n\r\n(.*?)(?=\r\n--|\Z))"
    rb"|(?:(?:\A|&)(?:content|inputs|prompt|text)=([^&\"{]*))",
    re.DOTALL,
)
_FILES = re.compile(
    rb"\bfilename=\"[^\"]*\"(?:\r\n[^\r\n]+)*\r\n\r\n(.*?)(?=\r\n--)"
    rb"|data:[\w.+/-]+;base64,([A-Za-z0-9+/]+)",
    re.DOTALL,
)
_ID = re.compile(rb"msg_\w+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\[DONE\]")
_LETTER = re.compile(
    rb"\\u[0-9a-fA-F]{4}|\\.|%[0-9a-fA-F]{2}|[A-Za-z]|[0-9]"
    rb"|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}",
    re.DOTALL,
)
_REPAIRED = "\N{REPLACEMENT CHARACTER}".encode()
_BY_LENGTH = {2: "\N{LATIN SMALL LETTER E WITH ACUTE}", 3: "\u4e00", 4: "\N{GRINNING FACE}"}


def without_text(exchange: Exchange) -> Exchange:
    """``exchange`` with every text masked."""
    request, response = exchange.request, exchange.response
    asked = masked(request.content, request.header("content-type"))
    answered = masked(response.content, response.header("content-type"))
    text = text_or_none(asked)
    return Exchange(
        msgspec.structs.replace(request, body=text, body_b64=asked if text is None else None),
        msgspec.structs.replace(response, chunks=replaced_body(response.chunks, answered)),
    )


def masked(body: bytes, content_type: str) -> bytes:
    """A body with every text in it masked; as long as before."""
    found = _TEXTS.sub(_masked_match, _FILES.sub(_blanked_match, body))
    if "event-stream" in content_type:
        found = b"".join(_masked_lines(found))
    return found


def _masked_match(found: re.Match[bytes]) -> bytes:
    return _with_group(found, _masked)


def _blanked_match(found: re.Match[bytes]) -> bytes:
    return _with_group(found, lambda data: b"A" * len(data))


def _with_group(found: re.Match[bytes], change: Callable[[bytes], bytes]) -> bytes:
    group = next((n for n in range(1, found.re.groups + 1) if found.group(n) is not None), 0)
    start, end = (place - found.start() for place in found.span(group))
    whole = found.group()
    return whole[:start] + change(whole[start:end]) + whole[end:]


def _masked_lines(body: bytes) -> Iterator[bytes]:
    """The lines of an event stream; data of an ``output`` event is text whatever it looks like."""
    event = b""
    for line in body.splitlines(keepends=True):
        name, colon, value = line.partition(b":")
        if name == b"event":
            event = value.strip()
        elif not line.strip():
            event = b""
        plain = value.lstrip()[:1] not in (b"{", b"[")
        if event == b"output":  # JSON with a chunk of it is Cog's (wire/replicate.md section 9)
            plain = plain or not value.lstrip().startswith(b'{"chunk":')
        masks = name == b"data" and plain and event not in (b"error", b"done")
        yield name + colon + _masked(value) if masks else line


def _masked(text: bytes) -> bytes:
    if _ID.fullmatch(text.strip()):
        return text
    return _LETTER.sub(_other, text)


def _other(found: re.Match[bytes]) -> bytes:
    letter = found.group()
    if letter.isdigit():
        return b"0"
    if letter.startswith(b"\\"):
        return _other_escape(letter) if len(letter) == 6 else letter
    if letter.startswith(b"%"):
        return b"%78" if chr(int(letter[1:], 16)).isalnum() or letter[1:2] >= b"8" else letter
    if len(letter) == 1:
        return b"x"
    return letter if letter == _REPAIRED else _BY_LENGTH[len(letter)].encode()


def _other_escape(letter: bytes) -> bytes:
    """An escape of JSON as the letter itself would be masked."""
    code = int(letter[2:].decode(), 16)
    if code < 0x80:
        return rb"\u0078" if chr(code).isalnum() else letter
    if 0xD800 <= code < 0xE000:
        return rb"\ud83d" if code < 0xDC00 else rb"\ude00"
    if code == 0xFFFD:
        return letter
    return rb"\u00e9" if code < 0x800 else rb"\u4e00"
