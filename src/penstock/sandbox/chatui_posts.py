"""What comes in with a message of today's chat-ui: its form, its limits, its refusals."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.javascript import BLANKS

_FILE_LIMIT = 10 * 1024 * 1024
_MINUTE = 60.0
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Refused(Exception):
    """The app's own refusal; without a sentence it is the unexpected kind."""

    def __init__(self, status: int = 500, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.members: Mapping[str, object] = {"message": message}
        if message is None:
            self.members = {"message": "An error occurred", "errorId": str(uuid.uuid4())}


class Posts:
    """Counts messages by session and by address; refused ones count as well."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def refuses(self, keys: Sequence[str], limit: int) -> bool:
        """Count a message for all keys, and say whether one had too many in a minute."""
        now = time.monotonic()
        counts = [self._count(key, now) for key in keys]
        return 0 < limit < max(counts)

    def _count(self, key: str, now: float) -> int:
        times = self._times.setdefault(key, deque())
        times.append(now)
        while times[0] < now - _MINUTE:
            times.popleft()
        return len(times)


class Asked(msgspec.Struct, frozen=True):
    """The ``data`` of a message, as far as the server looks at it."""

    inputs: str
    id: str | None = None
    is_retry: bool = False
    generationId: str | None = None


def parse_asked(data: str) -> Asked | None:
    """Read the field ``data``; None where the schema refuses it."""
    try:
        asked = msgspec.json.decode(data, type=Asked)
    except msgspec.MsgspecError:
        return None
    idents = [one for one in (asked.id, asked.generationId) if one is not None]
    if not asked.inputs.strip(BLANKS) or not all(_UUID.fullmatch(one) for one in idents):
        return None
    text = asked.inputs.strip(BLANKS).replace("\r\n", "\n")
    return msgspec.structs.replace(asked, inputs=text)


async def read_form(request: web.Request) -> tuple[Asked, list[dict[str, str]]]:
    """Read the multipart form of a message: its ``data`` and its files.

    Raises:
        Refused: It is no form (500), has no ``data`` (400) or none that is valid (500),
            or a file is larger than 10 MB (413) or not named ``base64;name`` (500).
    """
    if not request.content_type.startswith("multipart/"):
        raise Refused
    try:
        form = await request.post()
    except ValueError:
        raise Refused from None
    data = form.get("data")
    if not isinstance(data, str):
        raise Refused(400, "Invalid request")
    asked = parse_asked(data)
    if asked is None:
        raise Refused
    files = [part for part in form.getall("files", []) if isinstance(part, web.FileField)]
    return asked, [_stored(part) for part in files]


def _stored(part: web.FileField) -> dict[str, str]:
    content = part.file.read()
    how, _, name = part.filename.partition(";")
    if how not in ("base64", "hash"):
        raise Refused
    if len(content) > _FILE_LIMIT:
        raise Refused(413, "File too large, should be <10MB")
    digest = hashlib.sha256(content).hexdigest()
    return {"type": "hash", "value": digest, "mime": part.content_type, "name": name}
