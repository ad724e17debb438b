"""The remote conversation behind a chat, where the provider has such.

Laws:
* it goes on as long as the server holds just what the model is to hear: the same model, the same
  system message, the same turns. Then only the new question travels;
* asking the last question again goes on from the turn before it, on the same server;
* where that does not hold (another model, a stopped answer, ``/clear``) a new one begins and the
  chat so far goes along with its first question.

Which conversations were used is known to the client, which removes them at its end unless they are
to be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.cli.transcript import Turn, told
from penstock.errors import BadRequestError
from penstock.types import Conversation, Value

if TYPE_CHECKING:
    from penstock.sync import Client


class _Heard(Value, frozen=True):
    """A turn that the server holds, and where its conversation stood before it."""

    turn: Turn
    parent: str | None = None
    messages: int = 0


class Thread:
    """The conversation that the next question goes to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._conversation: Conversation | None = None
        self._kind: tuple[str, str | None] | None = None
        self._heard: list[_Heard] = []
        self._without: set[str] = set()
        self._opened: list[tuple[str, Conversation]] = []
        self._before: tuple[str | None, int] = (None, 0)

    @property
    def left(self) -> list[str]:
        """The conversations that stand on servers now, as words."""
        found = ((name, conversation.id) for name, conversation in self._opened)
        return [f"{name}: conversation {id_}" for name, id_ in found if id_ is not None]

    def begin(self, model: str, system: str | None, turns: Sequence[Turn]) -> Conversation | None:
        """The conversation for a question after ``turns``; None where the provider has none.

        Raises:
            PenstockError: the model or its provider is not as it must be.
        """
        turns = told(turns)
        if self._kind != (model, system) or not self._goes_on(turns):
            self._kind = (model, system)
            self._conversation = self._new(model)
            self._heard = [_Heard(turn) for turn in turns]
        if self._conversation is not None:
            self._before = (self._conversation.parent, len(self._conversation.messages))
        return self._conversation

    def end(self, turn: Turn) -> None:
        """Note a turn that came whole in the conversation that ``begin`` gave."""
        self._heard.append(_Heard(turn, *self._before))

    def refuse(self, model: str) -> None:
        """Note that the server of ``model`` has no conversations after all."""
        self._without.add(self._client.resolve(model)[0])
        self._conversation = None

    def _goes_on(self, turns: tuple[Turn, ...]) -> bool:
        count = len(turns)
        if turns != tuple(heard.turn for heard in self._heard[:count]):
            return False
        if count == len(self._heard):
            return True
        left = self._heard[count]
        if self._conversation is not None:
            if left.parent is None:  # the server's conversation begins with what is taken back
                return False
            self._conversation.parent = left.parent
            del self._conversation.messages[left.messages :]
        del self._heard[count:]
        return True

    def _new(self, model: str) -> Conversation | None:
        name, _ = self._client.resolve(model)
        if name in self._without:
            return None
        try:
            conversation = self._client.conversation(model)
        except BadRequestError:  # anything else that is wrong is told by the call itself
            self.refuse(model)
            return None
        self._opened.append((name, conversation))
        return conversation
