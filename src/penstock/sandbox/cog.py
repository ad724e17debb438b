"""Cog, the model server, as cog 0.23.1 serves a model that yields text.

Theory of operation. There is one slot. A prediction has a run of the model and a teller, which
turns the run's pieces into events; every listener reads the events from the first on. A cancel
is a wish that the teller fulfils at the model's next piece, which nobody gets: so does the real
server, where the model is a generator that must come back to be stopped. A client that drops
its connection, streamed or not, wishes the same (of several, the last).

Facts: wire/replicate.md section 8, and what the same release said where that is silent: in
setup a stream is refused with 406, as the model is not known yet; an input is judged before
the slot; a comment breaks the silence each 15 seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from penstock.sandbox.cog_forms import (
    BUSY,
    DROPPED,
    INDEX,
    KEEP_ALIVE,
    NO_STREAM,
    NOT_READY,
    OTHER_ID,
    Asked,
    Unreadable,
    event,
    invalid,
    read_body,
    schema,
)
from penstock.sandbox.run import Feed, Run
from penstock.sandbox.script import Message, Prompt
from penstock.sandbox.server import Handler, Options, Server, Setup, reply

JSON_TYPE = "application/json"
_STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_LOG = "Random seed: 4711\n"


class CogOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        streams: Whether the model is marked for streaming.
        setup: Seconds of setup, from the start of the sandbox on.
        max_tokens: Largest `max_tokens` the model takes, and what it takes unasked.
        linger: Seconds the slot stays taken after a prediction.
        logs: The model writes a line of log first.
        keep_alive: Seconds of silence after which a comment is sent.
    """

    streams: bool = True
    setup: float = 0.0
    max_tokens: int = 1024
    linger: float = 0.0
    logs: bool = False
    keep_alive: float = 15.0


class Prediction:
    """A prediction: its run, and its events as they are sent.

    Attributes:
        unwanted: Somebody wishes that it ends.
        status: What it came to; ``processing`` before.
        texts: The pieces that were given out.
    """

    def __init__(self, ident: str, given: Mapping[str, object], run: Run, logs: str) -> None:
        self.ident = ident
        self.run = run
        self.unwanted = False
        self.status = "processing"
        self.texts: list[str] = []
        self.events: Feed[bytes] = Feed()
        self._given = given
        self._logs = logs
        self._began = time.monotonic()
        self._spent = 0.0
        self._listeners = 0

    @contextmanager
    def listened(self) -> Iterator[None]:
        """Be a listener; nobody wants what the last one has left."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            self.unwanted = self.unwanted or not self._listeners

    async def tell(self) -> None:
        """Give out the run's pieces until its end, or until a piece that is unwanted."""
        self.events.add(event("start", {"id": self.ident, "status": "processing"}))
        if self._logs:
            self.events.add(event("log", {"data": self._logs, "source": "stdout"}))
        async for piece in self.run.follow():
            if self.unwanted:
                break
            if isinstance(piece, str):  # there is no place for reasoning
                said = {"chunk": piece, "index": len(self.texts)}
                self.texts.append(piece)
                self.events.add(event("output", said))
        self.run.cancel()
        self._conclude()
        self.events.add(event("completed", self.completed()))
        self.events.end()

    def completed(self) -> dict[str, object]:
        """The data of ``completed``."""
        failed = {} if self.run.failure is None else {"error": self._error}
        return {
            **failed,
            "id": self.ident,
            "logs": self._logs,
            "metrics": {"predict_time": self._spent},
            "output": self.texts,
            "status": self.status,
        }

    def whole(self) -> dict[str, object]:
        """The answer without a stream: of what did not succeed neither output nor logs."""
        said = self.completed()
        if self.status != "succeeded":
            del said["output"]
            said["logs"] = ""
        return said

    def under_way(self) -> dict[str, object]:
        """The answer to a second PUT without a stream."""
        return {
            "id": self.ident,
            "input": dict(sorted(self._given.items())),
            "logs": self._logs,
            "metrics": {},
            "output": self.texts,
            "status": self.status,
        }

    def _conclude(self) -> None:
        self._spent = round(time.monotonic() - self._began, 9)
        if self.run.failure is not None:
            self.status = "failed"
        elif self.unwanted or self.run.state == "cancelled":
            self.status = "canceled"
        else:
            self.status = "succeeded"

    @property
    def _error(self) -> str:
        assert self.run.failure is not None
        reason = self.run.failure.message
        return f"Prediction failed: Generator iteration error: RuntimeError: {reason}"


