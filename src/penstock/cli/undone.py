"""What could not be undone on a server, with the reason: the library tells it to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class _Sentences(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is told."""
        self.heard.append(record.getMessage())


@contextmanager
def undone() -> Iterator[list[str]]:
    """The warnings of the library, in a list that grows, instead of lines between the answers."""
    handler, logger = _Sentences(), logging.getLogger("penstock")
    logger.addHandler(handler)
    try:
        yield handler.heard
    finally:
        logger.removeHandler(handler)


def with_reasons(left: Sequence[str], heard: Sequence[str]) -> list[str]:
    """The labels of what is left, each as the sentence that says why where one was heard."""
    return [
        next((said for said in reversed(heard) if said.startswith(label)), label) for label in left
    ]
