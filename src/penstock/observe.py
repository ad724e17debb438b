"""What is told about requests while they run: a hook and the facts it gets.

The facts are frozen and hold no prompt, no answer and no secret. Instants and durations are in
seconds of the clock that the teller was given; nothing here reads one.

The order for one request: ``AttemptStarted`` and ``AttemptEnded`` for each try, then one
``RequestEnded``. Two tries run at a time only where a pool hedges.
"""

from __future__ import annotations

from typing import Literal, Protocol

from penstock.errors import Kind
from penstock.types import Usage, Value

Breaker = Literal["closed", "open", "half_open"]
"""Whether requests pass, are kept away, or one is let through to see how things are."""


class Failure(Value, frozen=True):
    """Why a target did not answer.

    Attributes:
        target: ``provider/model``.
        kind: one word of the vocabulary of errors.
        message: one sentence without secrets.
        tried: False where the target was left out without asking it: its breaker is open, or one
            of our own limits is reached.
    """

    target: str
    kind: Kind
    message: str = ""
    tried: bool = True


class Route(Value, frozen=True):
    """The way that a request took to its answer.

    Attributes:
        target: the ``provider/model`` that answers; the last one tried where none did, and empty
            before the first try.
        attempts: how many tries were begun, the one that answers included.
        failures: what did not answer, in order.
    """

    target: str = ""
    attempts: int = 0
    failures: tuple[Failure, ...] = ()


class AttemptStarted(Value, frozen=True):
    """A try begins.

    Attributes:
        attempt: 1 for the first try of the request.
    """

    request_id: str
    target: str
    attempt: int
    at: float


class AttemptEnded(Value, frozen=True):
    """A try ended and all it owned was left.

    Attributes:
        kind: why it failed; ``cancelled`` where it was left before its end, None where it ended
            well.
        first_content_s: from the begin of the try to its first piece; None if there was none.
        duration_s: from the begin of the try to its last event.
        tokens: pieces of the answer, for servers send about one for each token.
        usage: what the server counted.
        committed: a piece was handed to the caller.
    """

    request_id: str
    target: str
    attempt: int
    at: float
    kind: Kind | None
    first_content_s: float | None
    duration_s: float
    tokens: int = 0
    usage: Usage | None = None
    committed: bool = False


class RequestEnded(Value, frozen=True):
    """A request ended, whatever it took.

    Attributes:
        model: as the caller named it.
        kind: as for ``AttemptEnded``.
        first_content_s: from the begin of the request, waits between tries included.
    """

    request_id: str
    model: str
    route: Route
    at: float
    kind: Kind | None
    first_content_s: float | None
    duration_s: float


class BreakerChanged(Value, frozen=True):
    """The breaker of a target went to another state."""

    target: str
    state: Breaker


Record = AttemptStarted | AttemptEnded | RequestEnded | BreakerChanged


class Observer(Protocol):
    """Gets each record as it happens, in the event loop.

    It must be quick, must not wait and must not raise: it runs in the path of a stream. One whose
    attribute ``wants_request_ends`` is False is told of no ``RequestEnded``.
    """

    def __call__(self, record: Record, /) -> None:
        """Take note of ``record``."""


def silent(_: Record, /) -> None:
    """The observer that takes note of nothing."""
