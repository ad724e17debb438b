"""Recorded requests to calls: what a case asks of our provider, as values.

A protocol (one module each in ``protocols``) reads requests of its kind and says which calls a
caller must have made for them. It knows requests, never cases.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from penstock.errors import PenstockError
from penstock.provider import ProviderConfig
from penstock.testing.replay.case import Case, Exchange, Expected
from penstock.testing.replay.server import Arrived
from penstock.types import Message, Sampling, Tool, Value

PLACEHOLDER = "Hello"
"""The question of a call whose recording ends before one was posted."""


QUESTION_FIELDS = frozenset({"text", "content", "prompt", "preprompt", "system", "files"})
"""Names by which protocols know a question, what goes with it included."""


class Access(Value, frozen=True, kw_only=True):
    """Who calls, and where.

    Attributes:
        host: the recorded host; its local origin is the base URL.
        dialect: the wire protocol, where the provider has several.
        options: settings of this provider alone.
        user: an anonymous id, where the protocol has one.
    """

    host: str = ""
    dialect: str | None = None
    api_key: str | None = None
    cookies: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    user: str | None = None


class Chat(Value, frozen=True, kw_only=True):
    """One turn to ask for.

    Attributes:
        whole: the whole answer was asked for, not a stream.
        thread: turns of one thread share a conversation; None for a call of its own.
        pinned: ``parent`` decides, whatever the conversation's own is.
        conversation_id: the remote conversation, where the case did not open it in this thread.
        conversation_gone: the recording had deleted it before.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    extra: Mapping[str, Any] = {}
    whole: bool = False
    thread: str | None = None
    pinned: bool = False
    parent: str | None = None
    conversation_id: str | None = None
    conversation_gone: bool = False


class ListModels(Value, frozen=True):
    """The list of models."""


class Step(Value, frozen=True, kw_only=True):
    """One call, and the exchanges it stands for.

    Attributes:
        start: first exchange that may answer it.
        stop: the exchange after the last that may; -1 until ``plan`` knows.
        answer: the exchange that holds the answer, or the refusal.
        expected: what must come out; None where the case does not say.
        leave_after: pieces after which the caller leaves.
        forgone: names of recorded parameters that our own checks do not let out.
    """

    start: int
    stop: int = -1
    answer: int
    access: Access
    call: Chat | ListModels
    expected: Expected | None = None
    leave_after: int | None = None
    forgone: frozenset[str] = frozenset()


class CaseProtocol(ABC):
    """How requests of one protocol become calls, and which of their fields must agree.

    Attributes:
        provider: the name our provider goes by.
        names: the server's name of a parameter -> ours.
        hosts: hosts that answers may name, also where the recording asked them nothing.
    """

    provider: ClassVar[str]
    names: ClassVar[Mapping[str, str]] = {}
    hosts: ClassVar[tuple[str, ...]] = ()

    def placed(self, case: Case) -> Case:
        """The case as it can be served from this machine."""
        return case

    @abstractmethod
    def derive(self, case: Case) -> Sequence[Step]:
        """The calls, in order; no expectations yet."""

    @abstractmethod
    def fields(self, request: Request) -> dict[str, object]:
        """What a request says that a correct client must say, by our own names."""

    def unlike(self, exchange: Exchange, arrived: Arrived) -> list[tuple[str, object, object]]:
        """Name, recorded and sent value of each field that says something else."""
        wanted = self.fields(Request.recorded(exchange))
        got = self.fields(
            Request(
                method=arrived.method,
                path=arrived.path,
                query=arrived.query,
                headers=arrived.headers,
                content=arrived.content,
            )
        )
        return [
            (name, value, got.get(name))
            for name, value in wanted.items()
            if not self.same(name, value, got.get(name))
        ]

    def alike(self, exchange: Exchange, arrived: Arrived) -> bool:
        """Whether a request says what the recorded one said."""
        return not self.unlike(exchange, arrived)

    def same(self, name: str, expected: object, got: object) -> bool:
        """Whether a field of ours says what the recorded one said."""
        return same_value(expected, got)

    def key(self, method: str, path: str, query: str) -> Hashable:
        """What makes two requests the same one."""
        return (method, path, query)

    def reads(self, method: str, path: str) -> bool:
        """Whether a request only looks at something, so that it may come at another time."""
        return method == "GET"

    def unrecorded(self, method: str, path: str) -> tuple[int, bytes] | None:
        """Decision 23: settings and cleanup routes 200, schema and polling GETs 404."""
        cleanup = method in ("DELETE", "PUT", "PATCH") or is_stop(path)
        return (200, b"{}") if cleanup or path.endswith("/settings") else None

    def repaired(self, case: Case, step: Step) -> str | None:
        """The text a correct client shows, where that is not the joined pieces of the recording."""
        return None

    def expectations(self, case: Case, steps: Sequence[Step]) -> dict[int, Expected]:
        """Index of a step -> what must come out of it. One step has what the case expects."""
        return by_exchange(case, steps)

    def config(self, base: ProviderConfig) -> ProviderConfig:
        """The provider's configuration, from one with address and credentials."""
        return base

    def relaxed(self, step: Step, error: PenstockError) -> Step | None:
        """The call without what our checks refuse; None if it cannot go without.

        What the server answered to it is then still read by our provider. A text that is refused
        becomes another one.
        """
        param = error.param or ""
        theirs = [name for name, ours in self.names.items() if ours == param]
        for name in (param, self.names.get(param), *theirs):
            relaxed = without(step, name)
            if relaxed is not None:
                also = {param, self.names.get(param, param)}
                return msgspec.structs.replace(relaxed, forgone=relaxed.forgone | also)
        return with_placeholder(step) if param == "messages" else None


