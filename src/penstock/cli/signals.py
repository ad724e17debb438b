"""What the system says to end the program: a closed window, ``kill``, ``timeout``."""

from __future__ import annotations

import signal
from types import FrameType


class Ended(KeyboardInterrupt):
    """The program is told to end; Ctrl-C in a conversation only stops an answer."""


def watch() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: the remote side is stopped, too."""
    for name in ("SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended
