"""The stream of ``POST /v4/message/stream``, 2025 (wire/allenai.md sections 3.2 to 3.4).

An opening object, chunk lines, at most one error line, the same object again with ``final`` true.
The error line does not end the stream: the final object still follows, and only with it the
answer is over. Its reason ``length`` after text means the token limit and is a finish, without
text it means that the prompt did not fit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.providers.allenai.dialect.errors import line_error
from penstock.providers.allenai.dialect.lines import LineAnswerDecoder
from penstock.types import Event, Finished, Notice, Started

_FAILURES = frozenset({"unclosed stream", "aborted", "model overloaded", "grpc inference failed"})


class Frame(msgspec.Struct):
    """One line: a message object (``id``), an error (``error``) or a chunk (``content``)."""

    id: str | None = None
    content: str | None = None
    error: str | None = None
    reason: str | None = None
    final: bool = False
    finish_reason: str | None = None
    root: str | None = None
    model_id: str | None = None
    children: tuple[Frame, ...] | None = None


class MessageStreamDecoder(LineAnswerDecoder[Frame]):
    """Bytes of one answer to events."""

    _frames = msgspec.json.Decoder(Frame)

    def __init__(self) -> None:
        super().__init__()
        self._reason: str | None = None

    def _line(self, frame: Frame, events: list[Event]) -> None:
        if frame.id is not None:
            self._object(frame, events)
        elif frame.error is not None:
            self._reason = frame.reason or "error"
            if self._reason != "length" or not self._pieces:
                self.reported = line_error(self._reason, frame.error)
        elif frame.content:
            self._show_text(frame.content, events)

    def _is_end(self, frame: Frame) -> bool:
        return frame.id is not None and frame.final

    def _is_known(self, value: dict[str, Any]) -> bool:
        return any(value.get(key) is not None for key in ("id", "error", "content"))

    def _object(self, frame: Frame, events: list[Event]) -> None:
        reply = _deepest(frame)
        self.root = self.root or frame.root or frame.id
        if frame.final:
            self._show_halves(events)
            events.append(self._finished(reply))
            self.done = True
        elif self.reply is None:
            self.reply = reply.id
            events.append(Started(reply.id, self.root, reply.model_id))

    def _finished(self, reply: Frame) -> Finished:
        if self.reported is not None:
            raise self.reported
        if self.reply is None:
            # A message was stored, not answered (section 3.6, 2025-role-assistant-json-reply).
            return Finished(None)
        if self._reason is None and reply.finish_reason in _FAILURES:
            raise line_error(reply.finish_reason, "")
        finish = "length" if self._reason == "length" else reply.finish_reason or "stop"
        differs = bool(reply.content) and reply.content != self.text
        notice = Notice("text_differs", "the server's final text is not the pieces it sent")
        return Finished(finish, warnings=(notice,) if differs else ())


def _deepest(frame: Frame) -> Frame:
    """The reply, at any depth: a system prompt adds a level (2025-system-prompt-model)."""
    while frame.children:
        frame = frame.children[-1]
    return frame
