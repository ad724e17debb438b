"""One answer, shown while it arrives and measured."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from penstock.cli.demo.board import Board
from penstock.cli.demo.score import Turn
from penstock.cli.render import waiting_words
from penstock.types import Event, Finished, Reasoning, Text, Waiting

if TYPE_CHECKING:
    from penstock.cli.demo.flow import Flow


class Hearing:
    """Listens to one answer.

    Attributes:
        text: the answer so far.
    """

    def __init__(self, board: Board) -> None:
        self.text = ""
        self._board = board
        self._times: list[float] = []
        self._finish: str | None = None
        self._flow: Flow | None = None
        self._thinking = False
        self._waits: set[str] = set()

    async def listen(self, events: AsyncIterator[Event]) -> None:
        """Show all events; an error passes through, with what had come on the board."""
        started = time.monotonic()
        try:
            async for event in events:
                if isinstance(event, Text):
                    self._times.append(time.monotonic() - started)
                    self.text += event.text
                    self._to(thinking=False).feed(event.text)
                elif isinstance(event, Reasoning):
                    self._to(thinking=True).feed(event.text)
                elif isinstance(event, Waiting):
                    self._wait(waiting_words(event))
                elif isinstance(event, Finished):
                    self._finish = event.finish_reason
        finally:
            self._end_block()

    def turn(self, *, goes_on: bool) -> Turn:
        """The whole answer as a value."""
        return Turn(text=self.text, times=tuple(self._times), finish=self._finish, goes_on=goes_on)

    def _wait(self, words: str) -> None:
        if words not in self._waits:
            self._waits.add(words)
            self._end_block()
            self._board.note(words)

    def _to(self, *, thinking: bool) -> Flow:
        if self._flow is None or thinking != self._thinking:
            self._end_block()
            self._thinking = thinking
            self._flow = self._board.flow("dim italic" if thinking else "")
        return self._flow

    def _end_block(self) -> None:
        if self._flow is not None:
            self._flow.end()
            self._flow = None
