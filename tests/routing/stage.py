"""A router over scripted providers, and everything that it was told and that it told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from penstock.config.routing import BreakerRules, Pool, Routing, TargetLimits
from penstock.errors import PenstockError
from penstock.observe import AttemptEnded, AttemptStarted, BreakerChanged, Record, RequestEnded
from penstock.provider import Provider
from penstock.routing.router import Routed, Router
from penstock.routing.single import Single
from penstock.testing.scripted import Script, ScriptedProvider
from penstock.types import ChatRequest, Event, Message, Text

R = TypeVar("R", bound=Record)
REQUEST = ChatRequest(model="", messages=(Message(role="user", content="Hi"),))


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """Providers by name, each with its scripts, behind one router.

    ``a`` and ``b`` are pooled as ``both``, whose rules are the arguments.
    """

    def __init__(
        self,
        scripts: Mapping[str, Sequence[Script]],
        *,
        limits: Mapping[str, TargetLimits] | None = None,
        breaker: BreakerRules | None = None,
        clock: Callable[[], float] | None = None,
        chance: float = 0.0,
        **pool: Any,
    ) -> None:
        self.providers = {
            name: ScriptedProvider(*answers, name=name) for name, answers in scripts.items()
        }
        self.records: list[Record] = []
        self.timeouts: list[Mapping[str, float | None]] = []
        self.clock = Clock()
        targets = tuple(f"{name}/m" for name in scripts)
        self.routing = Routing(
            pools={"both": Pool(targets=targets, **pool)},
            targets=limits or {},
            breaker=breaker,
            aliases={"short": "both", "first": targets[0]},
        )
        self.router = Router(
            self.provider_of,
            self.routing,
            clock=clock or self.clock,
            chance=lambda: chance,
            observer=self.records.append,
        )

    def provider_of(
        self, name: str, timeouts: Mapping[str, float | None] | None = None, /
    ) -> Provider:
        self.timeouts.append(timeouts or {})
        return self.providers[name]

    def told(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if isinstance(record, kind)]

    async def read(self, model: str = "both", **given: Any) -> tuple[str, Routed | Single]:
        """The text of an answer, and the stream it came from."""
        routed = self.router.stream(model, REQUEST, request_id="r1", **given)
        async with routed as batches:
            return "".join([text_of(batch) async for batch in batches]), routed

    async def fail(
        self, model: str = "both", **given: Any
    ) -> tuple[PenstockError, Routed | Single]:
        """The error of an answer."""
        routed = self.router.stream(model, REQUEST, request_id="r1", **given)
        try:
            async with routed as batches:
                async for _ in batches:
                    pass
        except PenstockError as error:
            return error, routed
        raise AssertionError("it did not fail")

    def asked(self) -> str:
        """The targets in the order in which they were asked."""
        return "".join(record.target[0] for record in self.told(AttemptStarted))

    def nothing_left(self) -> None:
        """Every try was left, here and at the providers, and was told of once."""
        assert all(provider.open == 0 for provider in self.providers.values())
        begun, ended = self.told(AttemptStarted), self.told(AttemptEnded)
        assert [record.attempt for record in begun] == list(range(1, len(begun) + 1))
        assert sorted(record.attempt for record in ended) == [one.attempt for one in begun]
        assert len(self.told(RequestEnded)) == 1

    def breaker_words(self) -> list[tuple[str, str]]:
        return [(record.target, record.state) for record in self.told(BreakerChanged)]


def text_of(batch: Sequence[Event]) -> str:
    return "".join(event.text for event in batch if isinstance(event, Text))
