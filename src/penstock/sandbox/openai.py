"""An OpenAI-compatible server: chat completions, plain and streamed, and the models.

The shapes are those of openai-surface.md sections 1 to 4. A client that leaves ends its
generation. A model that fails is told with a status before the first piece and with an error
event, without ``[DONE]``, after it.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.openai_answers import (
    Chunks,
    ToolCall,
    calls_of,
    completion,
    sse,
    usage_of,
    whole_message,
)
from penstock.sandbox.openai_body import Body, Refusal, read_body, refusal_of
from penstock.sandbox.run import Run
from penstock.sandbox.script import ModelFailure, Piece
from penstock.sandbox.server import Handler, Options, Server, Setup, Stream, reply

JSON_TYPE = "application/json"
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}

_INVALID = "invalid_request_error"
# Status and type by code, as OpenAI and servers that copy it send them.
_CODES: Mapping[str, tuple[int, str]] = {
    "invalid_api_key": (401, _INVALID),
    "insufficient_quota": (429, "insufficient_quota"),
    "billing_hard_limit_reached": (402, "billing_error"),
    "unsupported_country": (403, "permission_error"),
    "model_not_found": (404, _INVALID),
    "context_length_exceeded": (400, _INVALID),
    "content_policy_violation": (400, _INVALID),
    "invalid_value": (400, _INVALID),
    "request_too_large": (413, _INVALID),
    "unprocessable": (422, _INVALID),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "server_error": (500, "server_error"),
    "overloaded": (503, "overloaded_error"),
}


class OpenAIOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        api_key: The one key that is right; None takes any.
        needs_key: Any key is right, but none is not.
        models: Ids on offer; the first is the default of the docs. Others are unknown.
        context: Longest chat in words.
        tool_calls: Calls the model makes where their tools are offered.
        throttled: So many chats are refused with 429 first.
        retry_after: Seconds those are told to wait.
    """

    api_key: str | None = None
    needs_key: bool = False
    models: tuple[str, ...] = ("sandbox-model", "sandbox-small")
    context: int = 100_000
    tool_calls: tuple[ToolCall, ...] = ()
    throttled: int = 0
    retry_after: float = 1.0


