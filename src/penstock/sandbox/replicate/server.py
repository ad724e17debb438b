"""The API port with its keys and routes, and the port of the streams.

Theory of operation. A create starts a run of the model and a publisher, which turns the run's
pieces into events of the prediction's channel; both go on whoever listens, and end with the
run. Every request of the API needs a key, and is told so before anything else; the stream
port asks for none, the path is the secret (wire/replicate.md section 2).

Not here: webhooks are accepted and never sent, as the sandbox connects to nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec
from aiohttp import web

from penstock.sandbox.replicate import models, refusals
from penstock.sandbox.replicate.channel import Channel, StreamOptions
from penstock.sandbox.replicate.inputs import (
    body_faults,
    input_faults,
    prompt_of,
    seconds_to_wait,
    seconds_until_cancel,
)
from penstock.sandbox.replicate.listening import Listening
from penstock.sandbox.replicate.lists import Lists, named
from penstock.sandbox.replicate.models import Model, OutputKind
from penstock.sandbox.replicate.pages import PREDICTIONS_PER_PAGE
from penstock.sandbox.replicate.prediction import LOGS, Asked, Origins, Prediction
from penstock.sandbox.run import Run
from penstock.sandbox.script import Prompt, Said, Script
from penstock.sandbox.server import LOG_LENGTH, Handler, Options, Server, Setup, reply

TOKEN = "r8_sandbox00000000000000000000000000000"  # noqa: S105 - made up, and good here only
"""A key that is right on every sandbox."""

JSON_TYPE = "application/json"
KEPT_FOR = 3600.0
"""Seconds after which a prediction's data is removed (section 4)."""

_CREATES, _STATES, _OTHERS = 599, 59_999, 2_999
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360f8cfc000000301010018dd8db00000000049454e44ae426082"
)


class ReplicateOptions(Options, frozen=True, kw_only=True):
    """Options of the server.

    Attributes:
        tokens: Keys that are right, besides `TOKEN`.
        boot: Seconds a prediction is ``starting`` before its model runs.
        second: Length of a second of the protocol: ``Prefer: wait``, ``Cancel-After``, the
            408 of streams and the end of a prediction's data are measured in it.
        page: Items on a page of a list; None takes the service's own numbers.
        throttled: So many creates are refused with 429 first.
        credit: Without it creates are refused with 402.
        outputs: How a model's output comes, by ``owner/name``, where not as in the catalogue.
        sparse: Created predictions are written as in 2023 and 2024.
        logs: Models write logs.
        stream: What is odd about streams.
    """

    tokens: tuple[str, ...] = ()
    boot: float = 0.0
    second: float = 1.0
    page: int | None = None
    throttled: int = 0
    credit: bool = True
    outputs: Mapping[str, OutputKind] = {}
    sparse: bool = False
    logs: bool = False
    stream: StreamOptions = StreamOptions()