class Request(Value, frozen=True, kw_only=True):
    """A request as ``fields`` reads it: recorded, or arrived at the replay server."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    content: bytes

    @classmethod
    def recorded(cls, exchange: Exchange) -> Request:
        """The request of a recorded exchange."""
        request = exchange.request
        return cls(
            method=request.method,
            path=request.path,
            query=request.query or "",
            headers={name.lower(): value for name, value in request.headers},
            content=request.content,
        )


def by_exchange(case: Case, steps: Sequence[Step]) -> dict[int, Expected]:
    """Expectations that name their exchange (wire/h2o.md section 11); else one for the last step.

    The top level comes last and wins over the turn it repeats.
    """
    place = {step.answer: index for index, step in enumerate(steps)}
    found = {place[turn.exchange]: turn for turn in case.expected.turns if turn.exchange in place}
    if case.expected.exchange is None:
        if steps:
            found[len(steps) - 1] = case.expected
    elif case.expected.exchange in place:
        found[place[case.expected.exchange]] = case.expected
    return found


def plan(protocol: CaseProtocol, case: Case) -> tuple[Step, ...]:
    """The calls of a case with what must come out of each.

    Calls after the last one that something is expected of are left out.
    """
    derived = protocol.derive(case)
    starts = [*(step.start for step in derived), len(case.exchanges)]
    steps = [
        msgspec.structs.replace(step, stop=starts[index + 1]) for index, step in enumerate(derived)
    ]
    expectations = protocol.expectations(case, steps)
    for index, expected in expectations.items():
        leave = _leave_after(case, steps[index], expected)
        steps[index] = msgspec.structs.replace(steps[index], expected=expected, leave_after=leave)
    last = max(expectations, default=len(steps) - 1)
    return tuple(steps[: last + 1])


def is_judged(case: Case, steps: Sequence[Step]) -> bool:
    """True where one of the calls is the one that the case's own expectation is about."""
    return any(step.expected is case.expected for step in steps)


def _leave_after(case: Case, step: Step, expected: Expected) -> int | None:
    """Decision 23, "client left": leave when the expected pieces have come.

    Only where the recording client did so; an answer that the server itself ended as cancelled is
    read to its end.
    """
    if case.client.abort_after_pieces is not None:
        return case.client.abort_after_pieces
    window = case.exchanges[step.start : step.stop]
    broken = [i for i, exchange in enumerate(window) if exchange.response.closed == "reset"]
    stopped = broken and any(is_stop(e.request.path) for e in window[broken[0] :])
    left = stopped or any(exchange.response.client_left for exchange in window)
    if expected.finish == "cancelled" and left and not expected.error:
        return sum(1 for piece in expected.pieces or () if piece)
    return None


def is_stop(path: str) -> bool:
    """True for the routes by which a client stops an answer."""
    return path.endswith(("/cancel", "/stop-generating"))


def without(step: Step, param: str | None) -> Step | None:
    """``step`` without a sampling or raw parameter; None if it has no such one."""
    call = step.call
    if param is None or not isinstance(call, Chat):
        return None
    if param in call.extra:
        extra = {name: value for name, value in call.extra.items() if name != param}
        call = msgspec.structs.replace(call, extra=extra)
    elif param in call.sampling.given():
        nothing: object = () if param == "stop" else None
        sampling = msgspec.structs.replace(call.sampling, **{param: nothing})
        call = msgspec.structs.replace(call, sampling=sampling)
    elif param == "tools" and call.tools:
        call = msgspec.structs.replace(call, tools=())
    else:
        return None
    return msgspec.structs.replace(step, call=call, forgone=step.forgone | {param})


def with_placeholder(step: Step) -> Step | None:
    """``step`` with a harmless question; None if it has that already."""
    call, question = step.call, (Message(role="user", content=PLACEHOLDER),)
    if not isinstance(call, Chat) or call.messages == question:
        return None
    call = msgspec.structs.replace(call, messages=question)
    return msgspec.structs.replace(step, call=call, forgone=step.forgone | QUESTION_FIELDS)


_NUMBERS = frozenset(Sampling.__struct_fields__) - {"stop"}
_WHOLE = frozenset({"top_k", "max_tokens", "seed"})


def sampling_of(
    given: Mapping[str, object], names: Mapping[str, str]
) -> tuple[Sampling, dict[str, Any]]:
    """Recorded parameters as our sampling; what has no place there or the wrong type stays raw.

    Args:
        given: by the server's names.
        names: the server's name -> ours.
    """
    ours: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        target = names.get(name)
        if target == "stop" and isinstance(value, list | tuple):
            ours[target] = tuple(value)
        elif target in _NUMBERS and is_number(value):
            ours[target] = value
        else:
            extra[name] = value
    return Sampling(**ours), extra


def numbers_of(fields: Mapping[str, str]) -> dict[str, object]:
    """The values of form fields as numbers where they are some."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        try:
            number = float(value)
        except ValueError:
            found[name] = value
            continue
        found[name] = int(number) if number.is_integer() and "." not in value else number
    return found


def is_number(value: object) -> bool:
    """True for a finite int or float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def same_value(expected: object, got: object) -> bool:
    """Equal, numbers by their value."""
    if is_number(expected) and is_number(got):
        return math.isclose(_float(expected), _float(got), rel_tol=1e-9)
    return expected == got


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
