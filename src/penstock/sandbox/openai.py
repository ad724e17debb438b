"""An OpenAI-compatible server: chat completions, plain and streamed, and the models.

The shapes are those of ``openai-surface.md`` sections 1 to 4. A client that leaves ends its
generation. A model that fails is told with a status before the first piece and with an error
event, without ``[DONE]``, after it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from penstock.sandbox.run import Run
from penstock.sandbox.script import Message, ModelFailure, Piece, Prompt, Thought
from penstock.sandbox.server import Options, Server, Setup, Stream, reply

JSON_TYPE = "application/json"
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class OpenAIOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        api_key: The one key that is right; None asks for none and takes any.
        models: Ids on offer; the first is the default of the docs. Others are unknown.
        context: Longest chat in words.
    """

    api_key: str | None = None
    models: tuple[str, ...] = ("sandbox-model", "sandbox-small")
    context: int = 100_000


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Asked(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Body(msgspec.Struct):
    """What is looked at of a request; the rest is accepted as real servers accept it."""

    model: str
    messages: list[_Asked]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None


class OpenAIServer(Server):
    """The server on a port."""

    kind = "openai"
    options_type = OpenAIOptions
    options: OpenAIOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._numbers = itertools.count(1)

    def routes(self) -> Sequence[web.RouteDef]:
        """Chat completions and models."""
        return (
            web.post("/v1/chat/completions", self._chat),
            web.get("/v1/models", self._models),
            web.get("/v1/models/{id:.+}", self._model),
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        refusal = self._unknown_caller(request)
        if refusal is not None:
            return refusal
        try:
            body = msgspec.json.decode(await request.read(), type=_Body)
        except msgspec.MsgspecError as problem:
            return _error(400, str(problem), "invalid_request_error")
        refusal = self._refusal(body)
        if refusal is not None:
            return refusal
        run = self.run(_prompt(body))
        try:
            if body.stream:
                return await self._stream(request, body, run)
            return await self._whole(body, run)
        finally:
            run.cancel()

    def _unknown_caller(self, request: web.Request) -> web.Response | None:
        wanted = self.options.api_key
        if wanted is None or request.headers.get("authorization") == f"Bearer {wanted}":
            return None
        message = "Incorrect API key provided."
        return _error(401, message, "invalid_request_error", code="invalid_api_key")

    def _refusal(self, body: _Body) -> web.Response | None:
        kind = "invalid_request_error"
        if body.model not in self.options.models:
            message = f"The model `{body.model}` does not exist"
            return _error(404, message, kind, code="model_not_found", param="model")
        if not body.messages:
            return _error(400, "[] is too short - 'messages'", kind, param="messages")
        if body.temperature is not None and not 0 <= body.temperature <= 2:
            message = f"Invalid 'temperature': {body.temperature} is not between 0 and 2."
            return _error(400, message, kind, param="temperature")
        if _words(body) > self.options.context:
            message = f"This model's maximum context length is {self.options.context} tokens."
            return _error(400, message, kind, code="context_length_exceeded", param="messages")
        return None

    async def _whole(self, body: _Body, run: Run) -> web.Response:
        await run.wait()
        if run.failure is not None:
            return _failed(run.failure)
        message: dict[str, Any] = {"role": "assistant", "content": run.text, "refusal": None}
        if thoughts := "".join(p.text for p in run.pieces if isinstance(p, Thought)):
            message["reasoning_content"] = thoughts
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": run.finish,
        }
        answer = {
            "id": f"chatcmpl-{next(self._numbers)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.model,
            "choices": [choice],
            "usage": _usage(body, run),
        }
        return reply(200, msgspec.json.encode(answer), JSON_TYPE)

    async def _stream(self, request: web.Request, body: _Body, run: Run) -> web.StreamResponse:
        pieces = run.follow()
        first = await anext(pieces, None)
        if first is None and run.failure is not None:
            return _failed(run.failure)
        chunks = _Chunks(f"chatcmpl-{next(self._numbers)}", body)
        async with self.stream(request, _STREAM_HEADERS) as out:
            await out.write(chunks.delta({"role": "assistant", "content": ""}))
            await _relay(out, chunks, first, pieces)
            if run.failure is not None:
                await out.write(_event({"error": _problem(run.failure.message, "server_error")}))
            elif run.state == "cancelled":
                out.break_off()
            else:
                await out.write(chunks.delta({}, run.finish))
                if chunks.with_usage:
                    await out.write(chunks.usage(_usage(body, run)))
                await out.write(b"data: [DONE]\n\n")
        return out.response

    async def _models(self, request: web.Request) -> web.Response:
        refusal = self._unknown_caller(request)
        if refusal is not None:
            return refusal
        data = [_model(name) for name in self.options.models]
        return reply(200, msgspec.json.encode({"object": "list", "data": data}), JSON_TYPE)

    async def _model(self, request: web.Request) -> web.Response:
        refusal = self._unknown_caller(request)
        if refusal is not None:
            return refusal
        name = request.match_info["id"]
        if name not in self.options.models:
            message = f"The model '{name}' does not exist"
            kind = "invalid_request_error"
            return _error(404, message, kind, code="model_not_found", param="model")
        return reply(200, msgspec.json.encode(_model(name)), JSON_TYPE)


class _Chunks:
    """The chunks of one streamed answer: same id, time and model in each."""

    def __init__(self, ident: str, body: _Body) -> None:
        self.with_usage = body.stream_options is not None and body.stream_options.include_usage
        self._head = {
            "id": ident,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.model,
        }

    def delta(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        tail = {"usage": None} if self.with_usage else {}
        return _event({**self._head, "choices": [choice], **tail})

    def usage(self, usage: dict[str, int]) -> bytes:
        return _event({**self._head, "choices": [], "usage": usage})


async def _relay(
    out: Stream, chunks: _Chunks, first: Piece | None, pieces: AsyncIterator[Piece | None]
) -> None:
    piece = first
    while piece is not None:
        thought = isinstance(piece, Thought)
        text = piece.text if isinstance(piece, Thought) else piece
        await out.write(chunks.delta({"reasoning_content" if thought else "content": text}))
        piece = await anext(pieces, None)


def _prompt(body: _Body) -> Prompt:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Prompt(
        messages=tuple(Message(asked.role, _text(asked)) for asked in body.messages),
        model=body.model,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=stop,
    )


def _text(asked: _Asked) -> str:
    if isinstance(asked.content, list):
        return "".join(part.text for part in asked.content if part.type == "text")
    return asked.content or ""


def _words(body: _Body) -> int:
    return sum(len(_text(asked).split()) for asked in body.messages)


def _usage(body: _Body, run: Run) -> dict[str, int]:
    asked, said = _words(body), len(run.pieces)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": "sandbox"}


def _problem(
    message: str, kind: str, code: str | None = None, param: str | None = None
) -> dict[str, str | None]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _error(
    status: int, message: str, kind: str, *, code: str | None = None, param: str | None = None
) -> web.Response:
    body = {"error": _problem(message, kind, code, param)}
    return reply(status, msgspec.json.encode(body), JSON_TYPE)


def _failed(failure: ModelFailure) -> web.Response:
    return _error(failure.status or 500, failure.message, "server_error")


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
