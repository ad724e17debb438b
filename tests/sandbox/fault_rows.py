"""Every row of the fault lists of the wire documents, and how the sandbox is made to do it.

A row is done by a fault, by options, by a script, or by the request itself. What a fault, an
option or a script does is looked at here, on the wire and by a client of ours; what a request does
is proved by the test that the row names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.sandbox.script import Said

Options = Mapping[str, object]
Ending = Literal["end", "cut", "open"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    Attributes:
        where: Document, section, and what the row is about.
        test: The test of a request that does it, as ``file::name``; the rest is then empty.
        server: The server.
        chat: Which chat of `raw.CHATS`; that of the server's name, if empty.
        fault: Faults of the next request that matches ``path``.
        path: As for `Faults.next`.
        options: Options of the server.
        said: Pieces of the model; without them it repeats the question.
        status: Status of the last answer.
        sent: Regular expression that is found in its head or body.
        never: One that is not.
        ends: How it ends: in order, cut, or not while somebody listens.
        kind: What a client of ours tells; None where it answers all the same.
        text: The answer then, where it is not the question.
        partial: Text before the error; None where the clock decides.
        limit: Seconds that the client waits, where it is not to give up.
        left: Whether the remote conversation cannot be deleted yet.
    """

    where: str
    test: str = ""
    server: str = ""
    chat: str = ""
    fault: str = ""
    path: str = ""
    options: Options = {}
    said: tuple[Said, ...] | None = None
    status: int = 200
    sent: str = ""
    never: str = ""
    ends: Ending = "end"
    kind: str | None = None
    text: str | None = None
    partial: str | None = ""
    limit: float = 10.0
    left: bool = False


def by(where: str, *tests: str) -> list[Row]:
    """Rows that a request does, proved elsewhere."""
    return [Row(where=where, test=f"{test}") for test in tests]
