"""The stream of ``POST /v4/threads/``, 2026 (wire/allenai.md sections 4.2 to 4.4).

``start``, a thread object, typed pieces, a thread object, ``end``; with server tools there are
more rounds. An error line without ``type`` ends the stream; a typed one goes on to ``end``, and
the server has then dropped the text.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from penstock.providers.allenai.dialect.errors import line_error
from penstock.providers.allenai.dialect.lines import LineAnswerDecoder
from penstock.types import Event, Finished, Notice, Started, ToolCall


class FlatTool(msgspec.Struct):
    """A tool that a message may call, or a call."""

    name: str = ""


class FlatMessage(msgspec.Struct, rename="camel"):
    """A message of a thread object, as far as it matters here."""

    id: str
    role: str = ""
    content: str | None = None
    thinking: str | None = None
    model_id: str | None = None
    finish_reason: str | None = None
    tool_calls: tuple[FlatTool, ...] | None = None
    tool_definitions: tuple[FlatTool, ...] | None = None


class Frame(msgspec.Struct, rename="camel"):
    """One line; ``type`` says of which kind, or which of the other keys are there."""

    type: str | None = None
    content: str | None = None
    message: str | None = None
    id: str | None = None
    messages: tuple[FlatMessage, ...] | None = None
    error: str | None = None
    reason: str | None = None
    error_code: str | None = None
    error_description: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: str | dict[str, Any] | None = None


TYPES = frozenset({"start", "modelResponse", "thinking", "toolCall", "error", "end"})


class ThreadsDecoder(LineAnswerDecoder[Frame]):
    """Bytes of one answer to events.

    Args:
        root: the root of the thread that is continued; None for a new one.
        tools: names of the tools asked for.
    """

    _frames = msgspec.json.Decoder(Frame)
    _types: ClassVar[frozenset[str]] = TYPES

    def __init__(self, root: str | None = None, tools: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._expected_root = root
        self._tools = tools
        self._calls: dict[str | None, int] = {}
        self._last: FlatMessage | None = None

    def _line(self, frame: Frame, events: list[Event]) -> None:
        match frame.type:
            case "modelResponse":
                if frame.content:
                    self._show_text(frame.content, events)
            case "thinking":
                if frame.content:
                    self._show_thought(frame.content, events)
            case "toolCall":
                self._tool_call(frame, events)
            case "start":
                self.root = frame.message
            case "error":
                said = frame.error_description or ""
                self.reported = line_error(frame.error_code or "error", said)
            case "end":
                self._finish(events)
            case None:
                self._untyped(frame, events)
            case _:
                pass  # of a later version

    def _is_end(self, frame: Frame) -> bool:
        return frame.type == "end"

    def _is_known(self, value: dict[str, Any]) -> bool:
        kind = value.get("type")
        if kind is None:
            return value.get("messages") is not None or value.get("error") is not None
        return kind in self._types

    def _untyped(self, frame: Frame, events: list[Event]) -> None:
        if frame.messages is not None:
            self._thread(frame.messages, events)
        elif frame.error is not None:
            self._show_halves(events)
            raise line_error(frame.reason or "error", frame.error)

    def _thread(self, messages: tuple[FlatMessage, ...], events: list[Event]) -> None:
        """A thread object: its last message is what a next turn goes on from (section 4.3)."""
        if not messages or messages[-1].role in ("user", "system"):
            return
        last = self._last = messages[-1]
        if last.id != self.reply:
            self.reply = last.id
            self.root = self.root or messages[0].id
            events.append(Started(last.id, self.root, last.model_id))

    def _tool_call(self, frame: Frame, events: list[Event]) -> None:
        args = frame.args
        if isinstance(args, dict):
            args = msgspec.json.encode(args).decode()
        index = self._calls.get(frame.tool_call_id)
        if index is None:
            index = self._calls[frame.tool_call_id] = len(self._calls)
            name = frame.tool_name or None
            events.append(ToolCall(index, frame.tool_call_id, name, args or ""))
        elif args:
            events.append(ToolCall(index, arguments=args))

    def _finish(self, events: list[Event]) -> None:
        self._show_halves(events)
        if self.reported is not None:
            raise self.reported
        events.append(Finished(self._finish_reason(), warnings=self._warnings()))
        self.done = True

    def _finish_reason(self) -> str:
        """``finishReason`` is null on every measured server, whatever happened (section 4.4)."""
        last = self._last
        if last is None:
            return "stop"
        unanswered = last.role != "assistant" or bool(last.tool_calls)
        return "tool_calls" if unanswered else last.finish_reason or "stop"

    def _warnings(self) -> tuple[Notice, ...]:
        found: list[Notice] = []
        if self._expected_root is not None and self.root != self._expected_root:
            # The only sign that an earlier turn on this parent was detached (section 4.3).
            detail = "another turn went on from the same message; the model saw less than all"
            found.append(Notice("history_lost", detail))
        if self._tools and self._last is not None and self._last.tool_definitions is not None:
            held = {tool.name for tool in self._last.tool_definitions}
            lost = [name for name in self._tools if name not in held]
            if lost:
                why = f"only the first turn of a thread sets them; {', '.join(lost)} came later"
                found.append(Notice.dropped("tools", why))
        return tuple(found)
