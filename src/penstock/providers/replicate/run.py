"""One hosted prediction from its creation to its end: the shell around ``dialect``.

Theory of operation. The prediction is created in a task of the outbox, so that a caller who goes
away between the request and its answer leaves nothing behind: the task learns the id and cancels.
Then the event stream is read. A connection that ends without ``done`` is opened again after the
last event; one that brings nothing new, or is refused, gives way to asking for the prediction
until its status is terminal. The open connection belongs to the run, not to the generator that
reads it, and ``leave`` frees it; a prediction that is not over by then is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count

import msgspec

from penstock.errors import (
    NetworkError,
    PenstockError,
    RateLimitError,
    StreamTimeoutError,
    TruncatedError,
    error_of,
)
from penstock.provider import Batch
from penstock.providers.common import Call
from penstock.providers.replicate.dialect.answers import (
    PollReader,
    Resume,
    StreamDecoder,
    finished_by,
    model_failure,
)
from penstock.providers.replicate.dialect.errors import hosted_error
from penstock.providers.replicate.dialect.hosted import Api, Prediction, decode_prediction
from penstock.providers.replicate.dialect.inputs import Plan
from penstock.providers.replicate.dialect.targets import Target
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.providers.replicate.leaving import patience
from penstock.transport import Response
from penstock.types import Event, Finished, Started, Text, Timeouts, Value, Waiting
from penstock.wire.request import HttpRequest

RECONNECTS = 5
RECONNECT_DELAY = 0.3
MAX_DELAY = 10.0
CANCEL_TRIES = 4
STATE_TRIES = 3
_DAY = 86_400.0  # the create is bounded by the call's own limits


class Knobs(Value, frozen=True):
    """What can be set about a run.

    Attributes:
        poll: seconds between two looks at the prediction; it grows while nothing changes.
        metrics: ask for the token counts once after a stream.
    """

    poll: float = 0.25
    metrics: bool = True


class HostedRun:
    """One prediction and its answer.

    Args:
        wait: seconds the server may hold its first answer back; None to stream.
    """

    def __init__(
        self, call: Call, api: Api, plan: Plan, *, model: str, wait: int | None, knobs: Knobs
    ) -> None:
        self._call = call
        self._api = api
        self._plan = plan
        self._model = model
        self._wait = wait
        self._knobs = knobs
        self._transcript = Transcript(plan.stops)
        self._prediction: Prediction | None = None
        self._refusal: PenstockError | None = None
        self._connection = AsyncExitStack()
        self._ended = False
        self._left = False

    # -- beginning and end ---------------------------------------------------------------------

    async def create(self, target: Target) -> None:
        """Create the prediction.

        A cancellation passes through at once; the prediction is then cancelled by the outbox.

        Raises:
            PenstockError: it was refused, or the answer is none.
        """
        request = self._api.create(target, self._plan.inputs, self._wait)
        await self._call.session.outbox.settle(
            f"{self._name}: cancel a prediction of {self._model} that is being created",
            lambda: self._send(request),
            wait=_DAY,
            limit=_DAY,
        )
        if self._refusal is not None:
            raise self._refusal
        if self._prediction is None:
            raise NetworkError("the session was closed while the prediction was created")

    async def _send(self, request: HttpRequest) -> None:
        try:
            response, body = await self._call.fetch(request, self._refused)
            self._prediction = decode_prediction(body, response.status)
        except PenstockError as error:
            self._refusal = error
            return
        self._ended = self._prediction.terminal
        if self._left and not self._ended:
            await self._cancel(self._prediction)

    async def leave(self) -> None:
        """Free the connection; cancel the prediction if it is not over."""
        self._left = True
        await self._connection.aclose()
        prediction = self._prediction
        if prediction is None or self._ended:
            return
        self._ended = True
        await self._call.session.outbox.settle(
            f"{self._name}: cancel prediction {prediction.id}",
            lambda: self._cancel(prediction),
            wait=patience(),
        )

    async def _cancel(self, prediction: Prediction) -> None:
        call = self._call.again()
        for attempt in range(CANCEL_TRIES):
            response, body = await call.ask(self._api.cancel(prediction))
            if response.status < 500 and response.status != 429:
                return  # a 4xx says that there is nothing to cancel any more (section 3)
            error = self._error(response.status, response.headers, body)
            if attempt + 1 == CANCEL_TRIES:
                raise error
            await call.limits.pause(min(error.retry_after or 0.5 * 2**attempt, MAX_DELAY))

    # -- the answer ----------------------------------------------------------------------------

    async def batches(self) -> AsyncIterator[Batch]:
        """The answer's events; what was held back for a stop string comes before a failure."""
        prediction = self._created
        polled = self._wait is not None or prediction.terminal or not prediction.streams_text
        first: list[Event] = [Started(id=prediction.id, model=prediction.model)]
        if not polled and prediction.status == "starting":
            first.append(Waiting("cold_start", detail=prediction.status))
        yield self._seen(first)
        try:
            async for batch in self._poll(prediction) if polled else self._follow():
                yield batch
        except PenstockError:
            held: list[Event] = []
            self._transcript.flush(held)
            if held:
                yield held
            raise

    async def _follow(self) -> AsyncIterator[Batch]:
        resume = Resume()
        trouble: PenstockError | None = None
        for attempt in range(RECONNECTS + 1):
            if attempt:
                await self._call.limits.pause(_delay(resume, attempt))
            decoder = StreamDecoder(self._transcript, resume)
            try:
                async for events in self._stream(decoder, resume.last_id):
                    yield events
                return
            except PenstockError as error:
                self._ended = decoder.ended
                trouble = error
                broken = await self._broken(error, decoder)
            unknown_place = not resume.last_id and not self._transcript.empty
            stale = attempt > 0 and not decoder.fresh
            if not broken or unknown_place or stale:
                break
        await self._connection.aclose()
        async for batch in self._poll(None, trouble):
            yield batch

    async def _stream(self, decoder: StreamDecoder, last_id: str) -> AsyncIterator[Batch]:
        """One connection of the stream, up to the end of the answer."""
        response = await self._listen(last_id)
        if response.content_type not in ("", "text/event-stream"):
            words = "the stream URL answered with no event stream"
            raise error_of("protocol", words, status=response.status)
        async for events in self._call.pump(response, decoder):
            self._ended = decoder.ended
            if not decoder.done:
                yield events
                continue
            if len(events) > 1:
                yield events[:-1]
            yield [await self._finished(events[-1])]

    async def _broken(self, error: PenstockError, decoder: StreamDecoder) -> bool:
        """Whether another connection may go on; False where only polling can.

        Raises:
            PenstockError: neither can; the prediction's own words are asked for if need be.
        """
        if decoder.unexplained:
            raise await self._explained(error) from None
        if isinstance(error, StreamTimeoutError) and error.phase != "connect":
            raise error
        if isinstance(error, TruncatedError | NetworkError):
            return True
        if decoder.started or error.status is None:
            raise error
        return False

    async def _listen(self, last_id: str) -> Response:
        request = self._api.stream(self._created, last_id)
        try:
            return await self._open(request)
        except PenstockError as error:
            if error.status not in (401, 403) or not self._api.may_have_key(request.url):
                raise
        return await self._open(self._api.with_key(request))

    async def _open(self, request: HttpRequest) -> Response:
        await self._connection.aclose()
        return await self._connection.enter_async_context(self._call.open(request, self._error))

    async def _poll(
        self, prediction: Prediction | None, trouble: PenstockError | None = None
    ) -> AsyncIterator[Batch]:
        reader = PollReader(self._transcript, self._plan.limit)
        delay = self._knobs.poll
        while True:
            if prediction is None:
                prediction = await self._state(trouble)
            events = reader.see(prediction)
            self._ended = reader.ended
            if reader.done:
                events[-1] = self._dressed(events[-1])
            if events:
                yield self._seen(events)
            if reader.failure is not None:
                raise reader.failure
            if reader.done:
                return
            news = any(isinstance(event, Text) for event in events)
            delay = self._knobs.poll if news else min(delay * 1.5, max(2.0, self._knobs.poll))
            await self._call.limits.pause(delay)
            prediction = None

    async def _state(self, trouble: PenstockError | None) -> Prediction:
        """The prediction as it is now. A GET may be repeated (section 6).

        Raises:
            PenstockError: it cannot be told; ``trouble``, if that came first.
        """
        limits = self._call.limits
        for attempt in count(1):
            try:
                request = self._api.get(self._created)
                response, body = await self._call.fetch(request, self._error)
                return decode_prediction(body, response.status)
            except PenstockError as error:
                pause = error.retry_after or 0.25 * 2**attempt
                budget = limits.budget()
                affordable = budget is None or pause < budget
                if not _passing(error) or attempt == STATE_TRIES or not affordable:
                    raise (trouble or error) from None
            await limits.pause(pause)
        raise AssertionError  # the count has no end

    async def _glance(self) -> Prediction | None:
        """One short look at the prediction after its end; None if that fails."""
        await self._connection.aclose()
        short = Timeouts(connect=2.0, first_content=3.0, idle=3.0, total=3.0)
        call = Call(self._call.session, self._call.config.with_(timeouts=short))
        try:
            response, body = await call.fetch(self._api.get(self._created), self._error)
            return decode_prediction(body, response.status)
        except PenstockError:
            return None

    async def _finished(self, event: Event) -> Finished:
        finished = self._dressed(event)
        if not (self._knobs.metrics and self._ended and finished.finish_reason == "stop"):
            return finished
        prediction = await self._glance()
        if prediction is None or prediction.status != "succeeded":
            return finished
        return self._dressed(finished_by(prediction, self._plan.limit))

    async def _explained(self, error: PenstockError) -> PenstockError:
        prediction = await self._glance()
        words = prediction.error if prediction is not None else None
        return model_failure(words) if isinstance(words, str) and words else error

    # -- small things --------------------------------------------------------------------------

    def _dressed(self, event: Event) -> Finished:
        assert isinstance(event, Finished)
        return msgspec.structs.replace(event, warnings=self._plan.warnings)

    def _seen(self, events: list[Event]) -> list[Event]:
        self._call.limits.saw(events)
        return events

    @property
    def _created(self) -> Prediction:
        assert self._prediction is not None
        return self._prediction

    @property
    def _name(self) -> str:
        return self._call.config.name

    def _error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        return self._hosted_error(status, headers, body, creating=False)

    def _refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        return self._hosted_error(status, headers, body, creating=True)

    def _hosted_error(
        self, status: int, headers: dict[str, str], body: bytes, *, creating: bool
    ) -> PenstockError:
        return hosted_error(
            status,
            headers,
            body,
            provider=self._name,
            model=self._model,
            creating=creating,
            secrets=(self._api.key,) if self._api.key else (),
        )


def _delay(resume: Resume, attempt: int) -> float:
    if resume.retry is not None:
        return min(resume.retry / 1000, MAX_DELAY)
    return min(RECONNECT_DELAY * float(2 ** (attempt - 1)), MAX_DELAY)


def _passing(error: PenstockError) -> bool:
    """Whether the same GET may well succeed a moment later."""
    if isinstance(error, StreamTimeoutError):
        return error.phase == "connect"
    server = error.status is not None and error.status >= 500
    return server or isinstance(error, RateLimitError | NetworkError | TruncatedError)
