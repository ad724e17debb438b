"""What all sandbox servers share: ports, counting, runs, and control of the framing.

A server is a subclass of `Server`: it names its routes and keeps its own conversations.
The base counts requests, connections, streams and runs, notes which remote
conversations were created and deleted, and shows it all at ``GET /_sandbox/state`` on
each of the server's ports, so that a test can prove that nothing was left behind.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import ClassVar, Self, TypeAlias

import msgspec
from aiohttp import web

from penstock.sandbox.fault_answers import Raw, Recorded, instead, reframed
from penstock.sandbox.fault_script import FaultyScript
from penstock.sandbox.fault_shape import Act, Shape, content_encoding, content_type
from penstock.sandbox.faults import (
    HEADER,
    FaultError,
    Faults,
    Given,
    Rule,
    Value,
    at_stage,
    split_mark,
)
from penstock.sandbox.received import Received
from penstock.sandbox.run import Run
from penstock.sandbox.script import Prompt, Script

LOG_LENGTH = 200
STATE_PATH = "/_sandbox/state"
_HEADER_LIMIT = 128 * 1024
# How long a port that closes waits for handlers; they have nothing left to say by then.
_SHUTDOWN_WAIT = 0.2
_READ_TIME = 0.05

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
# aiohttp puts this type on an answer that was given none; no server here sends it.
_UNSET_TYPE = "application/octet-stream"


class LogEntry(msgspec.Struct):
    """One request as it is remembered: no query, no headers, no body."""

    method: str
    path: str
    status: int | None = None


_ENTRY = web.RequestKey("sandbox_entry", LogEntry)
# The faults of the request that is handled; a run that starts meanwhile has them as well.
_GIVEN: ContextVar[Given] = ContextVar("sandbox_faults")


class RunCounts(msgspec.Struct):
    """Generations of the model; ``finished`` includes those the model failed."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0
    running: int = 0


class Conversations(msgspec.Struct):
    """Ids of remote conversations (or predictions), in order of their making."""

    created: list[str] = []
    deleted: list[str] = []
    left: list[str] = []


class State(msgspec.Struct):
    """What ``GET /_sandbox/state`` answers."""

    provider: str
    requests: int
    open_connections: int
    open_streams: int
    runs: RunCounts
    conversations: Conversations
    log: list[LogEntry]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options every server has; a server adds its own in a subclass.

    Attributes:
        cut: Streams are sent in network writes of so many bytes, wherever characters
            and frames end. 0 sends each frame as one write.
        pace: Seconds between two pieces; None takes the sandbox's.
    """

    cut: int = 0
    pace: float | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a server gets from the sandbox it belongs to."""

    name: str
    script: Script
    tasks: asyncio.TaskGroup
    pace: float = 0.0
    options: Mapping[str, object] = {}
    rules: Sequence[Rule] = ()
    on_request: Callable[[Received], None] | None = None


