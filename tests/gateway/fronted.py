"""A gateway between a caller and a server that fails, and what must be left afterwards: nothing.

Both contexts check at their end: no answer under way, no connection of the gateway in use, no
cleanup waiting or failed; at the server no connection, run or conversation; no socket of this
process.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pytest

from penstock import ProviderConfig
from penstock.config.gateway import GatewaySettings
from penstock.providers.allenai import exchange
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.sandbox import Sandbox
from penstock.sandbox.byte_server import ByteServer, Handler, Steps
from penstock.sandbox.server import State
from penstock.types import Timeouts
from tests.faults.ground import OPTIONS, PATIENT, QUICK, sockets, until
from tests.gateway.running import Running, running_gateway
from tests.places import MODELS

KEY = "sk-c4nary-of-the-upstream"
MODEL = "openai_compatible/m"


class Log(logging.Handler):
    """The lines of the requests that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(json.loads(record.getMessage()))


class Told(NamedTuple):
    """What a caller was told.

    Attributes:
        text: the text of the answer, as far as it came.
        error: of the body, or of the last event; empty where there is none.
        done: the answer has its end.
    """

    status: int
    text: str
    error: dict[str, Any]
    done: bool


class Front:
    """A gateway in front of something.

    Attributes:
        running: the gateway.
        model: what to ask it for.
        log: the lines of the requests that ended.
    """

    def __init__(self, running: Running, model: str, log: list[dict[str, Any]]) -> None:
        self.running = running
        self.model = model
        self.log = log

    async def ask(self, question: str = "hi", *, stream: bool = True, **body: Any) -> Told:
        """Ask, and read to the end, whatever it is."""
        if not stream:
            status, value, _ = await self.running.chat(self.model, question, **body)
            error = value.get("error", {})
            message = value["choices"][0]["message"] if not error else {}
            return Told(status, message.get("content", ""), error, not error)
        status, said, _ = await self.running.stream(self.model, question, **body)
        return Told(status, *streamed(said)) if status == 200 else refused(status, said)

    async def quiet(self) -> None:
        """Wait until nothing is under way, and every request has its line."""
        gateway = self.running.gateway
        session = gateway.client.session
        await until(
            lambda: not (gateway.open_streams or session.open_connections), "answers are left here"
        )
        await until(lambda: not session.outbox.pending, "cleanups are left here")
        assert session.outbox.failed == []

    async def ended(self, count: int = 1) -> list[dict[str, Any]]:
        """The lines of so many questions, once they are there."""
        lines = self.log

        def questions() -> list[dict[str, Any]]:
            return [line for line in lines if line["path"].startswith("/v1/")]

        await until(lambda: len(questions()) >= count, f"lines are missing: {lines}")
        assert len(questions()) == count
        return questions()

    async def counted(self, line: dict[str, Any]) -> None:
        """Demand that the figures tell of the request what its line does."""
        async with self.running.http.get(f"{self.running.url}/metrics") as answer:
            text = await answer.text()
        route = re.escape(f'route="{line["path"]}",status="{line["status"]}"')
        assert re.search(rf"penstock_http_requests_total{{{route}}} 1\.0", text), line
        if "target" in line:
            kind = re.escape(f'error_type="{line.get("kind", "")}"')
            name = "gen_ai_server_request_duration_seconds_count"
            assert re.search(rf"{name}{{[^}}]*{kind}[^}}]*}} 1\.0", text), line


def streamed(said: str) -> tuple[str, dict[str, Any], bool]:
    """Text, error and end mark of a stream; nothing comes after either."""
    events = [part.removeprefix("data: ") for part in said.split("\n\n") if part[:5] == "data:"]
    text = ""
    error: dict[str, Any] = {}
    for event in events:
        assert not error, f"an event after the error: {event}"
        if event == "[DONE]":
            continue
        value = json.loads(event)
        error = value.get("error") or {}
        for choice in value.get("choices", ()):
            text += choice["delta"].get("content") or ""
    if "[DONE]" in events:
        assert events[-1] == "[DONE]"
    return text, error, "[DONE]" in events


