"""Stop strings, cut here, because the server's comma-joined field cannot express them all.

Law: what is shown does not depend on how the text is cut into pieces. The stop string that is
complete first ends the answer; a tail that may still become one is held back.
"""

from __future__ import annotations


class StopCut:
    """Lets text pass up to the first stop string.

    Attributes:
        hit: a stop string came; nothing more passes.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.hit = False
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> str:
        """What of the text up to here may be shown now."""
        if self.hit:
            return ""
        text = self._held + text
        found = [
            (start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0
        ]
        if found:
            self.hit = True
            self._held = ""
            return text[: min(found)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once it is known that no more text comes."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` starts with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
