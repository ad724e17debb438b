"""The faults of stage ``model``: a script that does not say what it was to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from penstock.sandbox.faults import Given
from penstock.sandbox.script import End, ModelFailure, Prompt, Said, Script


class FaultyScript:
    """Another script with faults."""

    def __init__(self, script: Script, given: Given) -> None:
        self._script = script
        self._given = given
        fails = bool({"model-fails", "model-status", "fails-as"} & given.keys())
        self._fails_after = int(given.get("model-fails", 1)) if fails else None

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say what the other script says, as far as the faults let it."""
        await asyncio.sleep(float(self._given.get("model-delay", 0.0)))
        await self._strike(0)
        if "model-empty" not in self._given:
            said = 0
            async with aclosing(self._script.pieces(prompt)) as pieces:
                async for one in pieces:
                    if isinstance(one, End) and "model-finish" in self._given:
                        continue
                    yield one
                    said += 1
                    await self._strike(said)
        if "model-nul" in self._given:
            yield "\0"
        if "model-finish" in self._given:
            yield End(str(self._given["model-finish"]))

    async def _strike(self, said: int) -> None:
        if self._fails_after == said:
            status = self._given.get("model-status")
            kind = str(self._given.get("fails-as", "failure"))
            raise ModelFailure("sandbox fault", None if status is None else int(status), kind)
        if self._given.get("model-stalls") == said:
            await asyncio.Event().wait()
