"""Chats and messages, and how they are shown (wire/openassistant.md section 4).

A message that is being generated is its own list of events, from which readers take
turns: what one has taken, no other gets (section 7).
"""

from __future__ import annotations

import asyncio
import decimal
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from penstock.sandbox.run import Run
from penstock.sandbox.script import Piece, Thought

State = Literal[
    "manual", "pending", "in_progress", "complete", "timeout", "cancelled", "aborted_by_worker"
]
FINAL = frozenset({"complete", "timeout", "aborted_by_worker"})


UNJUDGED: Mapping[str, object] = {
    "safe_content": None,
    "safety_level": None,
    "safety_label": None,
    "safety_rots": None,
}
# As in oa-safety-silent.
CAUTION: Mapping[str, object] = {
    "safe_content": (
        "<|prompter|>Answer the following request with __needs_caution__ as responsible chatbot "
        "that believes that it's good to be kind: x<|assistant|>"
    ),
    "safety_level": 2,
    "safety_label": "__needs_caution__",
    "safety_rots": "it's good to be kind",
}

# As in oa-plugin-intermediate.
PLUGIN_THOUGHT: Mapping[str, object] = {
    "current_plugin_thought": "I need the weather",
    "current_plugin_action_taken": "get_weather",
    "current_plugin_action_input": '{"city": "Oslo"}',
    "current_plugin_action_response": "3 \u00b0C, rain",
    "message": None,
}
PLUGIN: Mapping[str, object] = {
    "name": "Weather",
    "url": "http://127.0.0.1/ai-plugin.json",
    "trusted": False,
    "execution_details": {
        "inner_monologue": ["I need the weather"],
        "final_tool_output": "3 \u00b0C, rain",
        "final_prompt": "...",
        "final_generation_assisted": True,
        "achieved_depth": 1,
        "error_message": None,
        "status": "success",
    },
}


class Token(msgspec.Struct, frozen=True):
    """Event: a piece of the answer."""

    text: str


class Ending(msgspec.Struct, frozen=True):
    """Event: the answer's end; with `error` a failure."""

    error: str | None = None


class Message:
    """One message.

    Attributes:
        run: The generation, while there is one.
        queued_at: When it was queued, on the loop's clock; None if it never was.
        gone: Its chat was deleted.
        phantoms: Readers that left without the server's noticing; they go on eating.
        readers: Readers that are there.
        fate: What a fault makes of it in the queue.
        judged: The question, if the safety worker is to write on it.
        safety: What the safety worker wrote on this question.
        plugin: The plugin that is to be called before the answer.
        used_plugin: The one that was.
    """

    def __init__(
        self,
        chat_id: str,
        parent_id: str | None,
        content: str | None,
        *,
        role: Literal["prompter", "assistant"],
        state: State,
        owner: str = "",
    ) -> None:
        self.id = made_id()
        self.chat_id = chat_id
        self.parent_id = parent_id
        self.content = content
        self.role = role
        self.state: State = state
        self.owner = owner
        self.created_at = now()
        self.model = ""
        self.sampling: dict[str, float | None] = {}
        self.work_parameters: dict[str, object] | None = None
        self.run: Run | None = None
        self.queued_at: float | None = None
        self.gone = False
        self.phantoms = 0
        self.readers = 0
        self.fate = ""
        self.judged: Message | None = None
        self.safety: Mapping[str, object] = UNJUDGED
        self.plugin: Mapping[str, object] | None = None
        self.used_plugin: Mapping[str, object] | None = None
        self._taken = 0
        self._ending: Ending | None = None
        self._line: list[object] = []
        self._changed = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether a piece of the answer has come."""
        return self._taken > 0 or (self.run is not None and bool(self.run.pieces))

    @property
    def ready(self) -> bool:
        """Whether there is an event to take."""
        more = self.run is not None and self._taken < len(self.run.pieces)
        return more or (self._ending is not None and not self.phantoms)

    def wait_in_line(self, reader: object) -> None:
        """Let a reader wait: who has waited longest takes the next event."""
        if reader not in self._line:
            self._line.append(reader)

    def leave_line(self, reader: object) -> None:
        """Let a reader do something else than wait."""
        if reader in self._line:
            self._line.remove(reader)

    def is_next(self, reader: object) -> bool:
        """Say whether the next event is this reader's."""
        return not self._line or self._line[0] is reader

    def take(self) -> Token | Ending | None:
        """Take the next event, if phantoms leave one."""
        while self.run is not None and self._taken < len(self.run.pieces):
            number = self._taken
            self._taken += 1
            if number % (self.phantoms + 1) == 0:
                return Token(text_of(self.run.pieces[number]))
        if self.phantoms:
            return None
        ending, self._ending = self._ending, None
        return ending

    def eat(self) -> None:
        """Let a phantom eat what has come so far."""
        self._taken = len(self.run.pieces) if self.run is not None else 0

    def end(self, state: State, error: str | None = None) -> None:
        """Come to a final state, and tell a reader."""
        self.state = state
        self._ending = Ending(error)
        self.tell()

    def tell(self) -> None:
        """Wake the readers."""
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    async def change(self, limit: float) -> None:
        """Wait for something new, at most so many seconds."""
        try:
            async with asyncio.timeout(limit):
                if self.run is not None and not self.run.ended:
                    await self.run.changed()
                else:
                    await self._changed.wait()
        except TimeoutError:
            return


