"""What a byte server does on a connection, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec


class Step(msgspec.Struct, frozen=True):
    """One thing that a server does on a connection; the kinds follow."""


class Send(Step, frozen=True):
    """Send bytes as one network write; ``times`` of them, 0 for as long as the client stays."""

    data: bytes
    times: int = 1


class Pause(Step, frozen=True):
    """Say nothing for so many seconds."""

    seconds: float


class Read(Step, frozen=True):
    """Wait until the client has sent these bytes, after those that a step has waited for before."""

    until: bytes = b"\r\n\r\n"


class Request(Step, frozen=True):
    """Wait for a whole HTTP request: its head, and its body by length or in chunks."""


class Close(Step, frozen=True):
    """End with a FIN.

    Attributes:
        notify: Over TLS: say goodbye before. Without it the stream is cut, as by an attacker.
    """

    notify: bool = True


class Reset(Step, frozen=True):
    """End with a RST."""


class HalfClose(Step, frozen=True):
    """Send a FIN, and stay to read. TLS has no such thing."""


class Hang(Step, frozen=True):
    """Say nothing more, and stay until the client leaves.

    Attributes:
        reading: Whether what it sends is still read; otherwise its leaving is not seen.
    """

    reading: bool = True


Steps: TypeAlias = Sequence[Step]
