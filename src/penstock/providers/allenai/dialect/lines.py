"""What the stream formats of the Playground share: JSON lines, and text cut inside a character.

Laws:
* a line is read when its LF has come; only the end mark is taken without one, for the body then
  ended where it should;
* a line is known by its keys and ``type``, never by its place or by text inside it; one of an
  unknown kind is passed over, one that cannot be read is an error;
* a server may cut a character beyond U+FFFF into two lines, each with half of its surrogate pair
  (wire/allenai.md section 4.4). The halves are joined before they are shown.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from penstock.errors import PenstockError, ProtocolError
from penstock.types import Event, Reasoning, Text
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload, refuse_constant
from penstock.wire.ndjson import NDJSONDecoder

MAX_LINE = 4 << 20
"""The final object repeats the whole answer, escaped to six bytes a letter: rule 8."""

F = TypeVar("F", bound=msgspec.Struct)


class LineAnswerDecoder(AnswerDecoder, Generic[F]):
    """Lines of one answer to events; a dialect says what its lines mean.

    Attributes:
        root: the thread's root message, once known.
        reply: the message that a next turn goes on from, once known.
        reported: the failure an error line told of, while the stream goes on to its end.
    """

    _frames: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.root: str | None = None
        self.reply: str | None = None
        self.reported: PenstockError | None = None
        self._lines = NDJSONDecoder(limit=MAX_LINE)
        self._pieces: list[str] = []
        self._cut = False
        self._half_text = ""
        self._half_thought = ""

    @property
    def text(self) -> str:
        """The text so far, nothing trimmed."""
        return "".join(self._pieces)

    def _decode(self, data: bytes, events: list[Event]) -> None:
        parse = self._frames.decode
        for line in self._lines.feed(data):
            try:
                frame = parse(line)
            except JSON_ERRORS as error:
                frame = self._read_again(line, error)
            if frame is not None:
                self._line(frame, events)
                if self.done:
                    return

    def _end(self, events: list[Event]) -> None:
        rest = self._lines.eof()
        try:
            frame = self._frames.decode(rest) if rest else None
        except JSON_ERRORS:
            frame = None  # cut in the middle of a line
        if frame is not None and self._is_end(frame):
            self._line(frame, events)
            return
        self._show_halves(events)
        if self.reported is not None:
            raise self.reported

    @abstractmethod
    def _line(self, frame: F, events: list[Event]) -> None:
        """Append the events of a line; set ``done`` or raise at the end."""

    @abstractmethod
    def _is_end(self, frame: F) -> bool:
        """True for the line that ends a healthy stream."""

    @abstractmethod
    def _is_known(self, value: dict[str, Any]) -> bool:
        """True for a line of a kind that matters."""

    def _read_again(self, line: bytes, error: Exception) -> F | None:
        """The frame of a line that the fast way refused: a cut character, or an unknown kind."""
        try:
            value = json.loads(line, parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            raise bad_payload(error, line) from None
        if not isinstance(value, dict):
            raise ProtocolError("the server sent a line that is not a JSON object")
        if not self._is_known(value):
            return None
        self._cut = True
        try:
            frame: F = msgspec.convert(value, self._frames.type)
        except JSON_ERRORS as wrong:
            raise bad_payload(wrong, line) from None
        return frame

    def _show_text(self, text: str, events: list[Event]) -> None:
        if self._cut:
            text, self._half_text = _joined(self._half_text + text)
        if text:
            self._pieces.append(text)
            events.append(Text(text))

    def _show_thought(self, text: str, events: list[Event]) -> None:
        if self._cut:
            text, self._half_thought = _joined(self._half_thought + text)
        if text:
            events.append(Reasoning(text))

    def _show_halves(self, events: list[Event]) -> None:
        """A half whose other half never came is shown as what it is: not a character."""
        if self._half_thought:
            self._half_thought = ""
            events.append(Reasoning("\N{REPLACEMENT CHARACTER}"))
        if self._half_text:
            self._half_text = ""
            self._pieces.append("\N{REPLACEMENT CHARACTER}")
            events.append(Text("\N{REPLACEMENT CHARACTER}"))


def _joined(text: str) -> tuple[str, str]:
    """``text`` with surrogate pairs as characters, and the first half of a pair at its end."""
    half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
    whole = text[: len(text) - len(half)].encode("utf-16-le", "surrogatepass")
    return whole.decode("utf-16-le", "replace"), half
