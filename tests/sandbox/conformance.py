"""Checks a sandbox server from outside against recorded exchanges with the real one.

Contract, for the tests of any server:

1. `cases("h2o")` reads the recorded cases in tests/cassettes/h2o.
2. The test starts a `Sandbox` whose script says what the recorded model said (`said`
   gives it for the usual case) and whose options make the recorded refusal natural.
3. `await differences(case, urls, rules)` sends the recorded requests in order and gives
   one sentence per difference; an empty list is the pass. Ids that the server made
   (cookies, conversations, messages) are put into later requests in the place of the
   recorded ones, matched by order of first appearance in the answers.

Compared: status, the headers named in the rules, names of the cookies set, body shape
(JSON keys in order, kinds of values, how the JSON is written), wording of refusals, the
grammar of streams, and how the answer ended (in order, cut, or left by our side). A
recorded answer that the client left, or that stays open, is read as far as the recording
goes; a request whose path ends in one of `Rules.interrupts`, recorded right after a
stream that ended in order, is sent in the middle of that stream.

Cases a scripted server cannot have belong in a table ``case -> reason`` in the test, and
the test checks with `unknown` that the table names only cases that exist.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from tests.sandbox.grammar import Form, body_form, stream_form

CASSETTES = Path(__file__).parent.parent / "cassettes"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DEADLINE = 10.0
_OUR_OWN = frozenset({"content-length", "connection", "transfer-encoding", "user-agent"})
_STREAMS = ("event-stream", "jsonl", "ndjson", "json-lines")


class Request(msgspec.Struct, frozen=True):
    """A recorded request."""

    method: str
    path: str
    query: str = ""
    headers: list[tuple[str, str]] = []
    body: str | None = None
    body_b64: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """Bytes of one read."""

    b64: str
    t: float = 0.0


class Response(msgspec.Struct, frozen=True):
    """A recorded answer."""

    status: int
    headers: list[tuple[str, str]] = []
    chunks: list[Chunk] = []
    closed: str = "clean"
    closed_note: str | None = None
    left_open: bool = False
    untyped_events: bool = False  # set by tests of a server whose event streams name no type

    @property
    def kind(self) -> str:
        """Type of the body, as named or as known."""
        if self.untyped_events:
            return "text/event-stream"
        return _header(self.headers, "content-type")

    @property
    def body(self) -> bytes:
        """All bytes of the body."""
        return b"".join(base64.b64decode(chunk.b64) for chunk in self.chunks)

    @property
    def left_by_client(self) -> bool:
        """Whether our side ended the recording, or had to."""
        return self.left_open or self.closed == "client" or "client" in (self.closed_note or "")


class Exchange(msgspec.Struct, frozen=True):
    """A recorded request with its answer."""

    request: Request
    response: Response


class Expected(msgspec.Struct, frozen=True):
    """The parts of ``expected`` that tell what the model said."""

    text: str | None = None
    pieces: list[str] | None = None
    finish: str | None = None
    error: dict[str, object] | None = None


class Case(msgspec.Struct, frozen=True):
    """One recorded case."""

    case: str
    provider: str
    exchanges: list[Exchange]
    expected: Expected


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison has to know of a protocol.

    Attributes:
        identifiers: Regular expression of the ids that servers of it make.
        origins: Further ports: recorded host -> name in `Sandbox.urls`.
        main: Name in `Sandbox.urls` of every other host.
        host: Whether the recorded Host header is sent.
        headers: Names of answer headers that must be equal, in small letters.
        tags: JSON keys whose text or truth is part of a frame's kind.
        loose: Paths of JSON values not looked at, as in `grammar.shape`; say why.
        floating: Frames that may stand anywhere in a stream (searched in the kind).
        interrupts: Ends of paths of requests sent in the middle of a stream.
        exact_refusals: Whether answers from status 400 on must have the same words.
        varying: Regular expression of parts of those words that may differ; say why.
    """

    main: str
    identifiers: str = rf"{UUID}|\b[0-9a-f]{{24}}\b"
    origins: Mapping[str, str] = {}
    host: bool = True
    headers: tuple[str, ...] = ("content-type",)
    tags: tuple[str, ...] = ("type", "status", "error_type")
    loose: tuple[str, ...] = ()
    floating: str = ""
    interrupts: tuple[str, ...] = ("/stop-generating", "/cancel")
    exact_refusals: bool = True
    varying: str = ""


