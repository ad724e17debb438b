"""One request of a caller, from its first header to its line in the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import getrandbits
from typing import TYPE_CHECKING, Any

from penstock.gateway.http import LINE, Header, Line, Scope
from penstock.types import Usage

if TYPE_CHECKING:
    from penstock.gateway.auth import Caller
    from penstock.gateway.transcript import Transcript

_OWN_ID = re.compile(rb"[\x21-\x7e]{1,128}")

MAX_PATH = 500
"""Characters of a path that are put into the log: callers make up paths."""


def new_id() -> str:
    """24 hexadecimal digits: unique, and no secret, so no system call is made for it."""
    return f"{getrandbits(96):024x}"


class Exchange:
    """What is known of a request; filled in as it goes.

    Attributes:
        request_id: ours, in every answer and every line of the log.
        began: instant of ``time.monotonic``.
        line: the way past the server's ``send``; None where the server below has none.
        parameters: what the path holds, by name.
        read: the body has been read to its end.
        key: who asks, by the name of the gateway key; None where keys are off.
        caller: the limits of that key.
        further: headers for the answer, beside those that every answer carries.
        transcript: what was said, if the log is to hold it.
        model: the name that was asked for.
        status: HTTP status of the answer; 499 where the caller left before it had one.
        kind: the error's kind, after an answer that failed.
        first_content: instant of the first piece.
        pieces: pieces of text and reasoning that were passed on.
        characters: length of an answer that was not streamed.
    """

    parameters: Mapping[str, str] = {}
    read = False
    key: str | None = None
    caller: Caller | None = None
    further: tuple[Header, ...] = ()
    transcript: Transcript | None = None
    model: str | None = None
    target: str | None = None
    attempts = 0
    status = 0
    kind: str | None = None
    streamed = False
    first_content: float | None = None
    pieces = 0
    characters = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    warnings: tuple[str, ...] = ()

    def __init__(self, scope: Scope, began: float) -> None:
        self.request_id = "req_" + new_id()
        self.began = began
        self.line: Line | None = scope.get(LINE)
        self.method: str = scope["method"]
        path: str = scope["path"]
        self.path = path.removeprefix(scope.get("root_path", ""))
        self.headers: dict[bytes, bytes] = dict(scope["headers"])

    def header(self, name: bytes) -> str | None:
        """A request header as text; of repeated ones the last."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def answer_headers(self, now: float) -> list[Header]:
        """The headers that every answer carries."""
        own = self.request_id.encode()
        made = [
            (b"x-request-id", own),
            (b"x-penstock-request-id", own),
            (b"request-id", own),
            (b"openai-processing-ms", b"%d" % ((now - self.began) * 1000)),
            (b"x-penstock-attempts", b"%d" % self.attempts),
        ]
        if self.target is not None:
            made.append((b"x-penstock-target", printable(self.target)))
        if self.warnings:
            made.append((b"warnings", printable(", ".join(self.warnings))))
        theirs = self.headers.get(b"x-client-request-id")
        if theirs is not None and _OWN_ID.fullmatch(theirs):
            made.append((b"x-client-request-id", theirs))
        made += self.further
        return made

    def record(self, now: float) -> dict[str, Any]:
        """The line of the log: no secret, and what was said only in a transcript."""
        made: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path[:MAX_PATH],
            "status": self.status,
            "duration_ms": round((now - self.began) * 1000, 1),
        }
        if self.first_content is not None:
            made["first_token_ms"] = round((self.first_content - self.began) * 1000, 1)
        for name in ("key", "model", "target", "kind", "finish_reason"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        if self.attempts > 1:
            made["attempts"] = self.attempts
        if self.streamed:
            made["pieces"] = self.pieces
        if self.usage is not None:
            made["usage"] = {
                "prompt": self.usage.prompt_tokens,
                "completion": self.usage.completion_tokens,
            }
            if self.usage.estimated:
                made["usage"]["estimated"] = True
        if self.transcript is not None:
            made |= self.transcript.record()
        return made


def printable(text: str) -> bytes:
    """``text`` as the value of a header: no control characters, nothing beyond ASCII."""
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return re.sub(r"[^\x20-\x7e]", "?", text).encode("ascii")
