"""What all sandbox servers share: ports, counting, runs, and control of the framing.

A server is a subclass of `Server`: it names its routes and keeps its own conversations.
The base counts requests, connections, streams and runs, notes which remote
conversations were created and deleted, and shows it all at ``GET /_sandbox/state`` on
each of the server's ports, so that a test can prove that nothing was left behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from aiohttp import web

from penstock.sandbox.fault_answers import Raw, Recorded
from penstock.sandbox.fault_request import body_of, chosen, faulty, given_now
from penstock.sandbox.fault_script import FaultyScript
from penstock.sandbox.faults import FaultError, Faults, Value, at_stage
from penstock.sandbox.options import Options, Setup
from penstock.sandbox.received import Received
from penstock.sandbox.reply import Handler, reply, unadorned
from penstock.sandbox.run import Run
from penstock.sandbox.script import Prompt
from penstock.sandbox.state import (
    LOG_LENGTH,
    STATE_PATH,
    Conversations,
    LogEntry,
    RunCounts,
    State,
)
from penstock.sandbox.stream import FaultEndError, Stream, shaped

# All that a back end is written with.
__all__ = [
    "LOG_LENGTH",
    "STATE_PATH",
    "Handler",
    "Options",
    "Server",
    "Setup",
    "State",
    "Stream",
    "reply",
]

_HEADER_LIMIT = 128 * 1024
# How long a port that closes waits for handlers; they have nothing left to say by then.
_SHUTDOWN_WAIT = 0.2
_ENTRY = web.RequestKey("sandbox_entry", LogEntry)


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
        self._on_request = setup.on_request
        self._tasks = setup.tasks
        self._requests = 0
        self._log: deque[LogEntry] = deque(maxlen=LOG_LENGTH)
        self._counts = RunCounts()
        self._running: set[Run] = set()
        self._streams: set[Stream] = set()
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

        faults = at_stage(given_now(), "model") or self.faults.take("model")
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
        given = given_now()
        return given[name] if name in given else self.faults.take_named(name)

    def stream(self, request: web.Request, headers: Mapping[str, str], status: int = 200) -> Stream:
        """Give a chunked answer with these headers, to be entered with ``async with``."""
        given = given_now()
        if at_stage(given, "framing"):
            kept = Recorded(status=status, headers=headers)
            return Stream(request, kept, self._streams, self.options.cut)
        faults = at_stage(given, "body") or self.faults.take("body")
        response = web.StreamResponse(status=status, headers=headers)
        response.enable_chunked_encoding()
        shape = shaped(response, faults) if faults else None
        return Stream(request, response, self._streams, self.options.cut, shape)

    @property
    def open_streams(self) -> int:
        """How many streams are under way."""
        return len(self._streams)

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
            body = await body_of(request, self.body_limit)
            self._on_request(
                Received(self.name, request.method, request.path, headers, body or b"")
            )
        try:
            given = await chosen(request, self.faults, self.body_limit)
        except FaultError as problem:
            return reply(400, msgspec.json.encode({"error": str(problem)}), "application/json")
        try:
            if not given:
                return await handler(request)
            answer = await faulty(request, handler, given, self.stream)
            if isinstance(answer, Raw):
                request[_ENTRY].status = answer.told
            return answer
        except FaultEndError as end:
            return end.response
        except ConnectionResetError:
            # Written in the moment between the client's leaving and our being told of it.
            if request.transport is not None and not request.transport.is_closing():
                raise
            return web.Response()  # nobody is there to get it

    async def _note_status(self, request: web.Request, response: web.StreamResponse) -> None:
        entry = request.get(_ENTRY)
        if entry is not None:
            entry.status = response.status
        unadorned(response)

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