class ReplicateServer(Server):
    """The service on two ports.

    Attributes:
        predictions: All predictions by id.
    """

    kind = "replicate"
    options_type = ReplicateOptions
    options: ReplicateOptions
    extra_origins = ("stream",)
    api_key = TOKEN

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if self.options.boot:
            self.script = _Booting(self.script, self.options.boot)
        self.predictions: dict[str, Prediction] = {}
        self._by_token: dict[str, Prediction] = {}
        self._throttled = self.options.throttled
        self._creates = 0
        self._cancels: deque[str] = deque(maxlen=LOG_LENGTH)
        self._lists = Lists(self.options.outputs, self.options.page)
        self._listening = Listening(self, self._channel, self.options.stream, self.options.second)

    def routes(self) -> Sequence[web.RouteDef]:
        """The API, with a last route for all that it does not know."""
        model = "/v1/models/{owner}/{name}"
        deployment = "/v1/deployments/{owner}/{name}"
        known: tuple[tuple[str, str, Handler], ...] = (
            ("POST", f"{model}/predictions", self._create_official),
            ("POST", "/v1/predictions", self._create_version),
            ("POST", f"{deployment}/predictions", self._create_deployed),
            ("GET", "/v1/predictions", self._list_predictions),
            ("GET", "/v1/predictions/{id}", self._state_of),
            ("POST", "/v1/predictions/{id}/cancel", self._cancel),
            *self._lists.routes(),
            ("*", "/{rest:.*}", self._nothing),
        )
        return [web.route(method, path, self._keyed(handler)) for method, path, handler in known]

    def extra_routes(self, origin: str) -> Sequence[web.RouteDef]:
        """The streams, and the files that models make."""
        return (
            web.get("/v1/streams/{token}", self._listening.answer),
            web.get("/v1/files/{token}", self._listening.answer),
            web.get("/files/{id}/out-0.png", self._picture),
        )

    def state(self) -> dict[str, object]:
        """Also: how many creates came, which cancels, and what headers reached the streams."""
        return {
            **super().state(),
            "creates": self._creates,
            "cancels": list(self._cancels),
            "stream_headers": list(self._listening.heard),
        }

    # -- creating ------------------------------------------------------------------------------

    async def _create_official(self, request: web.Request) -> web.StreamResponse:
        model = models.find_model(named(request))
        if model is None or not model.official:
            return refusals.no_resource()
        return await self._create(request, model)

    async def _create_version(self, request: web.Request) -> web.StreamResponse:
        return await self._create(request, None)

    async def _create_deployed(self, request: web.Request) -> web.StreamResponse:
        served = models.DEPLOYMENTS.get(named(request))
        if served is None:
            return refusals.no_resource()
        return await self._create(request, models.find_model(served), named(request))

    async def _create(
        self, request: web.Request, model: Model | None, deployment: str | None = None
    ) -> web.StreamResponse:
        self._creates += 1
        if self._throttled:
            self._throttled -= 1
            return refusals.throttled(self.options.second)
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, object])
        except msgspec.MsgspecError:
            return refusals.no_json()
        if faults := body_faults(body, versioned=model is None):
            return refusals.invalid_input(faults)
        asked_for = model or models.find_version(str(body["version"]))
        if asked_for is None:
            return refusals.invalid_version()
        given = msgspec.convert(body["input"], dict[str, object])
        if faults := input_faults(asked_for, given):
            return refusals.invalid_input(faults)
        if not self.options.credit:
            return refusals.no_credit()
        asked = Asked(
            model=asked_for,
            output=self._lists.output(asked_for),
            input=given,
            deployment=deployment,
            deadline=seconds_until_cancel(request.headers.get("cancel-after")),
        )
        return await self._answer(request, self._start(asked))

    def _start(self, asked: Asked) -> Prediction:
        logs = LOGS if self.options.logs else ""
        oddity = str(self.fault("prediction") or "")
        prediction = Prediction(asked, len(self.predictions) + 1, self.options.boot, logs, oddity)
        self.predictions[prediction.ident] = prediction
        if prediction.token is not None:
            self._by_token[prediction.token] = prediction
        self.note_created(prediction.ident)

        def ended(_: Run) -> None:
            prediction.ended = time.time()
            self.note_deleted(prediction.ident)

        prediction.run = self.run(prompt_of(asked.model, asked.input), ended)
        self.spawn(self._publish(prediction))
        if oddity == "failed":
            prediction.run.cancel()
        if asked.deadline is not None:
            self.spawn(self._end_at(prediction, asked.deadline * self.options.second))
        return prediction

    async def _publish(self, prediction: Prediction) -> None:
        """Turn pieces into events; the run has ended when this has."""
        run, channel = prediction.run, prediction.channel
        streamed = prediction.asked.output == "stream"
        if self.options.logs:
            channel.publish("logs", LOGS)
        async for piece in run.follow():
            prediction.first_piece = prediction.first_piece or time.time()
            if streamed and isinstance(piece, str):
                channel.publish("output", piece)
        if run.failure is not None:
            detail = msgspec.json.encode({"detail": run.failure.message}).decode()
            channel.publish("error", detail)
            channel.publish("done", '{"reason":"error"}')
        elif run.state == "cancelled":
            channel.publish("done", '{"reason":"canceled"}')
        else:
            if prediction.asked.output == "files":
                channel.publish("output", prediction.file_url(self._own_origins()))
            channel.publish("done", "{}")

    async def _end_at(self, prediction: Prediction, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await prediction.run.wait()
        except TimeoutError:
            prediction.aborted = prediction.status == "starting"
            prediction.run.cancel()

    async def _answer(self, request: web.Request, prediction: Prediction) -> web.Response:
        if prediction.oddity == "no-id":
            return reply(201, '{"status":"starting","urls":{}}', f"{JSON_TYPE}; charset=UTF-8")
        wait = seconds_to_wait(request.headers.get("prefer"))
        origins = self._origins(request)
        if wait is not None:
            return await self._waited(request, prediction, wait)
        sparse = self.options.sparse
        status = "failed" if prediction.oddity == "failed" else "starting"
        body = prediction.edge(origins, status=status, sparse=sparse)
        charset = "utf-8" if sparse else "UTF-8"
        return reply(201, body, f"{JSON_TYPE}; charset={charset}")

    async def _waited(
        self, request: web.Request, prediction: Prediction, wait: float
    ) -> web.Response:
        """The blocking answer: what is over is ``processing`` in it, with its output."""
        try:
            async with asyncio.timeout(wait * self.options.second):
                await prediction.run.wait()
            status = prediction.status
        except TimeoutError:
            status = "starting"
        status = "processing" if status == "succeeded" else status
        headers = {
            "Preference-Applied": request.headers["prefer"],
            "Replicate-Edge-Cluster": "sandbox",
            "Replicate-Target-Cluster": "sandbox",
        }
        body = prediction.edge(self._origins(request), status=status, source=False)
        kind = f"{JSON_TYPE}; charset=UTF-8"
        return reply(201, body, kind, headers)

    # -- predictions ---------------------------------------------------------------------------

    async def _state_of(self, request: web.Request) -> web.Response:
        prediction = self.predictions.get(request.match_info["id"])
        if prediction is None:
            return refusals.not_found()
        return self._told(request, prediction, {"Allow": "GET, HEAD, OPTIONS"})

    async def _cancel(self, request: web.Request) -> web.Response:
        prediction = self.predictions.get(request.match_info["id"])
        if prediction is None:
            return refusals.not_found()
        self._cancels.append(prediction.ident)
        prediction.run.cancel()
        return self._told(request, prediction)

    def _told(
        self,
        request: web.Request,
        prediction: Prediction,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        origins = self._origins(request)
        if prediction.run.ended:
            body = msgspec.json.encode(prediction.web(origins, removed=self._expired(prediction)))
        else:
            body = prediction.edge(origins)
        return reply(200, body, JSON_TYPE, headers)

    def _channel(self, token: str) -> Channel | None:
        prediction = self._by_token.get(token)
        return None if prediction is None or self._expired(prediction) else prediction.channel

    def _expired(self, prediction: Prediction) -> bool:
        """Whether what it said has been removed."""
        if prediction.oddity == "removed":
            return prediction.run.ended
        return time.time() - prediction.created > KEPT_FOR * self.options.second

    async def _list_predictions(self, request: web.Request) -> web.Response:
        origins = self._origins(request)
        listed: dict[int, object] = {
            one.number: one.web(origins, removed=self._expired(one))
            for one in reversed(self.predictions.values())
        }
        return self._lists.page(request, listed, PREDICTIONS_PER_PAGE)

    # -- what all share ------------------------------------------------------------------------

    async def _picture(self, request: web.Request) -> web.Response:
        prediction = self.predictions.get(request.match_info["id"])
        if prediction is None or prediction.asked.output != "files":
            return reply(404)
        return reply(200, _PICTURE, "image/png")

    async def _nothing(self, request: web.Request) -> web.Response:
        return refusals.no_resource()

    def _keyed(self, handler: Handler) -> Handler:
        right = {TOKEN, *self.options.tokens}

        async def guarded(request: web.Request) -> web.StreamResponse:
            refusal = self.fault("refusal")
            if refusal is not None:
                return refusals.quoted(str(refusal))
            scheme, _, shown = request.headers.get("authorization", "").partition(" ")
            # The older scheme still works: section 2.
            if scheme in ("Bearer", "Token") and shown.strip() in right:
                response = await handler(request)
            else:
                response = refusals.unauthenticated(bool(shown.strip()))
            limits = {"Ratelimit-Remaining": str(_left(request)), "Ratelimit-Reset": "1"}
            response.headers.update(limits)
            return response

        return guarded

    def _origins(self, request: web.Request) -> Origins:
        """Both ports by the host name the client used, so that it may trust them."""
        port = self.urls["stream"].rpartition(":")[2]
        name = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
        return Origins(f"http://{request.host}", f"http://{name}:{port}")

    def _own_origins(self) -> Origins:
        return Origins(self.urls[""], self.urls["stream"])


class _Booting:
    """A script that is silent while its model is loaded."""

    def __init__(self, script: Script, seconds: float) -> None:
        self._script = script
        self._seconds = seconds

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        await asyncio.sleep(self._seconds)
        async with aclosing(self._script.pieces(prompt)) as said:
            async for one in said:
                yield one


def _left(request: web.Request) -> int:
    """Requests left in this second, as recorded for one at a time (section 3)."""
    if request.method == "POST":
        return _CREATES
    return _STATES if request.path.startswith("/v1/predictions/") else _OTHERS


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")
