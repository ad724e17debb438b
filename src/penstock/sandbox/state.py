"""What a server tells of itself at ``GET /_sandbox/state``."""

from __future__ import annotations

import msgspec

LOG_LENGTH = 200
STATE_PATH = "/_sandbox/state"


class LogEntry(msgspec.Struct):
    """One request as it is remembered: no query, no headers, no body."""

    method: str
    path: str
    status: int | None = None


class RunCounts(msgspec.Struct):
    """Generations of the model; ``finished`` includes those the model failed."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0
    running: int = 0


class Conversations(msgspec.Struct):
    """Ids of remote conversations (or predictions), in order of their making."""

    created: list[str] = []
    deleted: list[str] = []
    left: list[str] = []


class State(msgspec.Struct):
    """What ``GET /_sandbox/state`` answers."""

    provider: str
    requests: int
    open_connections: int
    open_streams: int
    runs: RunCounts
    conversations: Conversations
    log: list[LogEntry]
