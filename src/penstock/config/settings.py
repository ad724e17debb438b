"""What can be configured, as values: the tables of the file, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config.gateway import GatewaySettings
from penstock.config.routing import Routing
from penstock.provider import ProviderConfig, SessionConfig
from penstock.types import Value


class ProviderTable(Value, kw_only=True, frozen=True):
    """``[providers.NAME]`` of the file.

    Attributes:
        base_url: address of the server; without it the vendor's own.
        api_key: credential. The environment is a better place for it.
        cookies: session cookies, name = value.
        headers: further headers for every request to this server.
        proxy: URL of a proxy for this provider.
        dialect: forces a wire protocol.
        timeout: seconds for the first piece and between pieces.
        timeouts: the limits one by one, as in ``[timeouts]``.
        trusted_hosts: further hosts that the server may name in URLs.
        models: ids to offer.
        options: settings of this provider alone.
    """

    base_url: str | None = None
    api_key: str | None = None
    cookies: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    proxy: str | None = None
    dialect: str | None = None
    timeout: float | None = None
    timeouts: Mapping[str, Any] = {}
    trusted_hosts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"ProviderTable(base_url={self.base_url!r}, dialect={self.dialect!r})"


class ConnectionTable(Value, kw_only=True, frozen=True):
    """``[connection]`` of the file.

    Attributes:
        proxy: URL of an HTTP or SOCKS proxy for all providers.
        no_proxy: hosts that are reached directly: names, domains, addresses, networks (10.0.0.0/8).
        ca_bundle: file with further certificate authorities; from the file's own folder.
        trust_env: take HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY from the environment.
        connections: most connections open at a time.
    """

    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_bundle: str | None = None
    trust_env: bool = False
    connections: int = 1000

    def __repr__(self) -> str:
        return f"ConnectionTable(proxy={'***' if self.proxy else None})"


class TimeoutTable(Value, kw_only=True, frozen=True):
    """``[timeouts]`` of the file, in seconds; ``false`` switches one off.

    Attributes:
        connect: until the connection stands, TLS included.
        first_content: from the request to the first piece of the answer.
        idle: between pieces of the answer.
        total: the whole call.
        waiting: the longest time in a queue or cold start that the server reports.
    """

    connect: float | bool | None = None
    first_content: float | bool | None = None
    idle: float | bool | None = None
    total: float | bool | None = None
    waiting: float | bool | None = None


class Settings(Value, kw_only=True, frozen=True):
    """What was configured.

    Attributes:
        providers: name -> configuration, for those that any source mentions.
        session: how to connect.
        aliases: short name -> ``provider/model``.
        routing: pools, limits of targets, and when a failing one is left alone.
        gateway: how the gateway serves.
        default_model: used by the command line where none is named.
        cookies_file: a cookie file (Netscape or JSON) for sites that use sessions.
        origins: dotted key -> where its value came from: ``penstock.toml:3``, the name of a
            variable, or ``argument``; what is not among them has its default.
        shown: dotted key -> its value as text; "set" where it may be a secret.
        file: the file that was read.
        warnings: what is not wrong, but should be known.
    """

    providers: Mapping[str, ProviderConfig] = {}
    session: SessionConfig = SessionConfig()
    aliases: Mapping[str, str] = {}
    routing: Routing = Routing()
    gateway: GatewaySettings = GatewaySettings()
    default_model: str | None = None
    cookies_file: str | None = None
    origins: Mapping[str, str] = {}
    shown: Mapping[str, str] = {}
    file: str | None = None
    warnings: tuple[str, ...] = ()


TOP_KEYS = (
    "default_model",
    "cookies",
    "aliases",
    "timeouts",
    "connection",
    "providers",
    "pools",
    "targets",
    "breaker",
    "gateway",
)

SECRET_KEYS = frozenset({"api_key", "cookies", "headers", "proxy", "options", "hash"})
"""Keys whose values are never shown."""


def shown(key: str, value: object) -> str:
    """A value as text that shows no secret; of tables with secrets only the names."""
    if not SECRET_KEYS.isdisjoint(key.split(".")) and "." in key:
        return f"set ({', '.join(value)})" if isinstance(value, dict) and value else "set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} = {item}" for name, item in value.items())
    return str(value)
