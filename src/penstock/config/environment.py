"""The variables of the environment that are read, and what their texts mean: decisions only."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from penstock.types import Timeouts

PROVIDER_KEYS = ("base_url", "api_key", "dialect", "proxy", "timeout")
TOP_VARIABLES = {
    "PENSTOCK_DEFAULT_MODEL": "default_model",
    "PENSTOCK_COOKIES": "cookies",
    "PENSTOCK_PROXY": "connection.proxy",
    "PENSTOCK_NO_PROXY": "connection.no_proxy",
    "PENSTOCK_CA_BUNDLE": "connection.ca_bundle",
    "PENSTOCK_TRUST_ENV": "connection.trust_env",
    "PENSTOCK_CONNECTIONS": "connection.connections",
    **{f"PENSTOCK_TIMEOUT_{name.upper()}": f"timeouts.{name}" for name in Timeouts.ALL},
}
"""Variable -> dotted key."""

OTHER_VARIABLES = (
    "PENSTOCK_CONFIG",
    "PENSTOCK_BACKEND_API_KEY",
    "PENSTOCK_DEMO_PROVIDER",
    "PENSTOCK_DEMO_QUESTION",
)
"""They name the file, or are options of a command."""

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def variables_of(provider: str) -> dict[str, str]:
    """Key of a provider's table -> its variable."""
    name = provider.replace("-", "_").upper()
    return {key: f"PENSTOCK_{name}_{key.upper()}" for key in PROVIDER_KEYS}


def understood(key: str, text: str) -> Any:
    """The text of a variable as the type that its key has.

    Raises:
        ValueError: it cannot be understood; the text is not quoted.
    """
    leaf = key.rpartition(".")[2]
    if leaf == "no_proxy":
        return [item.strip() for item in text.split(",") if item.strip()]
    if leaf == "trust_env":
        if text.lower() not in (*_YES, *_NO):
            raise ValueError("it must be true or false")
        return text.lower() in _YES
    if leaf == "connections":
        if not (text.isascii() and text.isdecimal()):
            raise ValueError("it must be a whole number")
        return int(text)
    if key.startswith("timeouts.") and text.lower() in ("off", "none", "false"):
        return False
    return _seconds(text) if leaf == "timeout" or key.startswith("timeouts.") else text


def mistyped(env: Iterable[str], providers: Iterable[str]) -> list[str]:
    """Warnings about variables that look like ours and are read by nobody."""
    read = {*TOP_VARIABLES, *OTHER_VARIABLES}
    for provider in providers:
        read.update(variables_of(provider).values())
    return [
        f"{variable} is set, but nothing reads it{_hint(variable, read)}"
        for variable in sorted(env)
        if variable.startswith("PENSTOCK_") and variable not in read
    ]


def _hint(variable: str, read: Iterable[str]) -> str:
    close = get_close_matches(variable, sorted(read), n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it must be a number of seconds") from None
