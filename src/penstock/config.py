"""Settings from a file, the environment and arguments: typed, checked, with their origins known.

This module alone reads files and environment. Later sources win: defaults, ``penstock.toml``, the
environment, arguments. Every mistake is a ``ConfigError`` that names the place and what to do; a
value that may be a secret is never shown.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from penstock.errors import BadRequestError, ConfigError
from penstock.provider import ProviderConfig, SessionConfig
from penstock.types import Timeouts, Value
from penstock.wire.request import base_url_of

FILE_NAME = "penstock.toml"
T = TypeVar("T")


class ProviderTable(Value, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[providers.NAME]`` of the file.

    Attributes:
        base_url: address of the server; without it the vendor's own.
        api_key: credential. The environment is a better place for it.
        cookies: session cookies, name = value.
        headers: further headers for every request to this server.
        proxy: URL of a proxy for this provider.
        dialect: forces a wire protocol.
        timeout: seconds for the first piece and between pieces.
        timeouts: the limits one by one.
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
    timeouts: Timeouts | None = None
    trusted_hosts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}


class ConnectionTable(Value, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``[connection]`` of the file.

    Attributes:
        proxy: URL of an HTTP or SOCKS proxy for all providers.
        no_proxy: hosts that are reached directly.
        ca_bundle: file with further certificate authorities.
        trust_env: take HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY from the environment.
        connections: most connections open at a time.
    """

    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_bundle: str | None = None
    trust_env: bool = False
    connections: int = 1000


class Settings(Value, kw_only=True, frozen=True):
    """What was configured.

    Attributes:
        providers: name -> configuration, for those that any source mentions.
        aliases: short name -> ``provider/model``.
        default_model: used by the command line where none is named.
        cookies_file: a cookie file (Netscape or JSON) for sites that use sessions.
        origins: dotted key -> where its value came from.
        file: the file that was read.
    """

    providers: Mapping[str, ProviderConfig] = {}
    session: SessionConfig = SessionConfig()
    aliases: Mapping[str, str] = {}
    default_model: str | None = None
    cookies_file: str | None = None
    origins: Mapping[str, str] = {}
    file: str | None = None


SECRET_KEYS = frozenset({"api_key", "cookies", "headers", "proxy"})
"""Keys whose values are never shown."""

_ENV_PROVIDER_KEYS = ("BASE_URL", "API_KEY", "DIALECT", "PROXY", "TIMEOUT")
_ENV_TOP = {
    "PENSTOCK_DEFAULT_MODEL": "default_model",
    "PENSTOCK_COOKIES": "cookies",
    "PENSTOCK_PROXY": "connection.proxy",
    "PENSTOCK_NO_PROXY": "connection.no_proxy",
    "PENSTOCK_CA_BUNDLE": "connection.ca_bundle",
    "PENSTOCK_TRUST_ENV": "connection.trust_env",
    "PENSTOCK_CONNECTIONS": "connection.connections",
    **{f"PENSTOCK_TIMEOUT_{name.upper()}": f"timeouts.{name}" for name in Timeouts.ALL},
}


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    known: Mapping[str, str | None] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        path: the file; by default ``PENSTOCK_CONFIG``, ``./penstock.toml``, or
            ``penstock/penstock.toml`` in the user's configuration folder, if there is one.
        env: the environment; the process's own by default.
        overrides: dotted key -> value, as given by arguments.
        known: provider -> name of its credential's environment variable, or None.

    Raises:
        ConfigError: names file, key and line, or the variable or argument, and what is wrong.
    """
    env = os.environ if env is None else env
    return _Reader(env, known or {}).read(path, overrides or {})


def find_file(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file to read, or None.

    Raises:
        ConfigError: a file that was named does not exist.
    """
    named = path or env.get("PENSTOCK_CONFIG")
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            raise ConfigError(f"there is no configuration file {file}", param="config")
        return file
    home = env.get("XDG_CONFIG_HOME") or (env.get("HOME") and f"{env['HOME']}/.config")
    places = [Path(FILE_NAME), *([Path(home) / "penstock" / FILE_NAME] if home else [])]
    return next((place for place in places if place.is_file()), None)


