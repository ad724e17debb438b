"""What was said, for the log, where ``gateway.log_prompts`` asks for it. Nothing else keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.gateway.errors import Failure
from penstock.gateway.surfaces.surface import Writer
from penstock.types import ChatRequest, Event, Finished, Reply, Text


class Transcript:
    """A writer that notes the text on its way through another one.

    Args:
        writer: makes the bytes.
        request: the question.
    """

    def __init__(self, writer: Writer, request: ChatRequest) -> None:
        self._writer = writer
        self._question = [
            {"role": message.role, "text": message.text} for message in request.messages
        ]
        self._said: dict[int, list[str]] = {}

    def record(self) -> dict[str, Any]:
        """Question and answers as members of the line of the log."""
        answers = ["".join(self._said[choice]) for choice in sorted(self._said)]
        return {"messages": self._question, "answers": answers}

    def opening(self) -> bytes:
        """What goes out before the first event, once."""
        return self._writer.opening()

    def events(self, events: Sequence[Event], choice: int) -> bytes:
        """The frames of the output events of one network read."""
        said = self._said.setdefault(choice, [])
        said += [event.text for event in events if isinstance(event, Text)]
        return self._writer.events(events, choice)

    def finished(self, end: Finished, choice: int) -> bytes:
        """The frames that end one choice."""
        return self._writer.finished(end, choice)

    def closing(self, ends: Sequence[Finished]) -> bytes:
        """What goes out after all choices have ended well."""
        return self._writer.closing(ends)

    def failed(self, failure: Failure) -> bytes:
        """The last frame of an answer that broke after its first byte."""
        return self._writer.failed(failure)

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The body of an answer that was not to be streamed."""
        self._said = {choice: [reply.text] for choice, reply in enumerate(replies)}
        return self._writer.whole(replies)

    def refused(self, failure: Failure) -> bytes:
        """The body of an answer that never began."""
        return self._writer.refused(failure)
