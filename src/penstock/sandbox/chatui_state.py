"""What today's chat-ui remembers, and how it writes it (wire/h2o.md section 9).

A conversation is a tree of messages that name their ancestors. Values are written as
superjson: plain JSON beside a table of what JSON cannot say.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from penstock.sandbox.script import Message

MODELS = ("h2oai/h2ogpt-4096-llama2-13b-chat", "Qwen/Qwen3-8B")
_PADDED_TO = 16


class Undefined:
    """JavaScript's ``undefined``, which superjson writes as null with a note."""


class Node(msgspec.Struct, kw_only=True):
    """A message of the tree."""

    role: Literal["system", "user", "assistant"]
    content: str
    ident: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    ancestors: list[str] = []
    children: list[str] = []
    created: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    files: list[dict[str, str]] = []
    updates: list[dict[str, object]] = []
    generation: str | None = None
    interrupted: bool | None = None
    log_length: int | None = None

    def shown(self, *, updates: bool) -> dict[str, object]:
        """Give the JSON of the message, its keys in the order of its making."""
        times = {"createdAt": self.created, "updatedAt": self.updated}
        if self.role == "system":
            first: dict[str, object] = {"id": self.ident, "from": self.role}
            shown = {**first, "content": self.content, **times}
            shown |= {"children": self.children, "ancestors": self.ancestors}
            return {**shown, "updates": self.updates} if updates else shown
        shown = {"from": self.role, "content": self.content}
        if self.role == "user":
            shown["files"] = self.files
        shown |= {**times, "ancestors": self.ancestors, "id": self.ident}
        shown["children"] = self.children
        if self.generation is not None:
            shown["generationId"] = self.generation
        shown["updates"] = self.updates
        if self.interrupted is not None:
            shown |= {"interrupted": self.interrupted, "materializedSeq": self.log_length}
        return shown


class Conversation(msgspec.Struct, kw_only=True):
    """A conversation, owned by the cookie that made it."""

    ident: str
    owner: str
    model: str
    preprompt: str = ""
    title: str = "New Chat"
    nodes: dict[str, Node] = {}
    updated: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))

    @property
    def root(self) -> Node:
        """The system message all others descend from."""
        return next(iter(self.nodes.values()))

    def add(self, node: Node, parent: Node) -> Node:
        """Hang a message below another."""
        node.ancestors = [*parent.ancestors, parent.ident]
        parent.children.append(node.ident)
        self.nodes[node.ident] = node
        return node

    def messages_to(self, node: Node) -> tuple[Message, ...]:
        """Give the chat from the root down to a message, as the script gets it."""
        line = [*(self.nodes[ident] for ident in node.ancestors), node]
        return tuple(Message(one.role, one.content) for one in line if one.content)

    def shown(self, *, updates: bool) -> dict[str, object]:
        """Give the JSON of the conversation."""
        return {
            "messages": [node.shown(updates=updates) for node in self.nodes.values()],
            "title": self.title,
            "model": self.model,
            "preprompt": self.preprompt,
            "rootMessageId": self.root.ident,
            "id": self.ident,
            "updatedAt": self.updated,
            "modelId": self.model,
            "shared": False,
            "deployedSpaces": Undefined,
        }


def planted(ident: str, owner: str, model: str, preprompt: str) -> Conversation:
    """Give a new conversation with its system message."""
    root = Node(role="system", content=preprompt)
    return Conversation(
        ident=ident, owner=owner, model=model, preprompt=preprompt, nodes={root.ident: root}
    )


def superjson(value: object) -> str:
    """Write a value as superjson does."""
    notes = dict(_notes(value, ""))
    written: dict[str, object] = {"json": _plain(value)}
    if notes:
        written["meta"] = {"values": notes, "v": 1}
    return json.dumps(written, ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if value is Undefined:
        return None
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}Z"
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _notes(value: object, path: str) -> Iterator[tuple[str, list[str]]]:
    if value is Undefined:
        yield path, ["undefined"]
    elif isinstance(value, datetime):
        yield path, ["Date"]
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _notes(one, _joined(path, str(key).replace(".", "\\.")))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _notes(one, _joined(path, str(number)))


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def units(text: str) -> int:
    """Count UTF-16 units, as JavaScript counts characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def padded(token: str) -> str:
    """Pad a token with NUL to 16 UTF-16 units; a longer one stays as it is."""
    return token + "\0" * max(0, _PADDED_TO - units(token))
