"""Which parameters a back end honours, which are honoured here, and which are refused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from penstock.gateway.surfaces.surface import wrong
from penstock.types import Capabilities

_NO_EFFECT: dict[str, float] = {
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
}
"""Sampling values that say: no such sampling. Tools send them without being asked."""

_UNKNOWN = (1.0, 0.0)
"""The range of a parameter that the back end does not know: no value is in it."""


class Chooser:
    """Refuses what cannot be honoured, or leaves it out where the caller allowed that.

    Attributes:
        dropped: what was left out.
    """

    def __init__(self, model: str, *, lenient: bool) -> None:
        self._model = model[:80]
        self._lenient = lenient
        self.dropped: list[str] = []

    def refuse(self, name: str, reason: str) -> None:
        """Refuse the parameter ``name``, or note that it is left out.

        Raises:
            BadRequestError: the caller did not allow that.
        """
        if not self._lenient:
            raise wrong(reason, name)
        self.dropped.append(name)

    def check(self, given: Mapping[str, Any], harmless: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse those of ``harmless`` that have another value than the ones listed."""
        if harmless.keys().isdisjoint(given):
            return
        for name, values in harmless.items():
            if given.get(name) is not None and values and given[name] not in values:
                self.refuse(name, f"{name} is not supported by this gateway")

    def check_rest(
        self,
        given: Mapping[str, Any],
        known: Collection[str],
        harmless: Mapping[str, tuple[Any, ...]],
    ) -> None:
        """Refuse what is neither ``known`` nor without effect; null says nothing."""
        for name, value in given.items():
            if value is None or name in known:
                continue
            if name in harmless and value in (harmless[name] or (value,)):
                continue
            self.refuse(name, f"{name} is not supported by the back end of {self._model}")

    def sampling(self, values: dict[str, Any], able: Capabilities) -> dict[str, Any]:
        """Those of ``values`` that the back end knows.

        What says "no such sampling" is left out where the back end has no way to say it.
        """
        known: dict[str, Any] = {}
        for name, value in values.items():
            bounds = able.sampling.get(name, _UNKNOWN)
            within = bounds is None or bounds[0] <= value <= bounds[1]
            if not within and value == _NO_EFFECT.get(name):
                continue
            if name in able.sampling:
                known[name] = value
            else:
                self.refuse(name, f"{name} is not supported by the back end of {self._model}")
        return known


def stop_texts(given: str | Sequence[str] | None, name: str, most: int) -> tuple[str, ...]:
    """The texts at which an answer ends.

    Raises:
        BadRequestError: too many, or an empty one.
    """
    stops = (given,) if isinstance(given, str) else tuple(given or ())
    if len(stops) > most or not all(stops):
        raise wrong(f"{name} must be 1 to {most} texts, none empty", name)
    return stops
