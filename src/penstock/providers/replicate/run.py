"""One hosted prediction from its creation to its end: the shell around ``dialect``.

Theory of operation. The prediction is created in a task of the outbox, so that a caller who goes
away between the request and its answer leaves nothing behind: the task learns the id and cancels.
Then the event stream is read. A connection that ends without ``done`` is opened again after the
last event; one that brings nothing new, or is refused, gives way to asking for the prediction
until its status is terminal - or, if the model was still booting, until it is awake and can be
listened to again. The open connection belongs to the run, not to the generator that
reads it, and ``leave`` frees it; a prediction that is not over by then is cancelled.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing

import msgspec

from penstock.errors import (
    NetworkError,
    PenstockError,
    StreamCancelledError,
    StreamTimeoutError,
    TruncatedError,
    error_of,
)
from penstock.providers.common import Call, patience, to_its_end
from penstock.providers.pump import EventLists
from penstock.providers.replicate.asking import Asking
from penstock.providers.replicate.dialect.answers import (
    PollReader,
    Resume,
    StreamDecoder,
    finished_by,
    model_failure,
)
from penstock.providers.replicate.dialect.hosted import Api, Prediction
from penstock.providers.replicate.dialect.inputs import Plan
from penstock.providers.replicate.dialect.targets import Target
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.transport import Response
from penstock.types import Event, Finished, Started, Text, Value, Waiting
from penstock.wire.request import HttpRequest

RECONNECTS = 5
RECONNECT_DELAY = 0.2
MAX_DELAY = 10.0


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
        self._asking = Asking(call, api, model)
        self._wait = wait
        self._knobs = knobs
        self._transcript = Transcript(plan.stops)
        self._prediction: Prediction | None = None
        self._connection = AsyncExitStack()
        self._ended = False
        self._left = False
        self._trouble: PenstockError | None = None
        self._woken = False

    # -- beginning and end ---------------------------------------------------------------------

    async def create(self, target: Target) -> None:
        """Create the prediction.

        A cancellation passes through at once; the prediction is then cancelled by the outbox.

        Raises:
            PenstockError: it was refused, or the answer is none.
            StreamCancelledError: the session was closed meanwhile.
        """
        request = self._api.create(target, self._plan.inputs, self._wait)
        name, model = self._call.config.name, self._asking.model
        label = f"{name}: cancel a prediction of {model} that is being created"
        await to_its_end(
            self._call.session, label, lambda: self._send(request), late=self._cancel_late
        )

    async def _send(self, request: HttpRequest) -> None:
        self._prediction = await self._asking.create(request)
        self._ended = self._prediction.terminal

    async def _cancel_late(self) -> None:
        if not self._ended:
            await self._asking.cancel(self._created)

    async def leave(self) -> None:
        """Free the connection; cancel the prediction if it is not over."""
        self._left = True
        await self._connection.aclose()
        prediction = self._prediction
        if prediction is None or self._ended:
            return
        self._ended = True
        await self._call.session.outbox.settle(
            f"{self._call.config.name}: cancel prediction {prediction.id}",
            lambda: self._asking.cancel(prediction),
            wait=patience(),
        )

    # -- the answer ----------------------------------------------------------------------------

    async def batches(self) -> EventLists:
        """The answer's events; what was held back for a stop string comes before a failure.

        Raises:
            PenstockError: the prediction or its stream failed. A cancellation passes; ``leave``
                then undoes.
        """
        prediction = self._created
        polled = self._wait is not None or prediction.terminal or not prediction.streams_text
        first: list[Event] = [Started(id=prediction.id, model=prediction.model)]
        if not polled and prediction.status == "starting":
            first.append(Waiting("cold_start", detail=prediction.status))
        yield self._seen(first)
        resume, listens = Resume(), not polled
        answer: EventLists | None = self._connections(resume) if listens else self._poll(prediction)
        try:
            while answer is not None:
                async with aclosing(answer):
                    async for batch in answer:
                        yield batch
                answer, listens = await self._next(resume, listened=listens), not listens
        except PenstockError:
            held: list[Event] = []
            self._transcript.flush(held)
            if held:
                yield held
            raise

    async def _next(self, resume: Resume, *, listened: bool) -> EventLists | None:
        """What the answer goes on with after its stream, or its polling, is over; None for nothing.

        A stream that did not reach its end is followed by polling, and that by a stream once more
        where the model woke up only then.
        """
        if not listened:
            return self._connections(resume) if self._woken else None
        if self._trouble is None:
            return None
        await self._connection.aclose()
        lost = isinstance(self._trouble, TruncatedError | NetworkError)
        return self._poll(None, stream_again=lost)

    async def _connections(self, resume: Resume) -> EventLists:
        """The stream, opened again as long as that helps; ``_trouble`` says why it ended early."""
        self._trouble, self._woken = None, False
        for attempt in range(RECONNECTS + 1):
            if attempt:
                await self._call.limits.pause(_delay(resume, attempt))
            decoder = StreamDecoder(self._transcript, resume)
            try:
                response = await self._listen(resume.last_id)
                async with aclosing(self._call.pump(response, decoder)) as batches:
                    async for events in batches:
                        self._ended = decoder.ended
                        if not decoder.done:
                            yield events
                            continue
                        if len(events) > 1:
                            yield events[:-1]
                        yield [await self._finished(events[-1])]
                self._trouble = None
                return
            except PenstockError as error:
                self._ended = decoder.ended
                self._trouble = error
                again = await self._broken(error, decoder)
            unknown_place = not resume.last_id and not self._transcript.empty
            stale = attempt > 0 and not decoder.fresh
            if not again or unknown_place or stale:
                return

    async def _broken(self, error: PenstockError, decoder: StreamDecoder) -> bool:
        """Whether another connection may go on; False where only polling can.

        Raises:
            PenstockError: neither can; the prediction's own words are asked for if need be.
        """
        if decoder.unexplained:
            raise await self._explained(error) from None
        if isinstance(error, StreamTimeoutError) and error.phase != "connect":
            if error.phase == "first_content" and await self._booting():
                return False
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
        response = await self._connection.enter_async_context(
            self._call.open(request, self._asking.error)
        )
        if self._left:  # by another task, meanwhile: nobody else would free it
            await self._connection.aclose()
            raise StreamCancelledError("the answer was left while it was read")
        if response.content_type not in ("", "text/event-stream"):
            words = "the stream URL answered with no event stream"
            raise error_of("protocol", words, status=response.status)
        return response

    async def _poll(
        self, prediction: Prediction | None, *, stream_again: bool = False
    ) -> EventLists:
        """The answer by asking for the prediction.

        Args:
            stream_again: a model that wakes up before it said anything is listened to once more.
        """
        reader = PollReader(self._transcript, self._plan.limit)
        delay = self._knobs.poll
        asleep = False
        while True:
            if prediction is None:
                prediction = await self._asking.state(self._created, self._trouble)
            if asleep and prediction.status == "processing" and self._transcript.empty:
                self._woken = True
                return
            asleep = stream_again and prediction.status == "starting"
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

    async def _booting(self) -> bool:
        """Whether the silence is a cold start, which has a time limit of its own."""
        prediction = await self._glance()
        if prediction is None or prediction.status != "starting":
            return False
        self._seen([Waiting("cold_start", detail=prediction.status)])
        return True

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

    async def _glance(self) -> Prediction | None:
        await self._connection.aclose()
        return await self._asking.glance(self._created)

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


def _delay(resume: Resume, attempt: int) -> float:
    if resume.retry is not None:
        return min(resume.retry / 1000, MAX_DELAY)
    return min(RECONNECT_DELAY * float(2 ** (attempt - 1)), MAX_DELAY)
