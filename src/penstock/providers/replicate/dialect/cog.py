"""Cog, the model server, spoken to directly (wire/replicate.md section 8).

Its event stream has no ids and its tokens are JSON, so line feeds are escaped. A prediction that
failed is still a 200. Closing the stream of a POST cancels it at the model's next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import Kind, PenstockError, ProtocolError, TruncatedError
from penstock.providers.replicate.dialect.answers import PollReader, model_failure
from penstock.providers.replicate.dialect.hosted import Prediction
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.types import Event, Finished, Started
from penstock.wire.decoder import JSON_ERRORS, AnswerDecoder, bad_payload
from penstock.wire.request import HttpRequest, json_request, path_of, url_of
from penstock.wire.sse import SSEDecoder
from penstock.wire.status import status_error, words_of

_KINDS: dict[int, Kind] = {409: "overloaded", 503: "overloaded"}
"""Busy with another prediction, or still in its setup."""


class _Chunk(msgspec.Struct, frozen=True):
    chunk: str


_CHUNK = msgspec.json.Decoder(_Chunk)
_PREDICTION = msgspec.json.Decoder(Prediction)


def cog_request(base: str, inputs: Mapping[str, Any], *, stream: bool) -> HttpRequest:
    """Ask for a prediction, as events or as one answer."""
    accept = ("Accept", "text/event-stream" if stream else "application/json")
    return json_request(
        "POST", url_of(base, "/predictions"), {"input": dict(inputs)}, accept, stream=stream
    )


def cog_cancel(base: str, prediction: str) -> HttpRequest:
    """Cancel a prediction; 404 says that it is over."""
    path = f"/predictions/{path_of(prediction, param='id')}/cancel"
    return HttpRequest(method="POST", url=url_of(base, path))


def cog_error(
    status: int, headers: Mapping[str, str], body: bytes, *, provider: str, model: str
) -> PenstockError:
    """The error for an answer that is not a success."""
    kind = _KINDS.get(status)
    return status_error(status, headers, body, provider=provider, model=model, kind=kind)


def decode_cog(body: bytes) -> Prediction:
    """The prediction of an answer that is not a stream.

    Raises:
        ProtocolError: it is something else.
    """
    try:
        prediction = _PREDICTION.decode(body)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    if not prediction.status:
        raise ProtocolError("the answer holds no prediction: its status is missing")
    return prediction


class CogDecoder(AnswerDecoder):
    """The event stream of one prediction.

    Attributes:
        id: the prediction, once the server named it.
        ended: it is over on the server.
    """

    def __init__(self, transcript: Transcript, limit: int | None = None) -> None:
        super().__init__()
        self.id: str | None = None
        self.ended = False
        self._transcript = transcript
        self._reader = PollReader(transcript, limit)
        self._sse = SSEDecoder()

    def _decode(self, data: bytes, events: list[Event]) -> None:
        for event in self._sse.feed(data):
            try:
                if event.event == "output":
                    self._transcript.take(_CHUNK.decode(event.data).chunk, events)
                    if self._transcript.stopped:
                        self.done = True
                        events.append(Finished("stop"))
                elif event.event == "start":
                    self.id = _PREDICTION.decode(event.data).id or None
                    events.append(Started(id=self.id))
                elif event.event == "completed":
                    self._complete(_PREDICTION.decode(event.data), events)
                elif event.event == "error":
                    self.ended = True
                    self._transcript.flush(events)
                    raise model_failure(words_of(event.data))
            except JSON_ERRORS as error:
                raise bad_payload(error, event.data) from None
            if self.done:
                return

    def _complete(self, prediction: Prediction, events: list[Event]) -> None:
        if not prediction.terminal:
            raise ProtocolError("a completed prediction has no final status")
        self.ended = True
        events.extend(self._reader.see(prediction))
        if self._reader.failure is not None:
            raise self._reader.failure
        self.done = True

    def _end(self, events: list[Event]) -> None:
        self._transcript.flush(events)
        raise TruncatedError("the stream ended without its completed event")
