"""What a byte server does on a connection, step by step."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

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


class StepsError(ValueError):
    """A file of steps that cannot be read."""


_End: TypeAlias = Literal["close", "cut", "reset", "half-close", "hang", "deaf"]
_ENDS: dict[_End, Step] = {
    "close": Close(),
    "cut": Close(notify=False),
    "reset": Reset(),
    "half-close": HalfClose(),
    "hang": Hang(),
    "deaf": Hang(reading=False),
}


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step as it stands in a file; one of the fields is given."""

    request: Literal[True] | None = None
    read: str | None = None
    send: str | None = None
    hex: str | None = None
    pause: float | None = None
    end: _End | None = None
    times: int = 1

    def step(self) -> Step:
        """The step."""
        given = [name for name in self.__struct_fields__[:-1] if getattr(self, name) is not None]
        match given:
            case ["request"]:
                return Request()
            case ["read"]:
                return Read((self.read or "").encode())
            case ["send"]:
                return Send((self.send or "").encode(), self.times)
            case ["hex"]:
                return Send(bytes.fromhex(self.hex or ""), self.times)
            case ["pause"]:
                return Pause(self.pause or 0.0)
            case ["end"] if self.end is not None:
                return _ENDS[self.end]
            case _:
                raise ValueError(f"a step says one thing, not {given}")


class _Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    steps: tuple[_Written, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connections: tuple[_Connection, ...]


def load_steps(path: str | Path) -> list[Steps]:
    """Read the steps of each connection from a TOML file, or a JSON file by its suffix.

    Raises:
        StepsError: The file cannot be read or says what no such file says.
    """
    try:
        text = Path(path).read_text("utf-8")
        plain = msgspec.json.decode(text) if str(path).endswith(".json") else tomllib.loads(text)
        read = msgspec.convert(plain, _File).connections
        return [[written.step() for written in one.steps] for one in read]
    except (OSError, ValueError) as problem:
        raise StepsError(f"steps {str(path)!r}: {problem}") from problem