class OpenAIServer(Server):
    """The server on a port."""

    kind = "openai"
    options_type = OpenAIOptions
    options: OpenAIOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._numbers = itertools.count(1)
        self._throttled = self.options.throttled
        for call in self.options.tool_calls:
            try:
                re.compile(call.when)
            except re.error as problem:
                raise ValueError(f"options of {self.name!r}: {call.when!r}: {problem}") from problem

    def routes(self) -> Sequence[web.RouteDef]:
        """Chat completions and models."""
        return (
            web.post("/v1/chat/completions", self._keyed(self._chat)),
            web.get("/v1/models", self._keyed(self._models)),
            web.get("/v1/models/{id:.+}", self._keyed(self._model)),
            web.route("*", "/{rest:.*}", self._nothing),
        )

    def middlewares(self) -> Sequence[Callable[..., Awaitable[web.StreamResponse]]]:
        """An id on each answer."""
        return (_identified,)

    def _keyed(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            refusal = self._unknown_caller(request)
            return _refused(refusal) if refusal is not None else await handler(request)

        return guarded

    def _unknown_caller(self, request: web.Request) -> Refusal | None:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        key, wanted = shown.strip() if scheme.lower() == "bearer" else "", self.options.api_key
        if not key and (self.options.needs_key or wanted is not None):
            return Refusal(401, "You didn't provide an API key.", code="invalid_api_key")
        if wanted is not None and key != wanted:
            return Refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        return None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = read_body(await request.read())
        if isinstance(body, Refusal):
            return _refused(body)
        refusal = (
            _coded(self.fault("error"))
            or self._too_fast()
            or refusal_of(body, self.options.models, self.options.context)
        )
        if refusal is not None:
            return _refused(refusal)
        ident = f"chatcmpl-{next(self._numbers)}"
        calls = calls_of(body, self.options.tool_calls)
        if calls:
            return await self._call(request, ident, body, calls)
        run = self.run(body.prompt())
        try:
            if body.stream:
                return await self._stream(request, ident, body, run)
            return await _whole(ident, body, run)
        finally:
            run.cancel()

    def _too_fast(self) -> Refusal | None:
        if not self._throttled:
            return None
        self._throttled -= 1
        wait = self.options.retry_after
        message = f"Rate limit reached. Please try again in {wait:g}s."
        kind = "rate_limit_error"
        return Refusal(429, message, kind, code="rate_limit_exceeded", retry_after=wait)

    async def _call(
        self, request: web.Request, ident: str, body: Body, calls: Sequence[dict[str, object]]
    ) -> web.StreamResponse:
        usage = usage_of(body, len(calls))
        if not body.stream:
            said = {"role": "assistant", "content": None, "refusal": None}
            message = {**said, "tool_calls": calls}
            return _json(200, completion(ident, body, message, "tool_calls", usage))
        chunks = Chunks(ident, body)
        async with self.stream(request, {**_STREAM_HEADERS, **_identity()}) as out:
            await out.write(chunks.first(None))
            for chunk in chunks.calls(calls):
                await out.write(chunk)
            await out.write(chunks.last("tool_calls", usage))
        return out.response

    async def _stream(
        self, request: web.Request, ident: str, body: Body, run: Run
    ) -> web.StreamResponse:
        pieces = run.follow()
        first = await anext(pieces, None)
        if first is None and run.failure is not None:
            return _failed(run.failure)
        chunks = Chunks(ident, body)
        async with self.stream(request, {**_STREAM_HEADERS, **_identity()}) as out:
            await out.write(chunks.first())
            await _relay(out, chunks, first, pieces)
            if run.failure is not None:
                refusal = Refusal(500, run.failure.message, "server_error")
                await out.write(sse(refusal.body()))
            elif run.state == "cancelled":
                out.break_off()
            else:
                await out.write(chunks.last(run.finish, usage_of(body, len(run.pieces))))
        return out.response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        data = [_model(name) for name in self.options.models]
        return _json(200, {"object": "list", "data": data})

    async def _model(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        if name not in self.options.models:
            message = f"The model '{name}' does not exist"
            return _refused(Refusal(404, message, param="model", code="model_not_found"))
        return _json(200, _model(name))

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        message = f"Invalid URL ({request.method} {request.path})"
        return _refused(Refusal(404, message, code="unknown_url"))


async def _whole(ident: str, body: Body, run: Run) -> web.Response:
    await run.wait()
    if run.failure is not None:
        return _failed(run.failure)
    usage = usage_of(body, len(run.pieces))
    return _json(200, completion(ident, body, whole_message(body, run), run.finish, usage))


async def _relay(
    out: Stream, chunks: Chunks, first: Piece | None, pieces: AsyncIterator[Piece | None]
) -> None:
    piece = first
    while piece is not None:
        if chunk := chunks.piece(piece):
            await out.write(chunk)
        piece = await anext(pieces, None)


@web.middleware
async def _identified(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if not response.prepared:
        response.headers.update(_identity())
    return response


def _identity() -> dict[str, str]:
    return {"X-Request-Id": f"req_{secrets.token_hex(16)}"}


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": "sandbox"}


def _coded(code: object) -> Refusal | None:
    """Give the refusal of that code, if there is one to be made."""
    if code is None:
        return None
    status, kind = _CODES[str(code)]
    return Refusal(status, f"The sandbox was asked for {code}.", kind, code=str(code))


def _refused(refusal: Refusal) -> web.Response:
    wait = refusal.retry_after
    headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
    return _json(refusal.status, refusal.body(), headers)


def _failed(failure: ModelFailure) -> web.Response:
    return _refused(Refusal(failure.status or 500, failure.message, "server_error"))


def _json(status: int, value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return reply(status, msgspec.json.encode(value), JSON_TYPE, headers)
