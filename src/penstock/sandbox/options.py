"""What a server is made of: what the sandbox gives it, and what a user may choose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.sandbox.faults import Rule
from penstock.sandbox.received import Received
from penstock.sandbox.script import Script


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options every server has; a server adds its own in a subclass.

    Attributes:
        cut: Streams are sent in network writes of so many bytes, wherever characters
            and frames end. 0 sends each frame as one write.
        pace: Seconds between two pieces; None takes the sandbox's.
    """

    cut: int = 0
    pace: float | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a server gets from the sandbox it belongs to."""

    name: str
    script: Script
    tasks: asyncio.TaskGroup
    pace: float = 0.0
    options: Mapping[str, object] = {}
    rules: Sequence[Rule] = ()
    on_request: Callable[[Received], None] | None = None
