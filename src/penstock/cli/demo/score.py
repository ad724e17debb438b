"""What is measured and checked of the answers: values and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.types import Value


class Turn(Value, frozen=True, kw_only=True):
    """One answer as it arrived.

    Attributes:
        text: all of it.
        times: when each piece came, in seconds since the question.
        finish: why it ended; None where nothing tells.
        goes_on: the server knew the turns before.
    """

    text: str = ""
    times: tuple[float, ...] = ()
    finish: str | None = None
    goes_on: bool = False

    @property
    def facts(self) -> list[str]:
        """The answer in words."""
        row = row_of((self,), 0)
        return [
            f"{row.pieces} {'piece' if row.pieces == 1 else 'pieces'}",
            f"{row.characters} characters",
            f"first after {row.first_words}",
            self.finish or "ended",
            *(["same conversation"] if self.goes_on else []),
        ]


class Row(Value, frozen=True, kw_only=True):
    """A line of the table: all whole answers of one back end.

    Attributes:
        first: seconds to the first piece of the first answer.
        rate: pieces a second, between the first and the last of each answer.
        left: remote conversations that were left behind.
    """

    pieces: int
    characters: int
    first: float | None
    rate: float | None
    finish: str | None
    left: int

    @property
    def first_words(self) -> str:
        """The time to the first piece."""
        return "-" if self.first is None else f"{self.first * 1000:.0f} ms"

    @property
    def rate_words(self) -> str:
        """The pieces a second."""
        return "-" if self.rate is None else f"{self.rate:.0f}"


def row_of(turns: Sequence[Turn], left: int) -> Row:
    """The line of the table for these answers."""
    spans = [(len(turn.times) - 1, turn.times[-1] - turn.times[0]) for turn in turns if turn.times]
    gaps, seconds = sum(gap for gap, _ in spans), sum(span for _, span in spans)
    starts = [turn.times[0] for turn in turns if turn.times]
    return Row(
        pieces=sum(len(turn.times) for turn in turns),
        characters=sum(len(turn.text) for turn in turns),
        first=starts[0] if starts else None,
        rate=gaps / seconds if gaps and seconds else None,
        finish=turns[-1].finish if turns else None,
        left=left,
    )


def difference(got: str, said: str) -> str | None:
    """In words how an answer differs from what was said; None if it does not."""
    if got == said:
        return None
    place = next((i for i, (a, b) in enumerate(zip(got, said, strict=False)) if a != b), None)
    if place is None:
        return f"{len(got)} of {len(said)} characters arrived"
    return f"character {place + 1} is {got[place]!r} and should be {said[place]!r}"
