"""The answers of today's chat-ui: begun, streamed, stopped and read again.

Streams and their framing are those of wire/h2o.md section 9.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from penstock.sandbox.chatui_generation import Generation, Update, first_words
from penstock.sandbox.chatui_posts import Asked, Refused
from penstock.sandbox.chatui_state import Conversation, Node, padded
from penstock.sandbox.script import Prompt
from penstock.sandbox.server import Server, Stream
from penstock.sandbox.web_form import compact

_KEEP_ALIVE = 0.1
_HEARTBEAT = 0.25
_BLANKS = b" " * 4096


class Answers:
    """The generations of a server, by conversation."""

    def __init__(self, server: Server, provider: str, whole_only: bool) -> None:
        """Prepare for answers.

        Args:
            server: Runs the model.
            provider: Named in a ``routerMetadata`` line, where it is not empty.
            whole_only: As in `Generation`.
        """
        self._server = server
        self._provider = provider
        self._whole_only = whole_only
        self._generations: dict[str, list[Generation]] = {}

    def begin(
        self, conversation: Conversation, asked: Asked, files: list[dict[str, str]]
    ) -> Generation:
        """Store the question, then start the answer; a failed question stays stored.

        Raises:
            Refused: The message names no parent that exists.
        """
        first = len(conversation.nodes) == 1
        question = self._question(conversation, asked, files)
        answer = conversation.add(Node(role="assistant", content=""), question)
        prompt = Prompt(messages=conversation.messages_to(question), model=conversation.model)
        generation = Generation(
            asked.generationId or str(uuid.uuid4()),
            lambda: self._server.run(prompt),
            title=first_words(prompt) if first else None,
            whole_only=self._whole_only,
        )
        answer.generation = generation.ident
        self._generations.setdefault(conversation.ident, []).append(generation)
        self._server.spawn(self._generate(conversation, answer, generation, prompt))
        return generation

    def _question(
        self, conversation: Conversation, asked: Asked, files: list[dict[str, str]]
    ) -> Node:
        """Give the user message to answer: a new one, or the one that is retried."""
        named = conversation.nodes.get(asked.id or "")
        if named is None:
            raise Refused
        if asked.is_retry and named.ancestors:
            parent = conversation.nodes[named.ancestors[-1]]
            if named.role == "assistant":
                return parent
            return conversation.add(Node(role="user", content=asked.inputs, files=files), parent)
        return conversation.add(Node(role="user", content=asked.inputs, files=files), named)

    async def _generate(
        self, conversation: Conversation, answer: Node, generation: Generation, prompt: Prompt
    ) -> None:
        await generation.speak()
        answer.content = generation.text
        answer.updates = generation.stored
        answer.interrupted = generation.status == "interrupted"
        answer.log_length = generation.log_length
        answer.updated = conversation.updated = datetime.now(UTC)
        if any(update["type"] == "title" for update in generation.stored):
            conversation.title = first_words(prompt)

    def stop(self, conversation: Conversation, wanted: object, seen: object) -> None:
        """End the generations of a conversation, or the one that is wanted."""
        for generation in self._generations.get(conversation.ident, []):
            if wanted in (None, generation.ident):
                generation.stop(seen if isinstance(seen, int) else None)

    def find(self, conversation: Conversation, wanted: str | None) -> Generation | None:
        """Give the generation of that id, or the newest."""
        all_of_them = reversed(self._generations.get(conversation.ident, []))
        return next((one for one in all_of_them if wanted in (None, one.ident)), None)

    async def relay(self, out: Stream, generation: Generation) -> None:
        """Send the lines of a generation. All that goes out of one goes through here."""
        beaten = time.monotonic() - _KEEP_ALIVE
        async for update in generation.follow(_KEEP_ALIVE):
            if update is not None:
                for line in self._lines(update):
                    await out.write(line)
            due = time.monotonic() - beaten >= _KEEP_ALIVE
            if due and generation.status == "running":
                beaten = time.monotonic()
                await out.write(_line({"type": "status", "status": "keepAlive"}))

    def _lines(self, update: Update) -> list[bytes]:
        """Give the lines of an update."""
        token = update.get("token")
        if isinstance(token, str):
            return [_line({**update, "token": padded(token)})]
        if update["type"] != "finalAnswer":
            return [_line(update)]
        lines = [_line(update) + _BLANKS]
        if self._provider:
            route = {"route": "", "model": "", "provider": self._provider}
            lines.append(_line({"type": "routerMetadata", **route}))
        return lines

    async def replay(self, out: Stream, generation: Generation | None, after: int) -> None:
        """Send the log of a generation from a number on, to its end."""
        if generation is None:
            await out.write(_event("end", {"status": "gone"}))
            return
        async for update in generation.follow(_HEARTBEAT):
            if update is None:
                await out.write(b": heartbeat\n\n")
            for number, entry in generation.entries(after):
                after = number
                await out.write(_event("update", entry, number))
        await out.write(_event("end", {"status": generation.status}))


def _line(update: Mapping[str, object]) -> bytes:
    return compact(update).encode("utf-8", "surrogatepass") + b"\n"


def _event(name: str, data: Mapping[str, object], number: int | None = None) -> bytes:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {compact(data)}\n\n".encode()