class FaultEndError(ConnectionResetError):
    """A fault has ended a stream; to its handler that is a reader who has left."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("a fault ended the stream")
        self.response = response


class Stream:
    """An answer under way whose bytes and end are chosen one by one.

    Use it as an async context manager, see `Server.stream`; the handler returns
    `response`. Left without an exception it ends in order; left with one, aiohttp closes
    the connection.
    """

    def __init__(
        self,
        server: Server,
        request: web.Request,
        response: web.StreamResponse,
        shape: Shape | None = None,
    ) -> None:
        self.response = response
        self._server = server
        self._request = request
        self._cut = server.options.cut
        self._shape = shape

    async def __aenter__(self) -> Self:
        self._server.open_streams += 1
        try:
            await self.response.prepare(self._request)
            if self._shape is not None:
                await self._perform(self._shape.opening())
        except BaseException:
            self._server.open_streams -= 1
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self.gone and self._shape is not None:
                await self._perform(self._shape.closing())
            if kind is None and not self.gone:
                await self.response.write_eof()
        finally:
            self._server.open_streams -= 1

    @property
    def gone(self) -> bool:
        """Whether the connection is closed or closing."""
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def write(self, data: bytes) -> None:
        """Send bytes, in the cuts the options ask for.

        Raises:
            ConnectionResetError: The reader has left, or a fault has ended the stream.
        """
        if self._shape is not None:
            await self._perform(self._shape.frame(data))
            return
        size = self._cut or len(data) or 1
        for start in range(0, len(data), size):
            await self.response.write(data[start : start + size])
            if self._cut:
                await asyncio.sleep(0)

    def break_off(self) -> None:
        """Close the connection without the last chunk; what was written still arrives."""
        if self._request.transport is not None:
            self._request.transport.close()

    def reset(self) -> None:
        """Reset the connection; what was written may be lost."""
        transport = self._request.transport
        if transport is not None:
            # Closed with a linger time of zero, the kernel sends a reset and no end.
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()

    async def stall(self) -> None:
        """Say nothing more until the reader leaves or the sandbox closes."""
        await asyncio.Event().wait()

    async def _perform(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case bytes():
                    await self.response.write(act)
                    await asyncio.sleep(0)
                case float():
                    await asyncio.sleep(act)
                case "stall":
                    await self.stall()
                case "comments":
                    await self._keep_alive()
                case "end":
                    await self.response.write_eof()
                    raise FaultEndError(self.response)
                case "break":
                    self.break_off()
                    raise FaultEndError(self.response)
                case "reset":
                    # What was written before is to be read, not lost.
                    await asyncio.sleep(_READ_TIME)
                    self.reset()
                    raise FaultEndError(self.response)

    async def _keep_alive(self) -> None:
        assert self._shape is not None
        while True:
            await self.response.write(self._shape.comment)
            await asyncio.sleep(self._shape.every)


class Server(ABC):
    """One back end. A subclass names its routes and its options.

    Attributes:
        kind: Name of the back end, as in the table of the sandbox.
        extra_origins: Names of further ports, whose routes are `extra_routes`.
        body_limit: Largest request body in bytes that reaches a handler.
        api_key: A credential that always works here, where the back end wants one.
        urls: Base URL of each port by its name; the main one is ``""``.
        faults: Which requests get which fault; see `Faults.next`.
    """

    kind: ClassVar[str]
    options_type: ClassVar[type[Options]] = Options
    extra_origins: ClassVar[tuple[str, ...]] = ()
    body_limit: ClassVar[int] = 32 * 1024 * 1024
    api_key: ClassVar[str | None] = None

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self.script = setup.script
        try:
            self.options = msgspec.convert(dict(setup.options), self.options_type)
        except msgspec.ValidationError as problem:
            raise ValueError(f"options of {setup.name!r}: {problem}") from problem
        self.pace = setup.pace if self.options.pace is None else self.options.pace
        self.urls: dict[str, str] = {}
        self.faults = Faults(setup.name, setup.rules)
        self.open_streams = 0
        self._on_request = setup.on_request
        self._tasks = setup.tasks
        self._requests = 0
        self._log: deque[LogEntry] = deque(maxlen=LOG_LENGTH)
        self._counts = RunCounts()
        self._running: set[Run] = set()
        self._created: dict[str, None] = {}
        self._deleted: dict[str, None] = {}
        self._runners: list[web.AppRunner] = []
        self._closing = False

    @abstractmethod
    def routes(self) -> Sequence[web.RouteDef]:
        """Routes of the main port."""

    def extra_routes(self, origin: str) -> Sequence[web.RouteDef]:
        """Routes of a further port."""
        return ()

    def middlewares(self) -> Sequence[Callable[..., Awaitable[web.StreamResponse]]]:
        """aiohttp middlewares of the server's own, outermost first."""
        return ()

    def run(self, prompt: Prompt, then: Callable[[Run], None] | None = None) -> Run:
        """Start a generation. It goes on until its end, `Run.cancel`, or the close.

        Args:
            prompt: What is asked of the model.
            then: Called once when the run has ended, whoever reads it: the place to
                store the answer.
        """

        def ended(run: Run) -> None:
            self._run_ended(run)
            if then is not None:
                then(run)

        faults = at_stage(_GIVEN.get({}), "model") or self.faults.take("model")
        script = FaultyScript(self.script, faults) if faults else self.script
        run = Run(prompt, script, self.pace, ended)
        self._counts.started += 1
        self._counts.running += 1
        self._running.add(run)
        run.start(self._tasks)
        if self._closing:
            run.cancel()
        return run

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Let `work` go on beside the requests; it must end when its runs have ended."""
        self._tasks.create_task(work)

    def fault(self, name: str) -> Value | None:
        """Give the value of a fault of the protocol, if one is to strike here and now."""
        given = _GIVEN.get({})
        return given[name] if name in given else self.faults.take_named(name)

    def stream(self, request: web.Request, headers: Mapping[str, str], status: int = 200) -> Stream:
        """Give a chunked answer with these headers, to be entered with ``async with``."""
        given = _GIVEN.get({})
        if at_stage(given, "framing"):
            return Stream(self, request, Recorded(status=status, headers=headers))
        faults = at_stage(given, "body") or self.faults.take("body")
        response = web.StreamResponse(status=status, headers=headers)
        response.enable_chunked_encoding()
        if not faults:
            return Stream(self, request, response)
        return Stream(self, request, response, shaped(response, faults))

    def note_created(self, ident: str) -> None:
        """Remember that a remote conversation was made."""
        self._created[ident] = None

    def note_deleted(self, ident: str) -> None:
        """Remember that a remote conversation was deleted."""
        self._deleted[ident] = None

    def state(self) -> dict[str, object]:
        """Give what ``GET /_sandbox/state`` answers."""
        state = State(
            provider=self.name,
            requests=self._requests,
            open_connections=self._connections(),
            open_streams=self.open_streams,
            runs=self._counts,
            conversations=Conversations(
                created=list(self._created),
                deleted=list(self._deleted),
                left=[one for one in self._created if one not in self._deleted],
            ),
            log=list(self._log),
        )
        built: dict[str, object] = msgspec.to_builtins(state)
        return built

    async def open(self, host: str, ports: Iterable[int]) -> None:
        """Listen: one port for the main origin, then one for each further origin."""
        for origin, port in zip(("", *self.extra_origins), ports, strict=True):
            runner = web.AppRunner(
                self._application(origin),
                handle_signals=False,
                access_log=None,
                handler_cancellation=True,
                shutdown_timeout=_SHUTDOWN_WAIT,
                max_line_size=_HEADER_LIMIT,
                max_field_size=_HEADER_LIMIT,
            )
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, host, port).start()
            bound = runner.addresses[0][1]
            shown = f"[{host}]" if ":" in host else host
            self.urls[origin] = f"http://{shown}:{bound}"

    def end_runs(self) -> None:
        """Cancel all runs, and every one that is started from now on."""
        self._closing = True
        for run in list(self._running):
            run.cancel()

    async def aclose(self) -> None:
        """Close the ports; the runs must have been ended before."""
        for runner in self._runners:
            await runner.cleanup()

    def _application(self, origin: str) -> web.Application:
        application = web.Application(
            middlewares=[self._count, *self.middlewares()],
            client_max_size=self.body_limit,
        )
        application.on_response_prepare.append(self._note_status)
        application.router.add_get(STATE_PATH, self._show_state)
        application.router.add_routes(self.extra_routes(origin) if origin else self.routes())
        return application

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == STATE_PATH:
            return await handler(request)
        self._requests += 1
        request[_ENTRY] = LogEntry(request.method, request.path)
        self._log.append(request[_ENTRY])
        if self._on_request is not None:
            headers = dict(request.headers)
            body = await self._body(request)
            self._on_request(
                Received(self.name, request.method, request.path, headers, body or b"")
            )
        try:
            given = await self._chosen(request)
        except FaultError as problem:
            return reply(400, msgspec.json.encode({"error": str(problem)}), "application/json")
        try:
            return await self._faulty(request, handler, given) if given else await handler(request)
        except FaultEndError as end:
            return end.response
        except ConnectionResetError:
            # Written in the moment between the client's leaving and our being told of it.
            if request.transport is not None and not request.transport.is_closing():
                raise
            return web.Response()  # nobody is there to get it

    async def _chosen(self, request: web.Request) -> Given:
        """Give the faults of a request, and take their names out of it."""
        said = b""
        for key, value in request.match_info.items():
            rest, mark = split_mark(value.encode())
            request.match_info[key] = rest.decode()
            said = said or mark.encode()
        if request.content_type == "application/json":
            rest, mark = split_mark(await self._body(request))
            if mark:
                # aiohttp has no public way to hand a handler another body than what came.
                request._read_bytes = rest  # noqa: SLF001
                said = said or mark.encode()
        header = request.headers.get(HEADER, "")
        return self.faults.choose(request.method, request.path, header, said.decode())

    async def _body(self, request: web.Request) -> bytes:
        """Read a body that is kept for the handler; one too large is left to it unread."""
        # `web.Request.post` reads forms from what was kept, `multipart` cannot.
        small = 0 < (request.content_length or 0) <= self.body_limit
        if small and not request.content_type.startswith("multipart/"):
            return await request.read()
        return b""

    async def _faulty(
        self, request: web.Request, handler: Handler, given: Given
    ) -> web.StreamResponse:
        """Answer a request that has faults."""
        if "delay" in given:
            await asyncio.sleep(float(given["delay"]))
        answer = instead(request, given)
        if answer is not None:
            self._note(request, answer)
            return answer
        before = _GIVEN.set(given)
        try:
            answer = await handler(request)
            if at_stage(given, "framing"):
                answer = Raw(reframed(answer, given))
                self._note(request, answer)
            elif isinstance(answer, web.Response) and not answer.prepared:
                answer = await self._shaped_whole(request, answer, given)
            return answer
        finally:
            _GIVEN.reset(before)

    async def _shaped_whole(
        self, request: web.Request, answer: web.Response, given: Given
    ) -> web.StreamResponse:
        """Send an answer that is no stream under the faults of a stream's body."""
        faults = at_stage(given, "body")
        if not faults:
            return answer
        body = answer.body
        headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
        async with self.stream(request, headers, answer.status) as out:
            if isinstance(body, bytes) and body:
                await out.write(body)
        return out.response

    def _note(self, request: web.Request, answer: web.StreamResponse) -> None:
        if isinstance(answer, Raw):
            request[_ENTRY].status = answer.told

    async def _note_status(self, request: web.Request, response: web.StreamResponse) -> None:
        entry = request.get(_ENTRY)
        if entry is not None:
            entry.status = response.status
        response.headers.pop("Server", None)
        if response.headers.get("Content-Type") == _UNSET_TYPE:
            del response.headers["Content-Type"]

    async def _show_state(self, request: web.Request) -> web.Response:
        state = self.state()
        # The connection that asks is not one of the client under test.
        state["open_connections"] = self._connections() - 1
        return reply(200, msgspec.json.encode(state), "application/json")

    def _connections(self) -> int:
        servers = (runner.server for runner in self._runners)
        return sum(len(server.connections) for server in servers if server is not None)

    def _run_ended(self, run: Run) -> None:
        self._running.discard(run)
        self._counts.running -= 1
        if run.state == "cancelled":
            self._counts.cancelled += 1
        else:
            self._counts.finished += 1


def shaped(response: web.StreamResponse, faults: Given) -> Shape:
    """Let the headers tell what the faults of the body make of it."""
    usual = response.headers.get("Content-Type", "")
    if {"type", "charset"} & faults.keys():
        response.headers["Content-Type"] = content_type(faults, usual)
    encoding = content_encoding(faults)
    if encoding is not None:
        response.headers["Content-Encoding"] = encoding
    return Shape(faults, usual)


def reply(
    status: int,
    body: bytes | str = b"",
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Give a whole answer, with exactly this content type, or with none."""
    data = body.encode("utf-8") if isinstance(body, str) else body
    sent = dict(headers or {})
    if content_type is not None:
        sent["Content-Type"] = content_type
    return web.Response(status=status, body=data, headers=sent)