def refused(status: int, said: str) -> Told:
    """What a refusal tells."""
    return Told(status, "", json.loads(said)["error"], False)


@asynccontextmanager
async def logged() -> AsyncIterator[list[dict[str, Any]]]:
    """The lines of the requests that end meanwhile."""
    access, log = logging.getLogger("penstock.access"), Log()
    before = access.level
    access.setLevel(logging.INFO)
    access.addHandler(log)
    try:
        yield log.lines
    finally:
        access.removeHandler(log)
        access.setLevel(before)


def limited(timeouts: Mapping[str, float]) -> Timeouts:
    """Limits that no test reaches, but for these."""
    return msgspec.structs.replace(PATIENT, **timeouts)


class Bytes(Front):
    """A gateway in front of a server of exact bytes."""

    def __init__(self, front: Front, server: ByteServer) -> None:
        super().__init__(front.running, front.model, front.log)
        self.server = server


@asynccontextmanager
async def before_bytes(
    script: Steps | Sequence[Steps] | Handler,
    *,
    timeouts: Mapping[str, float] | None = None,
    settings: GatewaySettings | None = None,
    buffer: int | None = None,
    base_url: str | None = None,
) -> AsyncIterator[Bytes]:
    """A gateway whose upstream says exact bytes, and asks it as an OpenAI-compatible one."""
    before = sockets()
    async with ByteServer(script) as server:
        upstream = {
            "base_url": base_url or f"{server.url}/v1",
            "api_key": KEY,
            "timeouts": limited(timeouts or {}),
        }
        async with (
            logged() as log,
            running_gateway({"openai_compatible": upstream}, settings, buffer=buffer) as running,
        ):
            front = Front(running, MODEL, log)
            yield Bytes(front, server)
            await front.quiet()
            await running.http.close()  # the gateway need not wait for it
            assert KEY not in json.dumps(log)
        await server.quiet()
    await until(lambda: sockets() <= before, "sockets are left open")


class Site(Front):
    """A gateway in front of the sandbox of one back end."""

    def __init__(self, front: Front, sandbox: Sandbox, name: str) -> None:
        super().__init__(front.running, front.model, front.log)
        self.faults = sandbox.servers[name].faults
        self._sandbox = sandbox
        self._name = name

    @property
    def state(self) -> State:
        """What is there."""
        return msgspec.convert(self._sandbox.state(self._name), State)

    @property
    def empty(self) -> bool:
        """Whether nothing runs there, and nothing is left."""
        now = self.state
        return not (now.conversations.left or now.runs.running or now.open_streams)


@asynccontextmanager
async def before_site(
    name: str, *, pace: float = 0.0, timeouts: Mapping[str, float] | None = None
) -> AsyncIterator[Site]:
    """A gateway in front of the sandbox of the back end ``name``."""
    before = sockets()
    options = {name: OPTIONS.get(name, {})}
    with pytest.MonkeyPatch.context() as patch:
        # It looks for threads that the server stores late; this server does so at once.
        patch.setattr(exchange, "_SWEEPS", (0.0, 0.01, 0.05))
        async with Sandbox([name], pace=pace, options=options) as sandbox, logged() as log:
            (provider, given), *_ = sandbox.providers.items()
            upstream = {provider: {**given, "timeouts": limited(timeouts or {})}}
            async with running_gateway(upstream) as running:
                if name == "openassistant":  # its waits are long enough for real workers
                    client = running.gateway.client
                    config = msgspec.convert({"name": name, **upstream[provider]}, ProviderConfig)
                    client._providers[name] = OpenAssistantProvider(
                        client.session, config, pace=QUICK
                    )
                here = Site(Front(running, MODELS[name], log), sandbox, name)
                yield here
                await here.quiet()
                await until(lambda: here.empty, f"left there: {sandbox.state(name)}")
                await running.http.close()
            await until(lambda: not here.state.open_connections, "connections are left there")
    await until(lambda: sockets() <= before, "sockets are left open")
