"""What a request begins: its checks against the store, and the messages of its turn.

Pure but for the store: the dialects bring requests in and take lines out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.sandbox import script
from penstock.sandbox.allenai import uploads
from penstock.sandbox.allenai.fields import Upload
from penstock.sandbox.allenai.models import Model
from penstock.sandbox.allenai.refusals import Complaint, Refused, invalid
from penstock.sandbox.allenai.store import Message, Opts, Store, User


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request's fields; None where one was left out."""

    model: str
    content: str
    host: str | None = None
    parent: str | None = None
    role: str = "user"
    private: bool | None = None
    original: str | None = None
    template: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    logprobs: int | None = None
    stop: tuple[str, ...] | None = None
    captcha: str | None = None
    files: tuple[Upload, ...] = ()
    tools: tuple[object, ...] = ()


class Turn(msgspec.Struct, frozen=True):
    """A turn begun.

    Attributes:
        messages: New messages, each below the one before it; the last is the reply.
        head: First message of the chain that the model sees.
        prompt: What the model is asked.
    """

    messages: tuple[Message, ...]
    head: Message
    prompt: script.Prompt

    @property
    def reply(self) -> Message:
        """The assistant's message."""
        return self.messages[-1]


class Wording(msgspec.Struct, frozen=True):
    """How one version names the checks of a whole request.

    Attributes:
        release: Release of pydantic.
        tail: End of the input, as its messages show it.
    """

    release: str
    tail: str


def checked_parent(asked: Asked, store: Store, user: User, wording: Wording) -> Message | None:
    """Give the message that is to be continued, or None for a new thread.

    Raises:
        Refused: It is not there, not the user's, or cannot be continued by this.
    """
    if asked.parent is None:
        return None
    parent = store.find(asked.parent)
    if parent is None:
        raise _unfit(asked, f"Parent message {asked.parent} not found", wording)
    store.owned(parent, user)
    if parent.role == asked.role:
        raise _unfit(asked, "Parent and child must have different roles", wording)
    if asked.original == asked.parent:
        raise _unfit(asked, "Original message cannot also be parent", wording)
    if not user.anonymous and bool(asked.private) != parent.private:
        raise _unfit(asked, "Visibility must be identical for all messages in a thread", wording)
    return parent


def _unfit(asked: Asked, message: str, wording: Wording) -> Refused:
    shown = f"{{'parent_id': {asked.parent!r}, 'content': {asked.content!r}, {wording.tail}"
    complaint = Complaint(message=f"Value error, {message}", shown=shown)
    return invalid("CreateMessageRequestWithFullMessages", wording.release, [complaint])


def begin(
    asked: Asked, store: Store, user: User, *, model: Model, opts: Opts, parent: Message | None
) -> Turn:
    """Make the messages of a turn: a model's system prompt, the request, the reply."""
    private = user.anonymous or bool(asked.private)

    def made(content: str, role: str, below: Message | None) -> Message:
        return store.make(
            user, content, role=role, model=model, opts=opts, parent=below, private=private
        )

    new: list[Message] = []
    if parent is None and model.system_prompt and asked.role == "user":
        new.append(made(model.system_prompt, "system", None))
        new[0].harmful = False
    message = made(asked.content, asked.role, new[-1] if new else parent)
    message.original = asked.original
    if asked.files:
        message.file_urls = uploads.urls(asked.files, message.root, message.id)
    reply = made("", "assistant", message)
    reply.model_type = model.model_type
    history = store.history(message)
    return Turn((*new, message, reply), history[0], _prompt(history, model, opts))


def store_only(
    asked: Asked, store: Store, user: User, *, model: Model, opts: Opts, parent: Message | None
) -> Message:
    """Make one message that gets no reply (allenai-2025-role-assistant-json-reply)."""
    message = store.make(
        user,
        asked.content,
        role=asked.role,
        model=model,
        opts=opts,
        parent=parent,
        private=user.anonymous or bool(asked.private),
    )
    message.final = True
    return message


def _prompt(history: Sequence[Message], model: Model, opts: Opts) -> script.Prompt:
    return script.Prompt(
        messages=tuple(script.Message(one.role, one.content) for one in history),
        model=model.id,
        max_tokens=opts.max_tokens,
        stop=opts.stop,
    )


def prompt_tokens(prompt: script.Prompt) -> int:
    """Count a prompt as the sandbox's tokenizer does."""
    return sum(len(script.cut_tokens(one.content)) for one in prompt.messages)


class Moderation(msgspec.Struct, frozen=True):
    """What the moderation refuses, by parts of texts and files."""

    texts: tuple[str, ...]
    files: tuple[str, ...]

    def text(self, content: str) -> bool:
        """Say whether a text is refused."""
        return any(one in content for one in self.texts)

    def upload(self, files: Sequence[Upload]) -> bool:
        """Say whether one of the files is refused."""
        return any(one.encode() in sent.data for one in self.files for sent in files)
