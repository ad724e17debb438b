"""The sandbox on a thread of its own, for tests of what is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from threading import Thread

import msgspec

from penstock.sandbox import Sandbox
from penstock.sandbox.script import ModelFailure, Prompt, Said, Thought, cut_tokens
from penstock.sandbox.server import State

NAMES = ("allenai", "openassistant", "h2o", "chatui", "replicate", "openai")


class Speaker:
    """Echoes; ``THINK`` thinks before, ``FAIL`` breaks off, ``HOLD`` goes on until stopped."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        if "THINK" in prompt.question:
            yield Thought("Let me ")
            yield Thought("see.")
        for piece in cut_tokens(prompt.question):
            yield piece
        if "FAIL" in prompt.question:
            raise ModelFailure("out of memory")
        while "HOLD" in prompt.question:
            yield " on"
            await asyncio.sleep(0.01)


class Servers:
    """The sandbox on a thread of its own."""

    def __init__(self) -> None:
        self._ready: Future[Sandbox] = Future()
        self._stop: Future[None] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Servers:
        self._thread.start()
        self.sandbox = self._ready.result(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set_result(None)
        self._thread.join(20)

    async def _serve(self) -> None:
        try:
            async with Sandbox(NAMES, script=Speaker()) as sandbox:
                self._ready.set_result(sandbox)
                await asyncio.wrap_future(self._stop)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def state(self, name: str) -> State:
        """What is open and left on a server."""
        return msgspec.convert(self.sandbox.state(name), State)
