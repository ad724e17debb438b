"""The back ends of the soak: all sandbox servers, with faults, in a process of their own.

Prints what a client must know as a line of JSON; then, for every line that it reads, how things
stand on the servers. It ends when its input does.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator

import msgspec

from benchmarks.soak.questions import BREAKS_OFF, FAULTS, ONE_IN
from penstock.sandbox import SANDBOX_PROVIDERS, Sandbox
from penstock.sandbox.received import Received
from penstock.sandbox.script import ModelFailure, Prompt, Said, cut_tokens
from penstock.sandbox.server import State

STREAMS = {
    "allenai": r"^/v4/threads/$",
    "openassistant": r"/events$",
    "h2o": r"^/conversation/.",
    "tgi": r"/generate_stream$",
    "chatui": r"^/conversation/.",
    "replicate": r"/stream",
    "cog": r"/predictions",
    "openai": r"/chat/completions$",
}
"""Paths of the requests whose answer is the stream."""
OPTIONS: dict[str, dict[str, object]] = {
    "allenai": {"dialect": "threads"},
    # One account has one place in the queue: its answers come one after another.
    "openassistant": {"patience": 0.02, "tick": 0.01, "pace": 0.002},
}


class Standing(msgspec.Struct, frozen=True):
    """How things stand on the servers.

    Attributes:
        faults: how many streams were given a fault.
        left: server -> conversations that were made and not deleted.
        running: answers that a model still makes.
        streams: answers that are still sent.
        connections: open connections.
    """

    faults: int
    left: dict[str, int]
    running: int
    streams: int
    connections: int


class Speaker:
    """Repeats the question; breaks off where that is asked for."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the question again."""
        for piece in cut_tokens(prompt.question):
            yield piece
        if prompt.question.endswith(BREAKS_OFF):
            raise ModelFailure("out of memory")


class BackEnds:
    """The servers, each of which is given a fault now and then."""

    def __init__(self, pace: float) -> None:
        self.sandbox = Sandbox(
            script=Speaker(), pace=pace, options=OPTIONS, on_request=self._requested
        )
        self._seen: Counter[str] = Counter()
        self._faults = 0

    def _requested(self, received: Received) -> None:
        name = received.server
        if received.method not in ("GET", "POST") or not re.search(STREAMS[name], received.path):
            return
        self._seen[name] += 1
        if self._seen[name] % ONE_IN == 0:
            faults = self.sandbox.servers[name].faults
            faults.clear()
            faults.next(FAULTS[self._faults % len(FAULTS)], path=STREAMS[name])
            self._faults += 1

    def standing(self) -> Standing:
        """How things stand now."""
        states = [msgspec.convert(self.sandbox.state(name), State) for name in SANDBOX_PROVIDERS]
        left = {each.provider: len(each.conversations.left) for each in states}
        return Standing(
            self._faults,
            {name: count for name, count in left.items() if count},
            sum(each.runs.running for each in states),
            sum(each.open_streams for each in states),
            sum(each.open_connections for each in states),
        )


async def main(pace: float) -> None:
    """Serve until the input ends."""
    back_ends = BackEnds(pace)
    async with back_ends.sandbox as sandbox:
        print(msgspec.json.encode(sandbox.providers).decode(), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(msgspec.json.encode(back_ends.standing()).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
