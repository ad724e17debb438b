"""The soak: two servers as processes, and callers who ask until the time is over."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Generic, TypeVar

import aiohttp
import msgspec

from benchmarks.soak import back_ends, served
from benchmarks.soak.asking import ask
from benchmarks.soak.questions import Heard, Question, model_of, question, wrong
from benchmarks.soak.verdict import Seen

PATIENCE = 60.0
"""Seconds until all must be put away after the last caller; connections are kept for some."""
LONGEST = 180.0
"""Seconds within which each answer must have ended, well or not."""

StandingT = TypeVar("StandingT", bound=msgspec.Struct)


class Server(Generic[StandingT]):
    """A process that tells how things stand in it when it is asked."""

    def __init__(self, process: Process, kind: type[StandingT]) -> None:
        self.process = process
        self._kind = kind

    async def line(self, said: str = "") -> str:
        """What it answers to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{said}\n".encode())
        return (await self.process.stdout.readline()).decode()

    async def standing(self) -> StandingT:
        """How things stand."""
        return msgspec.json.decode(await self.line(), type=self._kind)

    async def end(self) -> int:
        """Let it end; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()


@asynccontextmanager
async def started(kind: type[StandingT], *arguments: str) -> AsyncIterator[Server[StandingT]]:
    """The module of ``kind`` as a process, ended at the latest with the block."""
    command = (sys.executable, "-m", kind.__module__, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield Server(process, kind)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Soak:
    """Callers who ask until the time is over.

    Args:
        seconds: for how long new questions are asked.
        streams: callers at a time.
        pace: seconds between two pieces of the models.
        seed: another one asks other questions.
    """

    def __init__(self, seconds: float, streams: int, pace: float, seed: int = 1) -> None:
        self._seconds = seconds
        self._streams = streams
        self._pace = pace
        self._seed = seed
        self._numbers = count()
        self._asked: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._characters = 0

    async def run(self) -> Seen:
        """All of it: start, ask, wait until everything is put away, end."""
        async with (
            started(back_ends.Standing, str(self._pace)) as remote,
            started(served.Standing) as gateway,
        ):
            assert remote.process.stdout is not None
            providers = (await remote.process.stdout.readline()).decode().strip()
            url = (await gateway.line(providers)).strip()
            before = await gateway.standing()
            watched = await self._ask_on(url, gateway)
            after = await _settled(gateway, lambda now: _is_clean(now, before))
            far = await _settled(remote, lambda now: not (now.left or now.running or now.streams))
            code = await gateway.end()
            last = await _settled(remote, lambda now: not now.connections)
            await remote.end()
        return Seen(
            asked=self._asked,
            ends=self._ends,
            errors=self._errors,
            wrong=self._wrong,
            characters=self._characters,
            watched=watched,
            before=before,
            after=after,
            remote=far,
            code=code,
            connections=last.connections,
        )

    async def _ask_on(self, url: str, gateway: Server[served.Standing]) -> list[served.Standing]:
        """Let the callers ask; how the gateway stands meanwhile, once a second."""
        watched: list[served.Standing] = []
        until = asyncio.get_running_loop().time() + self._seconds
        async with asyncio.TaskGroup() as group:
            callers = [
                group.create_task(self._caller(url, until, model_of(number)))
                for number in range(self._streams)
            ]
            while not all(caller.done() for caller in callers):
                watched.append(await gateway.standing())
                await asyncio.wait(callers, timeout=1.0)
        # Towards the end callers become fewer: that is not the memory of a full gateway.
        return watched[: max(1, int(self._seconds))]

    async def _caller(self, url: str, until: float, model: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            while asyncio.get_running_loop().time() < until:
                asked = question(self._seed, next(self._numbers), model)
                try:
                    async with asyncio.timeout(LONGEST):
                        heard = await ask(http, url, asked)
                except (aiohttp.ClientError, AssertionError, LookupError, ValueError) as error:
                    self._wrong.append(f"{asked}: {type(error).__name__}: {error}")
                except TimeoutError:
                    self._wrong.append(f"{asked}: no end within {LONGEST:g} s")
                else:
                    self._judge(asked, heard)

    def _judge(self, asked: Question, heard: Heard) -> None:
        fault = wrong(asked, heard)
        if fault is not None:
            self._wrong.append(f"{asked.model} {asked.surface} {fault}")
        self._characters += len(heard.text)
        self._asked[asked.surface] += 1
        self._asked["streamed" if asked.stream else "whole"] += 1
        self._asked[asked.model.partition("/")[0]] += 1
        if heard.left:
            self._ends["left"] += 1
        elif heard.error is not None:
            self._ends["failed"] += 1
            self._errors[re.sub(r"\b\d+", "N", heard.error)[:100]] += 1
        else:
            self._ends["ended well"] += 1


def _is_clean(now: served.Standing, before: served.Standing) -> bool:
    return (
        now.tasks <= before.tasks
        and now.sockets <= before.sockets
        and not (now.streams or now.cleanups)
    )


async def _settled(server: Server[StandingT], is_settled: Callable[[StandingT], bool]) -> StandingT:
    """How things stand when they have settled, or when it is time that they had."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while True:
        now = await server.standing()
        if is_settled(now) or loop.time() > until:
            return now
        await asyncio.sleep(0.2)
