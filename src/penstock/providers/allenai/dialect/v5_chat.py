"""The stream of ``POST /v5/threads/chat``, experimental: read, not run (wire/allenai.md section 5).

As ``threads``, but every line has a type, text is raw UTF-8, and the first piece of each
assistant message comes inside its ``addMessage``: who only joins ``modelResponse`` loses it.
"""

from __future__ import annotations

from penstock.providers.allenai.dialect.threads import TYPES, Frame, ThreadsDecoder
from penstock.types import Event


class V5ChatDecoder(ThreadsDecoder):
    """Bytes of one answer to events."""

    _types = TYPES | {"startThread", "addMessage", "finalThread"}

    def _line(self, frame: Frame, events: list[Event]) -> None:
        if frame.type not in ("startThread", "addMessage", "finalThread"):
            super()._line(frame, events)
            return
        messages = frame.messages or ()
        self._thread(messages, events)
        if frame.type != "addMessage":
            return
        for message in messages:
            if message.role == "assistant":
                # A model that was told of its wrong tool call and goes on has not failed.
                self.reported = None
                self._show_thought(message.thinking or "", events)
                self._show_text(message.content or "", events)
