"""``multipart/form-data`` bodies (RFC 7578, quoting by the WHATWG form rules), always UTF-8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from penstock.types import Value

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class FilePart(Value, frozen=True):
    """A file of a form."""

    name: str
    filename: str
    content: bytes
    media_type: str = "application/octet-stream"


def encode_multipart(
    fields: Iterable[tuple[str, str]], files: Iterable[FilePart] = ()
) -> tuple[str, bytes]:
    """Content type and body of a form.

    The boundary is a digest of the content, so that it cannot stand in it by accident and the
    same form gives the same bytes. A lone surrogate is replaced.
    """
    parts: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        head = f'Content-Disposition: form-data; name="{_quote(name)}"\r\n\r\n'
        parts.append((_utf8(head), _utf8(value)))
    for file in files:
        media_type = "".join(c for c in file.media_type if c.isprintable() and c.isascii())
        head = (
            f'Content-Disposition: form-data; name="{_quote(file.name)}"; '
            f'filename="{_quote(file.filename)}"\r\nContent-Type: {media_type}\r\n\r\n'
        )
        parts.append((_utf8(head), file.content))
    digest = hashlib.sha256()
    for head_bytes, content in parts:
        digest.update(head_bytes)
        digest.update(content)
    boundary = f"penstock-{digest.hexdigest()[:40]}"
    mark = boundary.encode()
    body = bytearray()
    for head_bytes, content in parts:
        body += b"--" + mark + b"\r\n" + head_bytes + content + b"\r\n"
    body += b"--" + mark + b"--\r\n"
    return f"multipart/form-data; boundary={boundary}", bytes(body)


def _quote(name: str) -> str:
    return name.translate(_ESCAPES)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
