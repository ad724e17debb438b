"""Questions about one prediction that are not its stream: create, state, cancel."""

from __future__ import annotations

from itertools import count

from penstock.errors import (
    NetworkError,
    PenstockError,
    RateLimitError,
    StreamTimeoutError,
    TruncatedError,
)
from penstock.providers.common import Call, refuse_page
from penstock.providers.door import Door
from penstock.providers.replicate.dialect.errors import hosted_error
from penstock.providers.replicate.dialect.hosted import Api, Prediction, decode_prediction
from penstock.types import Timeouts
from penstock.wire.request import HttpRequest

CANCEL_TRIES = 4
STATE_TRIES = 3
LONGEST_PAUSE = 10.0
GLANCE = Timeouts(connect=2.0, first_content=3.0, idle=3.0, total=3.0)


class Asking:
    """One call's questions.

    Attributes:
        model: as the caller named it, for errors.
    """

    def __init__(self, call: Call, api: Api, model: str) -> None:
        self.model = model
        self._call = call
        self._api = api

    async def create(self, request: HttpRequest) -> Prediction:
        """Send ``request``, once: a create that failed may have run, and be billed (section 6).

        Raises:
            PenstockError: it was refused, or the answer is no prediction. It is not retryable
                where the prediction may be running although nobody knows its id.
        """
        try:
            door = Door(self._api.base, "Replicate's API")
            response, body = await self._call.fetch(request, door.refusal(self.refused))
        except (TruncatedError, StreamTimeoutError) as error:
            connecting = isinstance(error, StreamTimeoutError) and error.phase == "connect"
            error.retryable = connecting
            raise
        with door.reading():
            refuse_page(response)
            return decode_prediction(body, response.status)

    async def state(self, prediction: Prediction, trouble: PenstockError | None) -> Prediction:
        """``prediction`` as it is now. A GET may be repeated (section 6).

        Raises:
            PenstockError: it cannot be told; ``trouble``, if that came first.
        """
        limits = self._call.limits
        for attempt in count(1):
            try:
                response, body = await self._call.fetch(self._api.get(prediction), self.error)
                return decode_prediction(body, response.status)
            except PenstockError as error:
                pause = error.retry_after or 0.25 * 2**attempt
                budget = limits.budget()
                affordable = budget is None or pause < budget
                if not _passing(error) or attempt == STATE_TRIES or not affordable:
                    raise (trouble or error) from None
            await limits.pause(pause)
        raise AssertionError  # the count has no end

    async def glance(self, prediction: Prediction) -> Prediction | None:
        """One short look at ``prediction``, outside of the call's limits; None if that fails."""
        call = Call(self._call.session, self._call.config.with_(timeouts=GLANCE))
        try:
            response, body = await call.fetch(self._api.get(prediction), self.error)
            return decode_prediction(body, response.status)
        except PenstockError:
            return None

    async def cancel(self, prediction: Prediction) -> None:
        """Cancel ``prediction``, with limits of its own; one that is over is a success.

        Raises:
            PenstockError: the server could not be told, after several tries.
        """
        call = self._call.again()
        for attempt in count(1):
            response, body = await call.ask(self._api.cancel(prediction))
            if response.status < 500 and response.status != 429:
                return  # a 4xx says that there is nothing to cancel any more (section 3)
            error = self.error(response.status, response.headers, body)
            if attempt == CANCEL_TRIES:
                raise error
            await call.limits.pause(min(error.retry_after or 0.25 * 2**attempt, LONGEST_PAUSE))

    def error(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for an answer about a prediction."""
        return self._hosted_error(status, headers, body, creating=False)

    def refused(self, status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        """The error for an answer to a create, where 404 speaks of the model."""
        return self._hosted_error(status, headers, body, creating=True)

    def _hosted_error(
        self, status: int, headers: dict[str, str], body: bytes, *, creating: bool
    ) -> PenstockError:
        return hosted_error(
            status,
            headers,
            body,
            provider=self._call.config.name,
            model=self.model,
            creating=creating,
            secrets=(self._api.key,) if self._api.key else (),
        )


def _passing(error: PenstockError) -> bool:
    """Whether the same GET may well succeed a moment later."""
    if isinstance(error, StreamTimeoutError):
        return error.phase == "connect"
    server = error.status is not None and error.status >= 500
    return server or isinstance(error, RateLimitError | NetworkError | TruncatedError)