def no_color(env: Mapping[str, str] | None = None) -> bool:
    """True where the user asked for output without colour (https://no-color.org)."""
    return bool((os.environ if env is None else env).get("NO_COLOR"))


class _Reader:
    def __init__(self, env: Mapping[str, str], known: Mapping[str, str | None]) -> None:
        self._env = env
        self._known = known
        self._origins: dict[str, str] = {}
        self._data: dict[str, Any] = {}
        self._file: Path | None = None
        self._text = ""

    def read(self, path: str | os.PathLike[str] | None, overrides: Mapping[str, Any]) -> Settings:
        self._file = find_file(path, self._env)
        if self._file is not None:
            self._read_file(self._file)
        self._read_env()
        for key, value in overrides.items():
            self._put(key, value, "argument")
        self._check_keys("", self._data, _TOP)
        timeouts = self._section("timeouts", Timeouts)
        connection = self._connection(self._section("connection", ConnectionTable))
        return Settings(
            providers=self._providers(timeouts),
            session=connection,
            aliases=self._section("aliases", dict[str, str]),
            default_model=self._convert("default_model", str | None),
            cookies_file=self._convert("cookies", str | None),
            origins=self._origins,
            file=str(self._file) if self._file else None,
        )

    # -- sources -------------------------------------------------------------------------------

    def _read_file(self, file: Path) -> None:
        try:
            self._text = file.read_text("utf-8")
            data = tomllib.loads(self._text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"{file} cannot be read: {reason}") from None
        except tomllib.TOMLDecodeError as error:
            # the parser's message may quote a value; only its place is passed on
            place = re.search(r"line (\d+)", str(error))
            line = f", line {place.group(1)}" if place else ""
            raise ConfigError(f"{file}{line}: this is not valid TOML") from None
        for key, value in _leaves(data):
            self._put(key, value, f"{file}, line {self._line(key)}")
        for key, value in data.items():
            self._data.setdefault(key, value)  # empty tables

    def _read_env(self) -> None:
        for name, variable in self._known.items():
            if variable and self._env.get(variable):
                self._put(f"providers.{name}.api_key", self._env[variable], variable)
            for key in _ENV_PROVIDER_KEYS:
                named = f"PENSTOCK_{name.upper()}_{key}"
                if value := self._env.get(named):
                    self._put(f"providers.{name}.{key.lower()}", value, named)
        for variable, key in _ENV_TOP.items():
            if value := self._env.get(variable):
                listed = [item.strip() for item in value.split(",") if item.strip()]
                self._put(key, listed if key.endswith("no_proxy") else value, variable)

    def _put(self, key: str, value: Any, origin: str) -> None:
        *parents, leaf = key.split(".")
        table = self._data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                self._fail(key, "its parent is no table")
        table[leaf] = value
        self._origins[key] = origin

    # -- values --------------------------------------------------------------------------------

    def _providers(self, timeouts: Timeouts) -> dict[str, ProviderConfig]:
        tables = self._data.get("providers", {})
        if not isinstance(tables, dict):
            self._fail("providers", "it must hold tables, as in [providers.h2o]")
        return {name: self._provider(name, timeouts) for name in tables}

    def _provider(self, name: str, timeouts: Timeouts) -> ProviderConfig:
        key = f"providers.{name}"
        table = self._section(key, ProviderTable)
        if self._known and name not in self._known and table.base_url is None:
            close = get_close_matches(name, self._known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            self._fail(key, f"there is no such provider, and it has no base_url{hint}")
        limits = table.timeouts or timeouts
        if table.timeout is not None:
            limits = self._checked(f"{key}.timeout", Timeouts.of, table.timeout)
        base_url = table.base_url
        if base_url is not None:
            base_url = self._checked(f"{key}.base_url", base_url_of, base_url)
        return ProviderConfig(
            name=name,
            base_url=base_url,
            api_key=table.api_key.strip() if table.api_key else None,
            cookies=table.cookies,
            headers=table.headers,
            proxy=table.proxy,
            dialect=table.dialect,
            timeouts=limits,
            trusted_hosts=table.trusted_hosts,
            models=table.models,
            options=table.options,
        )

    def _connection(self, table: ConnectionTable) -> SessionConfig:
        proxy, no_proxy = table.proxy, table.no_proxy
        if table.trust_env:
            for variable in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
                found = self._env.get(variable) or self._env.get(variable.lower())
                if proxy is None and found:
                    proxy = found
                    self._origins["connection.proxy"] = variable
            listed = self._env.get("NO_PROXY") or self._env.get("no_proxy") or ""
            no_proxy = no_proxy or tuple(filter(None, (i.strip() for i in listed.split(","))))
        return SessionConfig(
            proxy=proxy,
            no_proxy=no_proxy,
            ca_bundle=table.ca_bundle,
            connections=table.connections,
        )

    def _section(self, key: str, type_: type[T]) -> T:
        table: Any = self._data
        for part in key.split("."):
            table = table.get(part, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            self._fail(key, "it must be a table")
        names = getattr(type_, "__struct_fields__", None)
        if names is not None:
            self._check_keys(key, table, names)
        section: T = self._convert(key, type_, table)
        return section

    def _convert(self, key: str, type_: Any, value: Any = msgspec.UNSET) -> Any:
        value = self._data.get(key) if value is msgspec.UNSET else value
        from_env = any(origin.isupper() for k, origin in self._origins.items() if k.startswith(key))
        try:
            return msgspec.convert(value, type_, strict=not from_env)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at ")
            inner = re.sub(r"\[[^]]*\]", "", place.strip("`").removeprefix("$")).lstrip(".")
            self._fail(f"{key}.{inner}".rstrip("."), reason.replace("`", ""))

    def _checked(self, key: str, check: Any, value: Any) -> Any:
        try:
            return check(value)
        except BadRequestError as error:
            self._fail(key, error.message)

    def _check_keys(self, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                close = get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self._fail(f"{key}.{name}".lstrip("."), f"there is no such setting; {hint}")

    # -- places --------------------------------------------------------------------------------

    def _fail(self, key: str, reason: str) -> NoReturn:
        origin = self._origins.get(key)
        if origin is None:
            below = (o for k, o in self._origins.items() if k.startswith(f"{key}."))
            origin = next(below, None)
        if origin is None and self._file is not None:
            origin = f"{self._file}, line {self._line(key)}"
        where = f"{origin}: " if origin else ""
        raise ConfigError(f"{where}{key}: {reason}", param=key)

    def _line(self, key: str) -> int:
        """The line of ``key``, or of the nearest table above it, in the file."""
        wanted, section, best, best_depth = key.split("."), [], 1, 0
        for number, line in enumerate(self._text.split("\n"), 1):
            if header := re.match(r"\s*\[\[?\s*([^\]#]+?)\s*\]", line):
                section = _names(header.group(1))
                path = section
            elif pair := re.match(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*'|\s*\.\s*)+?)\s*=", line):
                path = section + _names(pair.group(1))
            else:
                continue
            if wanted[: len(path)] == path and len(path) > best_depth:
                best, best_depth = number, len(path)
        return best


_TOP = ("providers", "connection", "timeouts", "aliases", "default_model", "cookies")


def _names(dotted: str) -> list[str]:
    parts = re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", dotted)
    return [part.strip("\"'") for part in parts]


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted key -> value of everything but tables that the settings take apart themselves."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        whole = name in ("cookies", "headers", "options", "aliases")
        if isinstance(value, dict) and value and not whole:
            found += _leaves(value, f"{key}.")
        else:
            found.append((key, value))
    return found
