"""What is checked before anything is sent: pure, the same for every provider."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from penstock.errors import BadRequestError, ConfigError, MissingAuthError, ModelNotFoundError
from penstock.provider import ProviderConfig
from penstock.types import Capabilities, ChatRequest, Sampling

Ranges = Mapping[str, tuple[float, float] | None]

_FEW = 6
"""So many names can stand in a sentence."""

_INTEGERS = frozenset({"top_k", "max_tokens", "seed"})


def check_request(request: ChatRequest, capabilities: Capabilities, provider: str) -> None:
    """Refuse what ``provider`` cannot honour.

    Raises:
        BadRequestError: names the parameter, its range or what to do instead.
    """
    if not request.messages:
        raise _refused(provider, "messages must hold at least one message", "messages")
    if request.tools and not capabilities.tools:
        raise _refused(provider, "tools are not supported by this provider", "tools")
    if request.conversation is not None and not capabilities.conversations:
        raise _refused(provider, "this provider has no native conversations", "conversation")
    if not capabilities.images and any(message.images for message in request.messages):
        raise _refused(provider, "images are not supported by this provider", "messages")
    if capabilities.extra is not None:
        for name in request.extra:
            if name not in capabilities.extra:
                raise _refused(provider, _unknown(name, capabilities.extra), name)
    check_sampling(request.sampling.given(), capabilities.sampling, provider)


def check_sampling(given: Mapping[str, Any], ranges: Ranges, provider: str) -> None:
    """Refuse sampling parameters that are unknown to ``ranges`` or outside of them.

    Raises:
        BadRequestError: names the parameter and its range.
    """
    for name, value in given.items():
        if name not in ranges:
            raise _refused(provider, _not_honoured(name, ranges), name)
        if name == "stop":
            if not all(isinstance(stop, str) and stop for stop in value):
                raise _refused(provider, "stop must be a list of strings, none empty", "stop")
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise _refused(provider, f"{name} must be a number, not {value!r}", name)
        if name in _INTEGERS and value != int(value):
            raise _refused(provider, f"{name} must be a whole number, not {value!r}", name)
        bounds = ranges[name]
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            limits = f"within {bounds[0]:g} to {bounds[1]:g}"
            if math.isinf(bounds[1]):
                limits = f"at least {bounds[0]:g}"
            raise _refused(provider, f"{name} must be {limits}, not {value!r}", name)


def check_model(model: str, known: tuple[str, ...], provider: str) -> str:
    """``model``, if it is one of ``known``.

    Raises:
        ModelNotFoundError: it is not; the message names close matches, or else where all are told.
    """
    if model in known:
        return model
    close = get_close_matches(model, known, n=3, cutoff=0.5)
    if close:
        advice = f"did you mean {' or '.join(close)}?"
    elif len(known) <= _FEW:
        advice = f"known are {', '.join(known)}"
    else:
        advice = f"`penstock models {provider}` lists what there is"
    raise ModelNotFoundError(f"no model {model[:80]!r}; {advice}", provider=provider, model=model)


def check_options(options: Mapping[str, Any], known: frozenset[str], provider: str) -> None:
    """Refuse provider settings that do not exist.

    Raises:
        BadRequestError: names the setting and the nearest known one.
    """
    for name in options:
        if name not in known:
            raise _refused(provider, _unknown(name, known), name)


def check_dialect(config: ProviderConfig, *known: str) -> None:
    """Refuse a wire protocol that the provider does not speak.

    Raises:
        BadRequestError: names those it speaks.
    """
    if config.dialect not in (None, *known):
        message = f"dialect must be {' or '.join(known)}, not {config.dialect!r:.60}"
        raise _refused(config.name, message, "dialect")


def required_base(config: ProviderConfig, example: str) -> str:
    """The address of a server that everybody runs by himself.

    Raises:
        ConfigError: it is missing.
    """
    if config.base_url is None:
        raise ConfigError(
            f"the server's address is missing; set base_url, as in {example}",
            provider=config.name,
            param="base_url",
        )
    return config.base_url


def missing_key(config: ProviderConfig, vendor: str | None) -> MissingAuthError:
    """The error for a credential that is needed and was not given, with all its places.

    Args:
        config: as it was given; a server of one's own never gets the vendor's variable.
        vendor: the variable that the vendor's own tools use.
    """
    names = [] if vendor is None or config.base_url is not None else [vendor]
    names.append(f"PENSTOCK_{config.name.upper().replace('-', '_')}_API_KEY")
    return MissingAuthError(
        f"api_key is missing; set the variable {' or '.join(names)}, or api_key in "
        f"[providers.{config.name}] of penstock.toml",
        provider=config.name,
        param="api_key",
    )


def _not_honoured(name: str, ranges: Ranges) -> str:
    if name not in Sampling.__struct_fields__:
        return _unknown(name, frozenset(ranges))
    known = f"it takes {', '.join(sorted(ranges))}" if ranges else "it takes none such"
    return f"{name} cannot be set with this provider; {known}"


def _unknown(name: str, known: frozenset[str]) -> str:
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is not a parameter of this provider{hint}"


def _refused(provider: str, message: str, param: str) -> BadRequestError:
    return BadRequestError(message, provider=provider, param=param)
