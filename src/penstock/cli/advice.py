"""What to do about an error, where the program can know more than the library says."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from penstock.errors import ModelNotFoundError, PenstockError
from penstock.types import Timeouts

if TYPE_CHECKING:
    from penstock.config import Settings

_LOOK = Timeouts(connect=2.0, first_content=3.0, idle=3.0, total=3.0)
"""For the list of models that is looked at after an error: the user waits for the sentence."""


def explain(error: PenstockError, settings: Settings) -> str:
    """The error's sentence; for an unknown model with near ones of the same server.

    The server that refused the model is asked for its list, which runs nothing.
    """
    sentence = str(error)
    if not isinstance(error, ModelNotFoundError) or not error.provider or not error.model:
        return sentence
    near = nearest(error.model, _listed(error.provider, settings))
    if near and not any(name in sentence for name in near):
        meant = " or ".join(f"{error.provider}/{name}" for name in near)
        return f"{sentence}; did you mean {meant}?"
    if "`penstock models" in sentence:
        return sentence
    return f"{sentence}; `penstock models {error.provider}` lists what there is"


def nearest(model: str, known: Iterable[str]) -> list[str]:
    """At most three of ``known`` that may be meant by ``model``, the best first."""
    plain = {name.lower(): name for name in known}
    wanted = model.lower()
    found = get_close_matches(wanted, plain, n=3, cutoff=0.6)
    found += [name for name in plain if wanted and wanted in name and name not in found]
    return [plain[name] for name in found[:3]]


def _listed(provider: str, settings: Settings) -> list[str]:
    from penstock import sync

    try:
        with sync.Client(config=settings, timeout=_LOOK) as client:
            listed = client.models(provider)
    except PenstockError:
        return []
    return [info.id.removeprefix(f"{provider}/") for info in listed]
