"""A gateway that plays its part: the page's contract over HTTP, with answers by script.

The model's name says what happens. Nothing here waits for a clock where a test could wait for it:
``demo/held`` goes on when the test says so.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import uvicorn

from penstock.gateway.errors import refusal
from penstock.gateway.http import Receive, Refused, Scope, Send, respond
from penstock.gateway.page import Page
from tests.browser.hostile import hostile_markdown
from tests.browser.texts import CODE_ANSWER, RIVER_ANSWER

JSON = (b"content-type", b"application/json")
Piece: TypeAlias = "str | dict[str, Any]"
"""A comment line, or an event."""

MODELS = (
    "fast",
    "demo/steady",
    "demo/code",
    "demo/queue",
    "demo/cold",
    "demo/thinker",
    "demo/echo",
    "demo/held",
    "demo/endless",
    "demo/short",
    "demo/busy",
    "demo/moody",
    "demo/broken",
    "demo/cut",
    "demo/credential",
    "demo/hostile",
)


@dataclass
class StandIn:
    """What was asked of it, and what it is to do.

    Attributes:
        key: with one, requests without it are answered with 401.
        release: what ``demo/held`` waits for.
        asked: the bodies of all chat requests.
        left: the models whose stream the client left.
        trap: the origin that nobody may ask anything of; hostile answers name it.
        status: the answer of ``/api/status``; None makes it fail.
    """

    trap: str = "http://127.0.0.1:9"
    key: str = ""
    pace: float = 0.002
    asked: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    status: Callable[[], dict[str, Any]] | None = None
    page: Page = field(default_factory=Page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            await self._answer(scope, receive, send)
        except Refused as refused:
            failure = refused.failure
            await respond(send, failure.status, failure.body(), [JSON])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not path.startswith(("/v1/", "/api/")):
            await self.page(scope, receive, send)
            return
        wanted = f"Bearer {self.key}".encode()
        if self.key and dict(scope["headers"]).get(b"authorization") != wanted:
            raise Refused(refusal(401, "a key of this gateway is needed", code="invalid_api_key"))
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "owned_by": "demo"} for name in MODELS]
            await respond(send, 200, json.dumps({"data": models}).encode(), [JSON])
        elif path == "/api/status":
            if self.status is None:
                raise Refused(refusal(500, "no status"))
            await respond(send, 200, json.dumps(self.status()).encode(), [JSON])
        elif path == "/v1/chat/completions":
            await self._chat(json.loads(await _body(receive)), receive, send)
        else:
            raise Refused(refusal(404, f"there is nothing at {path}"))

    async def _chat(self, body: dict[str, Any], receive: Receive, send: Send) -> None:
        model = body["model"]
        self.asked.append(body)
        if model not in MODELS:
            raise Refused(refusal(404, f"no model {model}", code="model_not_found"))
        if model == "demo/busy":
            await respond(send, 429, _BUSY, [JSON, (b"retry-after", b"12")])
            return
        if model == "demo/credential":
            raise Refused(refusal(502, "401 from the server", code="upstream_auth"))
        if model == "demo/moody" and len([b for b in self.asked if b["model"] == model]) % 2:
            raise Refused(refusal(503, "try later", code="overloaded"))
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", b"req-17"),
            (b"x-penstock-target", model.encode()),
            *([(b"warnings", b"parameter_dropped seed")] if model == "demo/short" else []),
            (b"x-penstock-attempts", b"2" if model == "fast" else b"1"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        watch = asyncio.create_task(_gone(receive))
        try:
            async for piece in self._pieces(model, body):
                if watch.done():
                    self.left.append(model)
                    return
                await send({"type": "http.response.body", "body": _line(piece), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            watch.cancel()

    async def _pieces(self, model: str, body: dict[str, Any]) -> AsyncIterator[Piece]:
        """The stream of a model, as comments and events."""
        yield _delta(role="assistant", content="")
        match model:
            case "demo/queue":
                for place in (3, 2, 1):
                    yield f": waiting queue position={place} size=10"
                    await self._held()
            case "demo/cold":
                yield ": waiting cold_start"
                await self._held()
                yield ': waiting loading detail="weights, 12 of 40 GB"'
                await self._held()
            case "demo/thinker":
                yield _delta(reasoning_content="Rivers run downhill. So the answer is simple.")
            case _:
                yield ": keep-alive"
        async for piece in self._text(model, body):
            yield _delta(content=piece)
        if model == "demo/broken":
            yield {"error": {"message": "CUDA out of memory", "type": "server_error",
                             "param": None, "code": "model"}}  # fmt: skip
        elif model != "demo/cut":
            reason = "length" if model == "demo/short" else "stop"
            yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": None}
            if model == "demo/short":
                yield ": warning usage_estimated the back end counts no tokens"
                yield ": warning history_lost the thread is gone"
            if model != "demo/code":
                usage = {"prompt_tokens": 9, "completion_tokens": 214, "total_tokens": 223}
                yield {"choices": [], "usage": usage}
            yield {"done": True}

    async def _text(self, model: str, body: dict[str, Any]) -> AsyncIterator[str]:
        if model == "demo/echo":
            yield "```json\n" + json.dumps(body, indent=1) + "\n```"
            return
        if model == "demo/endless":
            for number in range(100_000):
                yield f"{number} "
                await asyncio.sleep(0.01)
            return
        text = {"demo/code": CODE_ANSWER, "demo/hostile": hostile_markdown(self.trap)}.get(model)
        for count, piece in enumerate(_cut(text or RIVER_ANSWER)):
            if count == 12 and model in {"demo/broken", "demo/cut"}:
                return
            if count == 12 and model == "demo/held":
                await self._held()
            yield piece
            await asyncio.sleep(self.pace)

    async def _held(self) -> None:
        while not self.release.is_set():
            await asyncio.sleep(0.005)
        self.release.clear()


_BUSY = json.dumps(
    {
        "error": {
            "message": "60 requests a minute are allowed",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
).encode()


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _delta(**delta: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "chatcmpl-1", "choices": [choice], "usage": None}


def _line(piece: Piece) -> bytes:
    if isinstance(piece, str):
        return piece.encode() + b"\n\n"
    text = "[DONE]" if "done" in piece else json.dumps(piece, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _cut(text: str) -> Iterator[str]:
    """Pieces like tokens: a few characters each."""
    for start in range(0, len(text), 5):
        yield text[start : start + 5]


def busy_hour() -> dict[str, Any]:
    """A status with everything in it: targets at work, idle, resting and being tried."""
    return {
        "version": "0.1.0",
        "now": time.time(),
        "uptime": 4242.5,
        "open_streams": 3,
        "providers": [
            _provider(
                "h2o", "h2oGPT", ("h2o/falcon-40b", "closed", 1), ("h2o/vicuna", "closed", 0)
            ),
            _provider("replicate", "Replicate", ("replicate/meta/llama-3-70b", "open", 0)),
            _provider("openassistant", "Open-Assistant", ("openassistant/pythia", "half_open", 2)),
        ],
    }


def _provider(name: str, label: str, *targets: tuple[str, str, int]) -> dict[str, Any]:
    made = [_target(model, breaker, busy) for model, breaker, busy in targets]
    return {"name": name, "label": label, "targets": made}


def _target(model: str, breaker: str, busy: int) -> dict[str, Any]:
    idle = model.endswith("vicuna")
    waves = [0.0 if idle else 6 + 5 * math.sin(i / 23) + 3 * math.sin(i / 5) for i in range(360)]
    bad = [round(w / 4) if breaker == "open" and i > 300 else 0 for i, w in enumerate(waves)]
    return {
        "model": model,
        "breaker": breaker,
        "in_flight": busy,
        "requests": round(sum(max(w, 0) for w in waves)),
        "errors": {"overloaded": sum(bad), "timeout": 2} if any(bad) else {},
        "series": {
            "step": 10,
            "end": int(time.time()) // 10 * 10,
            "requests": [max(0, round(w)) for w in waves],
            "errors": bad,
            "first_token_ms": [None if w <= 0.5 else 300 + 40 * w for w in waves],
            "tokens_per_s": [None if w <= 0.5 else 60 - 2 * w for w in waves],
        },
    }


@contextmanager
def served(stand_in: StandIn, port: int = 0) -> Iterator[str]:
    """The stand-in on a port of its own; gives the base URL."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        settings = uvicorn.Config(stand_in, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(10)


def main() -> None:
    """Serve until interrupted: for looking at the page while it is worked on."""
    with served(StandIn(pace=0.02, status=busy_hour), 8790) as base:
        print(base)
        threading.Event().wait()


if __name__ == "__main__":
    main()
