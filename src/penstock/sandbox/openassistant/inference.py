"""What the inference server does, whichever front asks (wire/openassistant.md sections 4 and 5).

Refusals are `Problem`s; each front puts them in its own words.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from penstock.sandbox.openassistant import models, posts
from penstock.sandbox.openassistant.posts import Assisting, Problem, Prompting
from penstock.sandbox.openassistant.records import Chat, Message, now
from penstock.sandbox.openassistant.work import Work
from penstock.sandbox.script import Message as Said
from penstock.sandbox.script import Prompt

_TITLE_LIMIT = 100
_RATE_WINDOW = 660  # ticks: the ten minutes of the setting and a minute that is built in
_ROLES = {"prompter": "user", "assistant": "assistant"}


class Rules:
    """Limits that a site sets.

    Args:
        message_length: Most characters of a prompter message; 0 for no limit.
        chat_messages: Most messages of a chat; 0 for no limit.
        rate: Most assistant messages per user and window; 0 for no limit.
        allowed: Models that may be used; empty for all.
    """

    def __init__(
        self, *, message_length: int, chat_messages: int, rate: int, allowed: tuple[str, ...]
    ) -> None:
        self.message_length = message_length
        self.chat_messages = chat_messages
        self.rate = rate
        self.allowed = allowed


class Inference:
    """Users, chats and messages.

    Attributes:
        users: Users that were created.
        work: The queue.
    """

    def __init__(
        self, work: Work, rules: Rules, *, clock: Callable[[], float], tick: float
    ) -> None:
        self.users: set[str] = set()
        self.work = work
        self._rules = rules
        self._clock = clock
        self._tick = tick
        self._chats: dict[str, Chat] = {}
        self._posted: dict[str, deque[float]] = {}

    def create(self, user: str) -> Chat:
        """Make a chat."""
        chat = Chat(user)
        self._chats[chat.id] = chat
        return chat

    def chats(self, user: str, *, hidden: bool) -> list[Chat]:
        """Give a user's chats, newest first."""
        return [
            one
            for one in reversed(self._chats.values())
            if one.owner == user and (hidden or not one.hidden)
        ]

    def chat(self, user: str, ident: str) -> Chat:
        """Give one chat.

        Raises:
            Problem: It is not there, or not the user's.
        """
        chat = self._chats.get(ident)
        if chat is None or chat.owner != user:
            raise Problem(404, "Chat not found")
        return chat

    def change(self, chat: Chat, body: object) -> None:
        """Change title, visibility, use of data, or tail of a chat.

        Raises:
            Problem: A value does not fit.
        """
        changes = body if isinstance(body, dict) else {}
        title = changes.get("title")
        if title is not None and (not isinstance(title, str) or len(title) > _TITLE_LIMIT):
            raise Problem(422, "ensure this value has at most 100 characters")
        chat.title = title or chat.title
        chat.hidden = bool(changes.get("hidden", chat.hidden))
        chat.allow_data_use = bool(changes.get("allow_data_use", chat.allow_data_use))
        chat.tail = changes.get("active_thread_tail_message_id", chat.tail)

    def delete(self, user: str, ident: str) -> None:
        """Delete a chat. A message of it that waits or is given will break the worker."""
        chat = self.chat(user, ident)
        del self._chats[ident]
        for message in chat.messages.values():
            message.gone = True

    def message(self, user: str, chat_id: str, ident: str) -> Message:
        """Give one message; the chat is not compared.

        Raises:
            Problem: It is not there: the server breaks down on that.
        """
        message = self._found(user, ident)
        if message is None or chat_id not in self._chats:
            raise Problem(500)
        return message

    def prompt(self, user: str, chat_id: str, asked: Prompting) -> Message:
        """Store a prompter message.

        Raises:
            Problem: Unknown chat, wrong parent, too long, or text that cannot be stored.
        """
        chat = self._chats.get(chat_id)
        if chat is None or chat.owner != user or user not in self.users:
            raise Problem(500)
        self._check_room(chat)
        if 0 < self._rules.message_length < len(asked.content):
            raise Problem(413, "Message content exceeds max length")
        self._check_parent(chat, asked.parent_id)
        if not posts.storable(asked.content):
            raise Problem(500)
        message = Message(
            chat.id, asked.parent_id, asked.content, role="prompter", state="manual", owner=user
        )
        chat.messages[message.id] = message
        chat.title = asked.content if chat.title is None else chat.title
        chat.modified_at = now()
        return message

    def count(self, user: str) -> None:
        """Count a post of an assistant message, valid or not, against the rate limit.

        Raises:
            Problem: Too many. The server means to say so, and breaks down.
        """
        if not self._rules.rate:
            return
        moment = self._clock()
        posted = self._posted.setdefault(user, deque())
        while posted and posted[0] <= moment - _RATE_WINDOW * self._tick:
            posted.popleft()
        if len(posted) >= self._rules.rate:
            raise Problem(500)
        posted.append(moment)

    def assist(self, user: str, asked: Assisting) -> Message:
        """Make an assistant message and queue it.

        Every pending one of the user with another parent is cancelled first, even if
        the call then fails (section 5, "One account, one queue slot").

        Raises:
            Problem: Unknown model or parent, a full chat, or a full queue.
        """
        self._cancel_pending(user, asked.parent_id)
        if not models.known(asked.model):
            raise Problem(422, f"Model {asked.model} not found")
        if self._rules.allowed and asked.model not in self._rules.allowed:
            names = ",".join(self._rules.allowed)
            raise Problem(422, f"Model {asked.model} not in allowed models: {names}")
        parent = self._found(user, asked.parent_id)
        if parent is None:
            raise Problem(500)
        chat = self._chats[parent.chat_id]
        self._check_room(chat)
        message = Message(chat.id, parent.id, None, role="assistant", state="pending", owner=user)
        message.model = asked.model
        message.sampling = asked.sampling
        message.work_parameters = _work_parameters(asked)
        chat.messages[message.id] = message
        if self.work.judges():
            message.judged = parent
        if not self.work.add(message):
            raise Problem(503, "The server is currently busy. Please try again later.")
        return message

    def question(self, message: Message) -> Prompt:
        """Give what the model is asked: all ancestors, and the system prompt before them."""
        chat = self._chats.get(message.chat_id)
        ancestors = chat.history(message)[:-1] if chat else []
        asked = message.work_parameters or {}
        system, sampling = asked.get("system_prompt"), asked.get("sampling_parameters")
        most = sampling.get("max_new_tokens") if isinstance(sampling, dict) else None
        head = [Said("system", system)] if isinstance(system, str) and system else []
        said = [Said(_ROLES[one.role], one.content or "") for one in ancestors]
        return Prompt(
            messages=(*head, *said),
            model=message.model,
            max_tokens=most if isinstance(most, int) else None,
        )

    def _cancel_pending(self, user: str, parent: str) -> None:
        for chat in self._chats.values():
            for message in chat.messages.values():
                if (
                    message.state == "pending"
                    and message.owner == user
                    and message.parent_id != parent
                ):
                    message.state = "cancelled"

    def _check_room(self, chat: Chat) -> None:
        if 0 < self._rules.chat_messages <= len(chat.messages):
            raise Problem(413, "Maximum number of messages reached for this chat")

    def _check_parent(self, chat: Chat, ident: str | None) -> None:
        if ident is None:
            if chat.messages:
                raise Problem(400, "Trying to add first message to non-empty chat")
            return
        parent = chat.messages.get(ident)
        if parent is None:
            raise Problem(400, "Parent message not found")
        if parent.role != "assistant":
            raise Problem(400, "Parent message is not an assistant message")
        if parent.state != "complete":
            raise Problem(400, "Parent message is not complete")

    def _found(self, user: str, ident: str) -> Message | None:
        found = (one.messages[ident] for one in self._chats.values() if ident in one.messages)
        message = next(found, None)
        return message if message and message.owner == user else None


def _work_parameters(asked: Assisting) -> dict[str, object]:
    return {
        "model_config": models.config(asked.model),
        "sampling_parameters": dict(asked.sampling),
        "do_sample": True,
        "seed": random.randrange(1 << 53, 1 << 64),
        "system_prompt": asked.system_prompt,
        "user_profile": asked.user_profile,
        "user_response_instructions": asked.user_response_instructions,
        "plugins": list(asked.plugins),
        "plugin_max_depth": 4,
    }