class Answer(msgspec.Struct):
    """What the sandbox answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    closed: str = "clean"


def cases(provider: str) -> list[Case]:
    """Read the recorded cases of a provider, in order of their names."""
    files = sorted((CASSETTES / provider).glob("*.json"))
    return [msgspec.json.decode(file.read_bytes(), type=Case) for file in files]


def unknown(names: Iterable[str], known: Sequence[Case]) -> list[str]:
    """Give those names that are no case."""
    return sorted(set(names) - {one.case for one in known})


def said(case: Case) -> list[str]:
    """Give the pieces the recorded model said, or as much text where they are too long."""
    if case.expected.pieces is not None:
        return list(case.expected.pieces)
    return ["long " * 20_000]


async def differences(case: Case, urls: Mapping[str, str], rules: Rules) -> list[str]:
    """Send the recorded requests and say where the answers differ in form."""
    replay = _Replay(case, urls, rules)
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
    ) as session:
        return await replay.run(session)


class _Replay:
    def __init__(self, case: Case, urls: Mapping[str, str], rules: Rules) -> None:
        self._exchanges = case.exchanges
        self._urls = urls
        self._rules = rules
        self._ours: dict[str, str] = {}
        self._sent_by_us: set[str] = set()
        self._sent_then: set[str] = set()

    async def run(self, session: aiohttp.ClientSession) -> list[str]:
        found: list[str] = []
        waiting = list(enumerate(self._exchanges))
        while waiting:
            number, exchange = waiting.pop(0)
            interrupt = self._interrupt(exchange, waiting)
            async with asyncio.timeout(_DEADLINE):
                answer, second = await self._ask(session, exchange, interrupt)
            self._learn(exchange.response, answer)
            found += self._compare(number, exchange, answer)
            if interrupt is not None and second is not None:
                waiting.pop(0)
                self._learn(interrupt.response, second)
                found += self._compare(number + 1, interrupt, second)
        return found

    def _interrupt(
        self, exchange: Exchange, waiting: Sequence[tuple[int, Exchange]]
    ) -> Exchange | None:
        if not waiting or not self._is_stream(exchange.response):
            return None
        following = waiting[0][1]
        ends = exchange.response.left_by_client
        return (
            None
            if ends or not following.request.path.endswith(self._rules.interrupts)
            else following
        )

    async def _ask(
        self, session: aiohttp.ClientSession, exchange: Exchange, interrupt: Exchange | None
    ) -> tuple[Answer, Answer | None]:
        """Send one request and read its answer, interrupted by another where asked."""
        async with self._request(session, exchange.request) as response:
            headers = [(name.lower(), value) for name, value in response.headers.items()]
            answer = Answer(response.status, headers)
            second: Answer | None = None
            try:
                async for data in response.content.iter_any():
                    answer.body += data
                    if self._far_enough(exchange.response, answer):
                        answer.closed = "client"
                        break
                    if interrupt is not None and second is None and self._begun(answer):
                        second, _ = await self._ask(session, interrupt, None)
            except aiohttp.ClientPayloadError:
                answer.closed = "reset"
            return answer, second

    def _request(
        self, session: aiohttp.ClientSession, request: Request
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = [(name, value) for name, value in request.headers if name.lower() not in _OUR_OWN]
        host = next((value for name, value in headers if name.lower() == "host"), "")
        base = self._urls[self._rules.origins.get(host, self._rules.main)]
        if not self._rules.host or host in self._rules.origins:
            headers = [(name, value) for name, value in headers if name.lower() != "host"]
        query = f"?{self._ours_in(request.query)}" if request.query else ""
        body = base64.b64decode(request.body_b64) if request.body_b64 else None
        if body is None and request.body:
            body = self._ours_in(request.body).encode()
        self._sent_then |= self._identifiers(f"{request.path} {headers} {request.body}")
        sent = [(name, self._ours_in(value)) for name, value in headers]
        self._sent_by_us |= self._identifiers(f"{request.path} {sent} {body!r}")
        return session.request(
            request.method,
            URL(base + self._ours_in(request.path) + query, encoded=True),
            headers=sent,
            data=body,
            allow_redirects=False,
        )

    def _identifiers(self, text: str) -> set[str]:
        return set(re.findall(self._rules.identifiers, text))

    def _ours_in(self, text: str) -> str:
        """Put the ids this sandbox made in the place of the recorded ones."""
        return re.sub(
            self._rules.identifiers, lambda found: self._ours.get(found[0], found[0]), text
        )

    def _learn(self, recorded: Response, answer: Answer) -> None:
        then = self._new(recorded.headers, recorded.body, self._sent_then | set(self._ours))
        now = self._new(answer.headers, answer.body, self._sent_by_us | set(self._ours.values()))
        self._ours.update(zip(then, now, strict=False))

    def _new(self, headers: Sequence[tuple[str, str]], body: bytes, known: set[str]) -> list[str]:
        cookies = "".join(value for name, value in headers if name.lower() == "set-cookie")
        found = re.findall(self._rules.identifiers, cookies + " " + body.decode("utf-8", "replace"))
        return [one for one in dict.fromkeys(found) if one not in known]

    def _is_stream(self, recorded: Response) -> bool:
        kind = recorded.kind
        return any(name in kind for name in _STREAMS)

    def _form(self, kind: str, body: bytes, *, stream: bool) -> Form:
        rules = self._rules
        if stream:
            return stream_form(body, kind, rules.tags, rules.loose, rules.floating)
        return body_form(body, kind, rules.tags, rules.loose)

    def _far_enough(self, recorded: Response, answer: Answer) -> bool:
        if not recorded.left_by_client:
            return False
        kind = recorded.kind
        then = self._form(kind, recorded.body, stream=True)
        now = self._form(kind, answer.body, stream=True)
        return now.count >= then.count and len(now.frames) >= len(then.frames)

    def _begun(self, answer: Answer) -> bool:
        kind = _header(answer.headers, "content-type")
        return self._form(kind, answer.body, stream=True).count >= 3

    def _compare(self, number: int, exchange: Exchange, answer: Answer) -> list[str]:
        where = f"[{number}] {exchange.request.method} {exchange.request.path}"
        return [f"{where}: {what}" for what in self._found(exchange.response, answer)]

    def _found(self, recorded: Response, answer: Answer) -> list[str]:
        if recorded.status != answer.status:
            shown = answer.body[:200].decode("utf-8", "replace")
            return [f"status {answer.status}, recorded {recorded.status} ({shown})"]
        found: list[str] = []
        for name in self._rules.headers:
            then, now = _header(recorded.headers, name), _header(answer.headers, name)
            if then != now:
                found.append(f"{name} {now!r}, recorded {then!r}")
        if _cookies(recorded.headers) != _cookies(answer.headers):
            found.append(f"cookies set {_cookies(answer.headers)}")
        closed = "client" if recorded.left_by_client else recorded.closed
        if closed != answer.closed:
            found.append(f"ended {answer.closed}, recorded {closed}")
        return found + self._bodies(recorded, answer)

    def _bodies(self, recorded: Response, answer: Answer) -> list[str]:
        kind, stream = recorded.kind, self._is_stream(recorded)
        then = self._form(kind, recorded.body, stream=stream)
        now = self._form(kind, answer.body, stream=stream)
        found = []
        frames = now.frames
        if recorded.left_by_client:
            frames = frames[: len(then.frames)]
        if then.frames != frames:
            found.append(f"form\n  ours     {frames}\n  recorded {then.frames}")
        if then.floating != now.floating and not recorded.left_by_client:
            found.append(f"anywhere {sorted(now.floating)}, recorded {sorted(then.floating)}")
        if then.styles and now.styles and not then.styles & now.styles:
            found.append(f"JSON written {sorted(now.styles)}, recorded {sorted(then.styles)}")
        if recorded.status >= 400 and self._rules.exact_refusals and "html" not in kind:
            words, wanted = self._words(answer.body), self._words(recorded.body)
            if words != wanted:
                found.append(f"words {words!r}, recorded {wanted!r}")
        return found

    def _words(self, body: bytes) -> str:
        words = re.sub(self._rules.identifiers, "<id>", body.decode("utf-8", "replace"))
        return re.sub(self._rules.varying, "<varies>", words) if self._rules.varying else words


def _header(headers: Sequence[tuple[str, str]], name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _cookies(headers: Sequence[tuple[str, str]]) -> list[str]:
    return sorted(v.partition("=")[0] for name, v in headers if name.lower() == "set-cookie")
