"""Stop texts for back ends that know none: the answer is cut here, also across pieces. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.types import CONTENT, Event, Finished, FinishReason, Reply, Text


class StoppedAt(FinishReason):
    """The finish reason ``stop`` of an answer that was cut here.

    Attributes:
        text: the stop text that was found.
    """

    text: str

    @classmethod
    def of(cls, text: str) -> StoppedAt:
        """The reason ``stop``, for ``text`` was found."""
        made = cls("stop")
        made.text = text
        return made


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
                found = self._text(event.text, passed)
                if found is not None:
                    passed.append(Finished(finish_reason=StoppedAt.of(found)))
                    return passed
            else:
                if self._held and isinstance(event, (*CONTENT, Finished)):
                    passed.append(Text(self._held))
                    self._held = ""
                passed.append(event)
        return passed

    def _text(self, piece: str, passed: list[Event]) -> str | None:
        """Pass on what no stop text can begin with; the stop text, once there is one."""
        text = self._held + piece
        found = first_stop(text, self._stops)
        if found is not None:
            self.cut, self._held = True, ""
            text = text[: found[0]]
        else:
            kept = max(_overlap(text, stop) for stop in self._stops)
            self._held = text[len(text) - kept :]
            text = text[: len(text) - kept]
        if text:
            passed.append(Text(text))
        return None if found is None else found[1]


def cut_reply(reply: Reply, stops: Sequence[str]) -> Reply:
    """``reply`` up to the first of ``stops``."""
    found = first_stop(reply.text, stops)
    if found is None:
        return reply
    text, reason = reply.text[: found[0]], StoppedAt.of(found[1])
    return msgspec.structs.replace(reply, text=text, finish_reason=reason)


def first_stop(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Place and text of the first stop text; of two at one place the longer."""
    found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, key=lambda one: (one[0], -len(one[1])), default=None)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