class CogServer(Server):
    """The server on a port."""

    kind = "cog"
    options_type = CogOptions
    options: CogOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._started = time.time()
        self._current: Prediction | None = None
        self._free_at = 0.0

    def routes(self) -> Sequence[web.RouteDef]:
        """Predictions and what is beside them."""
        known: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/", self._index),
            ("GET", "/health-check", self._health),
            ("GET", "/openapi.json", self._schema),
            ("POST", "/predictions", self._predict),
            ("PUT", "/predictions/{id}", self._predict),
            ("POST", "/predictions/{id}/cancel", self._cancel),
            ("*", "/predictions", self._other_method),
            ("*", "/{rest:.*}", self._nothing),
        )
        return [web.route(method, path, handler) for method, path, handler in known]

    @property
    def _ready(self) -> bool:
        return time.time() >= self._started + self.options.setup

    @property
    def _busy(self) -> bool:
        return self._current is not None or time.monotonic() < self._free_at

    async def _predict(self, request: web.Request) -> web.StreamResponse:
        content_type = request.headers.get("content-type", "")
        try:
            asked = read_body(await request.read(), content_type)
        except Unreadable as refusal:
            return reply(refusal.status, refusal.text, "text/plain; charset=utf-8")
        named = request.match_info.get("id")
        if named is not None and asked.id not in (None, named):
            return _json(422, OTHER_ID)
        streamed = "text/event-stream" in request.headers.get("accept", "")
        if streamed and not (self.options.streams and self._ready):
            return _json(406, NO_STREAM)
        current = self._current
        if current is not None and named == current.ident and not current.events.ended:
            return await self._join(request, current, streamed)
        return await self._start(request, asked, named, streamed)

    async def _join(
        self, request: web.Request, prediction: Prediction, streamed: bool
    ) -> web.StreamResponse:
        if streamed:
            return await self._stream(request, prediction)
        return _json(202, prediction.under_way())

    async def _start(
        self, request: web.Request, asked: Asked, named: str | None, streamed: bool
    ) -> web.StreamResponse:
        if not self._ready:
            return _json(503, NOT_READY)
        refusal = invalid(asked.input, self.options.max_tokens)
        if refusal is not None:
            return _json(422, refusal)
        if self._busy:
            return _json(409, BUSY)
        ident = named or asked.id or f"pred_{time.time_ns():x}"
        prediction = self._occupy(ident, msgspec.convert(asked.input, dict[str, object]))
        if streamed:
            return await self._stream(request, prediction)
        if request.headers.get("prefer") == "respond-async":
            return _json(202, {"id": ident, "status": "starting"})
        with prediction.listened():
            await prediction.events.wait()
        return _json(200, prediction.whole())

    def _occupy(self, ident: str, given: Mapping[str, object]) -> Prediction:
        logs = _LOG if self.options.logs else ""
        run = self.run(_prompt(given, self.options.max_tokens))
        prediction = Prediction(ident, given, run, logs)
        self._current = prediction
        self.note_created(ident)
        self.spawn(self._serve(prediction))
        return prediction

    async def _serve(self, prediction: Prediction) -> None:
        await prediction.tell()
        self.note_deleted(prediction.ident)
        self._current = None
        self._free_at = time.monotonic() + self.options.linger

    async def _stream(self, request: web.Request, prediction: Prediction) -> web.StreamResponse:
        dropped, number = self.fault("dropped"), 0
        with prediction.listened():
            async with self.stream(request, _STREAM_HEADERS) as out:
                async for frame in prediction.events.follow(beat=self.options.keep_alive):
                    if number == dropped:
                        await out.write(DROPPED)
                        break
                    await out.write(KEEP_ALIVE if frame is None else frame)
                    number += 1
        return out.response

    async def _cancel(self, request: web.Request) -> web.Response:
        current = self._current
        named = request.match_info["id"]
        if current is None or current.ident != named or current.events.ended:
            return _json(404, {})
        current.unwanted = True
        return _json(200, {})

    async def _health(self, request: web.Request) -> web.Response:
        began = _moment(self._started)
        setup = {"started_at": began, "status": "starting"}
        status = "STARTING"
        if self._ready:
            status = "BUSY" if self._busy else "READY"
            completed = _moment(self._started + self.options.setup)
            setup = {"started_at": began, "completed_at": completed, "status": "succeeded"}
            setup["logs"] = ""
        version = {"coglet": "0.23.1", "python_sdk": "0.23.1", "python": "3.11.7"}
        return _json(200, {"status": status, "setup": setup, "version": version})

    async def _schema(self, request: web.Request) -> web.Response:
        if not self._ready:
            return _json(503, {"error": "OpenAPI schema not available"})
        return _json(200, schema(self.options.max_tokens, streams=self.options.streams))

    async def _index(self, request: web.Request) -> web.Response:
        return _json(200, INDEX)

    async def _other_method(self, request: web.Request) -> web.Response:
        return reply(405, headers={"Allow": "POST"})

    async def _nothing(self, request: web.Request) -> web.Response:
        return reply(404)


def _json(status: int, value: object) -> web.Response:
    return reply(status, msgspec.json.encode(value), JSON_TYPE)


def _prompt(given: Mapping[str, object], max_tokens: int) -> Prompt:
    system = str(given.get("system_prompt", ""))
    said = [Message("system", system)] if system else []
    stop = str(given.get("stop_sequences", ""))
    return Prompt(
        messages=(*said, Message("user", str(given["prompt"]))),
        max_tokens=int(float(str(given.get("max_tokens", max_tokens)))),
        stop=tuple(one for one in stop.split(",") if one),
    )


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds")
