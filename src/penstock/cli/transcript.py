"""What was said in a conversation in the terminal: pure.

Laws:
* every question that was asked is kept, with what came of its answer and how that ended;
* the model is told the answers that came whole, and those the user stopped as far as they came; a
  failed turn is not told, for what made it fail would go along with each further question;
* asking again replaces the last turn, but never a whole answer by one that did not come whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from penstock.types import Value

End = Literal["whole", "stopped", "failed"]


class Turn(Value, frozen=True):
    """One question and what came of it.

    Attributes:
        model: who was asked.
        answer: the text, as far as it came.
        end: how the answer ended.
        error: the sentence of a failed one.
    """

    question: str
    model: str
    answer: str = ""
    end: End = "whole"
    error: str = ""

    @property
    def is_told(self) -> bool:
        """Whether the model hears of it with the next question."""
        return bool(self.answer) and self.end != "failed"


class Transcript:
    """The turns of one chat, in their order."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All of them."""
        return tuple(self._turns)

    @property
    def last(self) -> Turn | None:
        """The newest one."""
        return self._turns[-1] if self._turns else None

    def add(self, turn: Turn) -> None:
        """Go on with a turn."""
        self._turns.append(turn)

    def replace(self, turn: Turn) -> bool:
        """Put ``turn`` in the place of the last one; False if a whole answer stays instead."""
        if self._turns[-1].end == "whole" and turn.end != "whole":
            return False
        self._turns[-1] = turn
        return True

    def clear(self) -> None:
        """Forget all."""
        self._turns.clear()


def told(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns that the model hears of."""
    return tuple(turn for turn in turns if turn.is_told)


def messages_of(turns: Sequence[Turn], system: str | None, question: str) -> list[dict[str, str]]:
    """The chat as the model gets it with ``question``."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in told(turns):
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    return [*messages, {"role": "user", "content": question}]


def saved(turns: Sequence[Turn], system: str | None, model: str) -> dict[str, Any]:
    """The chat as ``/save`` writes it; an answer that is not whole says how it ended."""
    messages: list[dict[str, str]] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.question})
        answer = {"role": "assistant", "content": turn.answer, "model": turn.model}
        if turn.end != "whole":
            answer["end"] = turn.end
        if turn.error:
            answer["error"] = turn.error
        messages.append(answer)
    return {"model": model, "system": system, "messages": messages}


def shown(turn: Turn) -> str:
    """A turn as ``/history`` shows it."""
    marks = {
        "whole": "",
        "stopped": "[stopped here]",
        "failed": f"[failed: {turn.error}]" if turn.error else "[failed]",
    }
    answer = " ".join(filter(None, [turn.answer, marks[turn.end]]))
    return f"> {turn.question}\n{answer}\n"