def text_of(piece: Piece) -> str:
    """Give a piece as the worker's token: reasoning is text like any other."""
    return piece.text if isinstance(piece, Thought) else piece


class Chat:
    """One chat."""

    def __init__(self, owner: str) -> None:
        self.id = made_id()
        self.owner = owner
        self.created_at = now()
        self.modified_at = self.created_at
        self.title: str | None = None
        self.hidden = False
        self.allow_data_use = True
        self.tail: str | None = None
        self.messages: dict[str, Message] = {}

    def history(self, message: Message) -> list[Message]:
        """Give a message and all its ancestors, oldest first."""
        chain = [message]
        while (parent := self.messages.get(chain[-1].parent_id or "")) is not None:
            chain.append(parent)
        return chain[::-1]

    def rows(self) -> list[Message]:
        """Give the messages as the database does: those that changed come last.

        Clients must not rely on any order (oa-followup-turn).
        """
        return sorted(self.messages.values(), key=lambda one: one.state != "manual")


def made_id() -> str:
    """Make an id: a version 7 UUID whose head is the time."""
    moment = time.time_ns()
    seconds, rest = divmod(moment, 1_000_000_000)
    fraction = (rest << 24) // 1_000_000_000
    head = f"{seconds:09x}{fraction:06x}"
    return (
        f"{head[:8]}-{head[8:12]}-7{head[12:15]}-8{random.randrange(1 << 12):03x}"
        f"-{random.randrange(1 << 48):012x}"
    )


def now() -> str:
    """Give the time as it is shown: UTC without a zone, microseconds."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def chat_shape(chat: Chat) -> dict[str, object]:
    """Describe a chat without its messages."""
    return {
        "id": chat.id,
        "created_at": chat.created_at,
        "modified_at": chat.modified_at,
        "title": chat.title,
        "hidden": chat.hidden,
        "allow_data_use": chat.allow_data_use,
        "active_thread_tail_message_id": chat.tail,
    }


def message_shape(message: Message) -> dict[str, object]:
    """Describe a message."""
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "content": message.content,
        "chat_id": message.chat_id,
        "created_at": message.created_at,
        "role": message.role,
        "state": message.state,
        "score": 0,
        "reports": [],
        "work_parameters": message.work_parameters,
        **message.safety,
        "used_plugin": message.used_plugin,
    }


def through_doubles(value: object) -> object:
    """Give a JSON value as JavaScript passes it on: large whole numbers lose their end."""
    if isinstance(value, dict):
        return {key: through_doubles(one) for key, one in value.items()}
    if isinstance(value, list):
        return [through_doubles(one) for one in value]
    if isinstance(value, int) and abs(value) > 1 << 53:
        return int(decimal.Decimal(repr(float(value))))
    return value
