"""What the rows stand on: the gateway that is asked, and what they find."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.truth.asking import Answer, Place, line
from benchmarks.truth.upstream import Seen, Upstream

CHAT = "/chat/completions"
_NEVER = 3.0
"""Seconds after which an upstream that does not know that the caller went is taken never to."""

_SETTLED = 0.03
"""Seconds after which a gateway only waits; it is left then, and not while it begins."""


class Findings:
    """What one row has seen.

    Attributes:
        missed: a sentence for each thing that is not as required.
        saw: facts worth a word in the table.
        skipped: why the row, or a part of it, could not be asked; None where all was.
    """

    def __init__(self) -> None:
        self.missed: list[str] = []
        self.saw: list[str] = []
        self.skipped: str | None = None

    def expect(self, condition: object, otherwise: str) -> None:
        """Note ``otherwise`` unless ``condition`` holds."""
        if not condition:
            self.missed.append(otherwise)


class Asked(NamedTuple):
    """An answer, and what it cost at the upstream."""

    answer: Answer
    upstream: list[Seen]


class Gateway:
    """The gateway under test.

    Args:
        base_url: of its OpenAI surface.
        model: a name that leads to the scripted upstream.
        key: the caller's; None where it wants none.
        upstream: the scripted upstream behind it.
        headers: what goes with every question.
        patience: seconds that an answer may take.
        leave_limit: seconds within which a caller's leaving must reach the upstream.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key: str | None,
        upstream: Upstream,
        *,
        headers: Mapping[str, str] | None = None,
        patience: float = 15.0,
        leave_limit: float = 0.2,
    ) -> None:
        self._place = Place.of(base_url)
        self._model = model
        self.key = key
        self._upstream = upstream
        self._headers = headers or {}
        self.patience = patience
        self.leave_limit = leave_limit

    def question(
        self, script: str, *, system: str | None = None, **fields: object
    ) -> tuple[dict[str, Any], str]:
        """A body that asks for ``script``, and its nonce."""
        nonce = secrets.token_hex(6)
        messages = [{"role": "user", "content": f"Say hello. truth:{script}:{nonce}"}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return {"model": self._model, "messages": messages, **fields}, nonce

    async def ask(
        self,
        script: str = "hello",
        *,
        system: str | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: object,
    ) -> Asked:
        """Ask for ``script`` and read the answer to its end."""
        body, nonce = self.question(script, system=system, **fields)
        answer = await self.send(json.dumps(body).encode(), headers=headers)
        return Asked(answer, self._upstream.seen[nonce])

    async def send(
        self,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        keyless: bool = False,
    ) -> Answer:
        """Send these bytes as a question, with the caller's key unless another is given."""
        given = {**(self._headers if keyless else self._credentials(key)), **(headers or {})}
        async with asyncio.timeout(self.patience):
            async with line(self._place, "POST", CHAT, body, given) as sent:
                return await sent.answer()

    async def leave(self, script: str, *, stream: bool) -> float | None:
        """Ask, leave in the middle; seconds until the upstream knew, or None if it did not."""
        body, nonce = self.question(script, stream=stream)
        given = self._credentials(None)
        async with line(self._place, "POST", CHAT, json.dumps(body).encode(), given) as sent:
            async with asyncio.timeout(self.patience):
                seen = await self._upstream.first(nonce)
                if stream and script == "stall":
                    await sent.until(b"Hello")
            await asyncio.sleep(_SETTLED)
            if seen.gone.is_set():
                raise ValueError("the upstream was left before the caller went")
            left = sent.leave()
            try:
                async with asyncio.timeout(max(_NEVER, 2 * self.leave_limit)):
                    await seen.gone.wait()
            except TimeoutError:
                return None
        assert seen.left is not None
        return max(0.0, seen.left - left)

    def _credentials(self, key: str | None) -> dict[str, str]:
        key = key or self.key
        return {**self._headers, **({"authorization": f"Bearer {key}"} if key else {})}


Check = Callable[[Gateway, Findings], Awaitable[None]]


class Row(NamedTuple):
    """A row of the table: what is looked at, what is required, and how it is asked."""

    probe: str
    required: str
    check: Check


class Result(NamedTuple):
    """How a row went; ``passed`` is None where it could not be asked at all."""

    probe: str
    required: str
    passed: bool | None
    seen: str

    def plain(self) -> dict[str, object]:
        """As a line of JSON."""
        return self._asdict()


async def judge(row: Row, gateway: Gateway) -> Result:
    """Ask a row; what breaks on the way counts against the gateway."""
    found = Findings()
    try:
        await row.check(gateway, found)
    except TimeoutError:
        found.missed.append(f"no answer within {gateway.patience:g} s")
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        found.missed.append(f"the answer makes no sense: {type(error).__name__}: {error}")
    seen = "; ".join([*found.missed, *found.saw, *([found.skipped] if found.skipped else [])])
    passed: bool | None = not found.missed
    if passed and found.skipped and not found.saw:
        passed = None
    return Result(row.probe, row.required, passed, seen)
