"""What a client's arguments say of a provider, over what is configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import msgspec

from penstock.cookies import cookies_for
from penstock.errors import BadRequestError, ConfigError, MissingAuthError
from penstock.provider import ProviderConfig
from penstock.types import Timeouts
from penstock.wire.request import base_url_of

_FIELDS = {name: type_ for name, type_ in get_type_hints(ProviderConfig).items() if name != "name"}


def merged(
    name: str, given: ProviderConfig | Mapping[str, Any], configured: ProviderConfig | None
) -> ProviderConfig:
    """What the arguments say over what was configured.

    A credential that was configured for one address does not travel to another.

    Raises:
        ConfigError: it is no configuration; the place in the argument is named.
    """
    if isinstance(given, ProviderConfig):
        return given
    place = f"providers[{name!r}]"
    fields = dict(mapping_of(place, given))
    base = configured or ProviderConfig(name=name)
    try:
        if "timeout" in fields:
            fields["timeouts"] = Timeouts.of(fields.pop("timeout"))
        _check_fields(place, fields)
        if fields.get("base_url") is not None:
            fields["base_url"] = base_url_of(fields["base_url"])
            if fields["base_url"] != base.base_url:
                base = base.with_(api_key=None, cookies={}, headers={}, options={})
    except BadRequestError as error:
        raise ConfigError(f"{place}: {error.message}", provider=name) from None
    return base.with_(**fields)


def mapping_of(place: str, given: object) -> Mapping[str, Any]:
    """``given``, if it is a mapping.

    Raises:
        ConfigError: it is none; ``place`` is named.
    """
    if isinstance(given, Mapping):
        return given
    fields = "each provider's name and configuration" if place == "providers" else "its settings"
    raise ConfigError(f"{place} must be a mapping that holds {fields}, not {type(given).__name__}")


def with_site_session(config: ProviderConfig, file: str | None) -> ProviderConfig:
    """``config`` with the site's cookies from the cookie file, if it has no credential.

    Raises:
        MissingAuthError: there is no session to be had.
    """
    if config.cookies or config.api_key or config.options:
        return config
    if file is None and config.headers:  # they may hold the session
        return config
    if file is None:
        variable = f"PENSTOCK_{config.name.upper()}_API_KEY"
        raise MissingAuthError(
            f"the session of an account is missing; set cookies or api_key in [providers."
            f"{config.name}] of penstock.toml, the variable {variable}, or name a cookie file "
            "in PENSTOCK_COOKIES",
            provider=config.name,
            param="cookies",
        )
    host = urlsplit(config.base_url or "").hostname or ""
    cookies = cookies_for(host, file)
    if not cookies:
        raise MissingAuthError(
            f"the cookie file {file} holds no cookies of {host}; export them while logged in",
            provider=config.name,
            param="cookies",
        )
    return config.with_(cookies=cookies)


def _check_fields(place: str, fields: Mapping[str, Any]) -> None:
    for field, value in fields.items():
        problem = f"has no setting; known are {', '.join(_FIELDS)} and timeout"
        if field in _FIELDS:
            try:
                msgspec.convert(value, _FIELDS[field])
            except msgspec.ValidationError:
                problem = "has the wrong type"
            else:
                continue
        raise ConfigError(f"{place}[{field!r}] {problem}")
