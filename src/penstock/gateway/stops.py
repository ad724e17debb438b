"""Stop texts for back ends that know none: the answer is cut here, also across pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.types import Event, Finished, Text


class StopCutter:
    """Cuts an answer before the first of some texts.

    What may be the beginning of one is held back until it is known; everything else goes on at
    once.

    Attributes:
        cut: a stop text was found; nothing may follow.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.cut = False

    def feed(self, events: Sequence[Event]) -> list[Event]:
        """The events that may go on; after the cut the last one is a ``Finished``."""
        passed: list[Event] = []
        for event in events:
            if isinstance(event, Text):
                text = self._text(event.text)
                if text:
                    passed.append(Text(text))
                if self.cut:
                    passed.append(Finished(finish_reason="stop"))
                    return passed
            else:
                if self._held and isinstance(event, Finished):
                    passed.append(Text(self._held))
                    self._held = ""
                passed.append(event)
        return passed

    def _text(self, piece: str) -> str:
        text = self._held + piece
        found = min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=-1)
        if found >= 0:
            self.cut, self._held = True, ""
            return text[:found]
        kept = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def cut_at(text: str, stops: Sequence[str]) -> str | None:
    """``text`` before the first of ``stops``; None where it holds none."""
    found = min((at for stop in stops if (at := text.find(stop)) >= 0), default=-1)
    return text[:found] if found >= 0 else None


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
