"""The answer of a hosted prediction: by its event stream, or by asking for it again and again.

Laws:
* output text is taken as it is, white space included; an empty token is nothing, not a line feed;
* a stream ends well only with ``done``, and says why; a body that stops is no end;
* ``ended`` says that the prediction is over on the server; only one that is not can be cancelled;
* after a reconnect, an event that brings an id that was delivered is skipped, never before.
"""

from __future__ import annotations

import msgspec

from penstock.errors import PenstockError, ProtocolError, TruncatedError, error_of, one_sentence
from penstock.providers.replicate.dialect.hosted import TERMINAL, Prediction
from penstock.providers.replicate.dialect.transcript import Delivered, Transcript
from penstock.types import Event, Finished, Waiting
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder
from penstock.wire.sse import ServerEvent, SSEDecoder

_UNSUCCESSFUL = TERMINAL - {"succeeded"}
_FINISH = {"": "stop", "canceled": "cancelled"}


class _Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class _Detail(msgspec.Struct, frozen=True):
    detail: str


def model_failure(detail: str) -> PenstockError:
    """The model failed, in its own words."""
    said = one_sentence(detail)
    return error_of(
        "model",
        f"the prediction failed: {said}" if said else "the prediction failed",
        detail=said or None,
    )


def detail_of(data: bytes) -> str:
    """What an ``error`` event says: JSON with a ``detail``, or plain text."""
    try:
        return msgspec.json.decode(data, type=_Detail).detail
    except JSON_ERRORS:
        return data.decode("utf-8", "replace")


def _reason_of(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Reason).reason
    except JSON_ERRORS:
        return ""  # the event itself is the end mark


class Resume(msgspec.Struct):
    """What one connection of a stream leaves to the next.

    Attributes:
        last_id: id of the last whole event.
        delivered: ids of all events that were delivered.
        retry: reconnect delay in milliseconds, where the server named one.
        connected: a connection brought bytes before this one.
    """

    last_id: str = ""
    delivered: Delivered = msgspec.field(default_factory=Delivered)
    retry: int | None = None
    connected: bool = False


class StreamDecoder(AnswerDecoder):
    """One connection of the event stream (wire/replicate.md section 5).

    Attributes:
        started: bytes of the stream came.
        fresh: something came that had not come before.
        ended: the prediction is over.
        unexplained: it failed, and the stream did not say why.
    """

    def __init__(self, transcript: Transcript, resume: Resume) -> None:
        super().__init__()
        self.started = False
        self.fresh = False
        self.ended = False
        self.unexplained = False
        self._transcript = transcript
        self._resume = resume
        self._resumed = resume.connected
        self._sse = SSEDecoder()

    def _decode(self, data: bytes, events: list[Event]) -> None:
        sse, resume, take = self._sse, self._resume, self._transcript.take
        self.started = resume.connected = True
        try:
            for event in sse.feed(data):
                if event.own_id:
                    resume.last_id = event.id
                    if self._resumed and event.id in resume.delivered:
                        continue
                    resume.delivered.add(event.id)
                if event.event == "output":
                    self.fresh = True
                    take(event.data.decode("utf-8", "replace"), events)
                    if self._transcript.stopped:
                        self.done = True
                        events.append(Finished("stop"))
                        return
                elif event.event in ("done", "error"):
                    self._close(event, events)
                    return
        finally:
            resume.retry = sse.retry if sse.retry is not None else resume.retry

    def _close(self, event: ServerEvent, events: list[Event]) -> None:
        self.fresh = self.ended = True
        self._transcript.flush(events)
        if event.event == "error":
            raise model_failure(detail_of(event.data))
        reason = _reason_of(event.data)
        if reason == "error":
            self.unexplained = True
            raise model_failure("")
        if reason == "aborted":
            raise aborted()
        self.done = True
        events.append(Finished(_FINISH.get(reason, reason)))

    def _end(self, events: list[Event]) -> None:
        """An unfinished event does not count (section 5.2); a reconnect brings it again."""


class PollReader:
    """The prediction object, seen again and again until its status is terminal.

    Args:
        limit: the largest number of tokens that was asked for, if any.

    Attributes:
        done: ``Finished`` was returned.
        failure: how the prediction failed.
        ended: the prediction is over on the server.
    """

    def __init__(self, transcript: Transcript, limit: int | None = None) -> None:
        self.done = False
        self.ended = False
        self.failure: PenstockError | None = None
        self._transcript = transcript
        self._limit = limit

    def see(self, prediction: Prediction) -> list[Event]:
        """The events that ``prediction`` adds. Look at ``failure`` afterwards."""
        events: list[Event] = []
        self.ended = prediction.terminal
        try:
            self._see(prediction, events)
        except PenstockError as error:
            self.failure = error
        if self.failure is not None:
            self._transcript.flush(events)
        return events

    def _see(self, prediction: Prediction, events: list[Event]) -> None:
        try:
            text = prediction.text
            if text is not None:
                self._transcript.catch_up(text, events)
        except ProtocolError:
            if prediction.status not in _UNSUCCESSFUL:
                raise
            text = None  # how it failed says more than what is left of its output
        if self._transcript.stopped:
            self._finish(Finished("stop"), events)
        elif prediction.terminal:
            self._settle(prediction, text, events)
        elif self._transcript.empty:
            starting = prediction.status == "starting"
            reason = Waiting("cold_start" if starting else "running", detail=prediction.status)
            events.append(reason)

    def _settle(self, prediction: Prediction, text: str | None, events: list[Event]) -> None:
        if prediction.status == "failed":
            words = prediction.error if isinstance(prediction.error, str) else ""
            raise model_failure(words)
        if prediction.status == "aborted":
            raise aborted()
        lost = prediction.data_removed or not self._transcript.empty
        if prediction.status == "succeeded" and text is None and lost:
            raise TruncatedError("the server no longer has the output of this prediction")
        self._transcript.flush(events)
        self._finish(finished_by(prediction, self._limit), events)

    def _finish(self, finished: Finished, events: list[Event]) -> None:
        self.done = True
        events.append(finished)


def aborted() -> PenstockError:
    """The deadline of a prediction passed before it ran."""
    return error_of("timeout", "the prediction was aborted: its deadline passed before it ran")


def finished_by(prediction: Prediction, limit: int | None) -> Finished:
    """The end of a prediction that is over and did not fail.

    The service names no reason; ``length`` is told by the count of tokens (section 7, end).
    """
    usage = prediction.usage
    reason = "cancelled" if prediction.status == "canceled" else "stop"
    answered = usage.completion_tokens if usage else None
    if reason == "stop" and limit is not None and answered is not None and answered >= limit:
        reason = "length"
    return Finished(reason, usage=usage)
