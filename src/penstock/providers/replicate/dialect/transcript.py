"""What of an answer was received and what was shown, over all its connections and polls."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import ProtocolError
from penstock.providers.replicate.dialect.stops import StopCut
from penstock.types import Event, Text


class Transcript:
    """The text of one prediction.

    Args:
        stops: strings that end the answer.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._received: list[str] = []
        self._cut = StopCut(stops) if stops else None

    @property
    def stopped(self) -> bool:
        """True once a stop string came; the rest of the answer is not wanted."""
        return self._cut is not None and self._cut.hit

    @property
    def empty(self) -> bool:
        """True as long as no text has come."""
        return not self._received

    def take(self, text: str, events: list[Event]) -> None:
        """Note a piece; append what of it may be shown."""
        if not text:
            return
        self._received.append(text)
        if self._cut is not None:
            text = self._cut.feed(text)
            if not text:
                return
        events.append(Text(text))

    def catch_up(self, output: str, events: list[Event]) -> None:
        """Take what ``output``, the text so far, adds to what was received.

        The stream turns a CRLF inside a token into LF (wire/replicate.md section 5.2), the
        prediction object does not.

        Raises:
            ProtocolError: it does not continue what was received.
        """
        known = "".join(self._received)
        if not output.startswith(known):
            output = output.replace("\r\n", "\n")
        if not output.startswith(known):
            raise ProtocolError("the output of the prediction does not continue what it streamed")
        self._received = [known] if known else []
        self.take(output[len(known) :], events)

    def flush(self, events: list[Event]) -> None:
        """No more text comes: append what was held back."""
        if self._cut is not None and (rest := self._cut.rest()):
            events.append(Text(rest))


class Delivered:
    """The event ids that were delivered, in little memory.

    nchan counts ``second:index`` up within each second (wire/replicate.md section 5.3): of such
    an unbroken run only its length is kept. All other ids are kept as they are.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._runs: dict[str, int] = {}
        self._others: set[str] = set()
        for item in ids:
            self.add(item)

    def add(self, item: str) -> None:
        """Note that the event with this id was delivered."""
        second, _, index = item.partition(":")
        length = self._runs.get(second, 0)
        if index == str(length):
            self._runs[second] = length + 1
        else:
            self._others.add(item)

    def __contains__(self, item: str) -> bool:
        second, _, index = item.partition(":")
        length = self._runs.get(second, 0)
        if len(index) < 20 and index.isdecimal() and index == str(int(index)):
            return int(index) < length or item in self._others
        return item in self._others
