"""text-generation-inference by itself: its native routes (wire/h2o.md sections 4 and 5).

Unlike behind chat-ui, a client that leaves here ends its generation: the router drops
the request when its channel is closed (router/src/infer.rs).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from penstock.sandbox.script import Message, Prompt
from penstock.sandbox.server import Options, Server, Setup, reply
from penstock.sandbox.tgi_frames import Call, Limits, Refusal, Version, error_frame, parse_call
from penstock.sandbox.tgi_router import (
    CORS,
    KEEP_ALIVE_AFTER,
    Router,
    line_lost,
    refuse,
    refused,
    stream_headers,
    timings,
    whole_answer,
)

JSON_TYPE = "application/json"


class TgiOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        model: The model it serves.
        version: Release whose framing is spoken.
        max_concurrent: Slots; a request beyond them is told ``overloaded``.
        max_input_length: Longest prompt in tokens.
        max_total_tokens: Most tokens of prompt and answer together.
        keep_alive: Seconds of silence after which a comment is sent.
    """

    model: str = "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"
    version: Version = "0.8.2"
    max_concurrent: int = 128
    max_input_length: int = 2048
    max_total_tokens: int = 4096
    keep_alive: float = KEEP_ALIVE_AFTER


class TgiServer(Server):
    """The router on a port."""

    kind = "tgi"
    options_type = TgiOptions
    options: TgiOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        options = self.options
        limits = Limits(
            max_input_length=options.max_input_length, max_total_tokens=options.max_total_tokens
        )
        self._router = Router(
            limits=limits,
            version=options.version,
            max_concurrent=options.max_concurrent,
            keep_alive=options.keep_alive,
        )

    def routes(self) -> Sequence[web.RouteDef]:
        """The native routes."""
        return (
            web.post("/", self._either),
            web.post("/generate", self._generate),
            web.post("/generate_stream", self._generate_stream),
            web.get("/info", self._info),
            web.get("/health", self._health),
            web.get("/", self._health),
        )

    async def _either(self, request: web.Request) -> web.StreamResponse:
        call = await self._call(request)
        if isinstance(call, Call) and call.stream:
            return await self._stream(request, call)
        return await self._whole(call, listed=True)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self._whole(await self._call(request), listed=False)

    async def _generate_stream(self, request: web.Request) -> web.StreamResponse:
        call = await self._call(request)
        if isinstance(call, Refusal):
            return refuse(call)
        return await self._stream(request, call)

    async def _call(self, request: web.Request) -> Call | Refusal:
        return parse_call(await request.read(), request.headers.get("content-type", ""))

    async def _whole(self, call: Call | Refusal, *, listed: bool) -> web.Response:
        if isinstance(call, Refusal):
            return refuse(call)
        refusal = self._router.refusal(call)
        if refusal is not None:
            status, answer = refused(refusal)
        else:
            run = self._router.start(self, prompt_of(call, self.options.model))
            try:
                status, answer = await whole_answer(run, call)
            finally:
                run.cancel()
        body: object = [answer] if listed and status == 200 else answer
        headers = {**CORS, **(timings(call) if status == 200 else {})}
        return reply(status, msgspec.json.encode(body), JSON_TYPE, headers)

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        async with self.stream(request, stream_headers(call, self._router.version)) as out:
            refusal = self._router.refusal(call)
            if refusal is not None:
                await out.write(
                    error_frame(refusal.message, refusal.error_type, self._router.version)
                )
                return out.response
            run = self._router.start(self, prompt_of(call, self.options.model))
            try:
                await self._router.relay(out, run, call)
            finally:
                run.cancel()
            if line_lost(run):
                out.break_off()
        return out.response

    async def _info(self, request: web.Request) -> web.Response:
        options = self.options
        info = {
            "model_id": options.model,
            "model_sha": None,
            "model_dtype": "torch.float16",
            "model_device_type": "cuda",
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": options.max_concurrent,
            "max_best_of": self._router.limits.max_best_of,
            "max_stop_sequences": self._router.limits.max_stop_sequences,
            "max_input_length": options.max_input_length,
            "max_total_tokens": options.max_total_tokens,
            "waiting_served_ratio": 1.2,
            "max_batch_total_tokens": 32000,
            "max_waiting_tokens": 20,
            "validation_workers": 2,
            "version": options.version,
            "sha": None,
            "docker_label": None,
        }
        return reply(200, msgspec.json.encode(info), JSON_TYPE, CORS)

    async def _health(self, request: web.Request) -> web.Response:
        return reply(200, headers=CORS)


def prompt_of(call: Call, model: str) -> Prompt:
    """Give the script what it needs of a call: the whole prompt is one user message."""
    return Prompt(
        messages=(Message("user", call.inputs),),
        model=model,
        max_tokens=call.parameters.max_new_tokens,
        stop=call.parameters.stop,
    )
