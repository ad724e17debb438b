"""The reader: sources in their order, one check for all of them, one sentence for a mistake."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from penstock.config.environment import TOP_VARIABLES, mistyped, understood, variables_of
from penstock.config.gateway import read_gateway
from penstock.config.places import leaves, line_of, parts_of
from penstock.config.routing import read_routing
from penstock.config.settings import (
    SECRET_KEYS,
    TOP_KEYS,
    ConnectionTable,
    ProviderTable,
    Settings,
    TimeoutTable,
    shown,
)
from penstock.errors import BadRequestError, ConfigError
from penstock.provider import ProviderConfig, SessionConfig
from penstock.types import Timeouts
from penstock.wire.request import base_url_of, proxy_scheme

FILE_NAME = "penstock.toml"
T = TypeVar("T")

_ARGUMENT = "argument"
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TYPE_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": "a text",
    "null": "nothing",
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
    return _Reader(os.environ if env is None else env, known or {}).read(path, overrides or {})


def find_file(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file to read, or None.

    Raises:
        ConfigError: a file that was named does not exist.
    """
    named = path or env.get("PENSTOCK_CONFIG")
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            source = "" if path else "PENSTOCK_CONFIG: "
            raise ConfigError(f"{source}there is no configuration file {file}", param="config")
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
        self._warnings: list[str] = []

    def read(self, path: str | os.PathLike[str] | None, overrides: Mapping[str, Any]) -> Settings:
        self._file = find_file(path, self._env)
        if self._file is not None:
            self._read_file(self._file)
        self._read_env(overrides)
        for key, value in overrides.items():
            self._put(key, value, _ARGUMENT)
        self._check_keys("", self._data, TOP_KEYS)
        timeouts = self._limits("timeouts", Timeouts())
        aliases = self._aliases()
        return Settings(
            providers=self._providers(timeouts),
            session=self._session(self.section("connection", ConnectionTable)),
            aliases=aliases,
            routing=read_routing(
                self, aliases, {*self._known, *self.names("providers")} if self._known else set()
            ),
            gateway=read_gateway(self),
            default_model=self._convert("default_model", str | None),
            cookies_file=self.path("cookies", self._convert("cookies", str | None)),
            origins=self._origins,
            shown={key: shown(key, self._value(key)) for key in self._origins},
            file=str(self._file) if self._file else None,
            warnings=tuple(self._warnings),
        )

    # -- sources -------------------------------------------------------------------------------

    def _read_file(self, file: Path) -> None:
        problem, data = "", {}
        try:
            self._text = file.read_text("utf-8-sig")
            data = tomllib.loads(self._text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            problem = f"{file} cannot be read: {reason}"
        except tomllib.TOMLDecodeError as error:
            problem = _not_toml(file, self._text, str(error))
        if problem:  # out here: the reader's error, which holds the text, is no context of ours
            raise ConfigError(problem)
        for name in data.get("providers", {}) if isinstance(data.get("providers"), dict) else ():
            if not _PROVIDER_NAME.fullmatch(name):
                raise ConfigError(
                    f"{self._place('providers')}: providers: the name {name[:40]!r} may hold only "
                    "letters, digits, - and _",
                    param="providers",
                )
        for key, value in leaves(data):
            self._put(key, value, self._place(key))
        for key, value in data.items():
            self._data.setdefault(key, value)  # empty tables
        self._check_mode(file)

    def _check_mode(self, file: Path) -> None:
        secrets = sorted(key for key in self._origins if SECRET_KEYS.intersection(key.split(".")))
        secrets = [key for key in secrets if key.count(".")]  # the path of a cookie file is none
        if secrets and os.name == "posix" and file.stat().st_mode & 0o044:
            self._warnings.append(
                f"{file} holds {', '.join(secrets)} and can be read by other users; "
                f"`chmod 600 {file}` mends that"
            )

    def _read_env(self, overrides: Mapping[str, Any]) -> None:
        tables = self._data.get("providers")
        names = dict.fromkeys((*self._known, *(tables if isinstance(tables, dict) else ())))
        for name in names:
            variables = variables_of(name)
            elsewhere = (
                self._env.get(variables["base_url"])
                or f"providers.{name}.base_url" in self._origins
                or f"providers.{name}.base_url" in overrides
            )
            vendor = self._known.get(name)
            if vendor and not elsewhere and self._env.get(vendor):
                self._put(f"providers.{name}.api_key", self._env[vendor], vendor)
            for key, variable in variables.items():
                self._take(variable, f"providers.{name}.{key}")
        for variable, key in TOP_VARIABLES.items():
            self._take(variable, key)
        self._warnings += mistyped(self._env, names)

    def _take(self, variable: str, key: str) -> None:
        value = self._env.get(variable, "").strip()
        if value:
            self._origins[key] = variable  # named if the value cannot be understood
            problem = ""
            try:
                self._put(key, understood(key, value), variable)
            except ValueError as error:
                problem = str(error)
            if problem:  # out here: what the error came from may hold the value
                self.fail(key, problem)

    def _put(self, key: str, value: Any, origin: str) -> None:
        *parents, leaf = parts_of(key)
        table = self._data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                self.fail(key, "its parent is no table")
        table[leaf] = value
        self._origins[key] = origin

    # -- values --------------------------------------------------------------------------------

    def _aliases(self) -> dict[str, str]:
        table = self._data.get("aliases", {})
        if not isinstance(table, dict):
            self.fail("aliases", "it must be a table")
        return {name: self._convert(f"aliases.{name}", str, table[name]) for name in table}

    def _providers(self, timeouts: Timeouts) -> dict[str, ProviderConfig]:
        tables = self._data.get("providers", {})
        if not isinstance(tables, dict):
            self.fail("providers", "it must hold tables, as in [providers.h2o]")
        return {name: self._provider(name, timeouts) for name in tables}

    def _provider(self, name: str, timeouts: Timeouts) -> ProviderConfig:
        key = f"providers.{name}"
        table = self.section(key, ProviderTable)
        if self._known and name not in self._known and table.base_url is None:
            close = get_close_matches(name, self._known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.fail(key, f"there is no such provider, and it has no base_url{hint}")
        limits = timeouts
        if table.timeout is not None:
            both = self._seconds(f"{key}.timeout", table.timeout)
            limits = msgspec.structs.replace(limits, first_content=both, idle=both)
        base_url = table.base_url
        if base_url is not None:
            base_url = self._checked(f"{key}.base_url", base_url_of, base_url)
        if table.proxy:
            self._checked(f"{key}.proxy", proxy_scheme, table.proxy)
        return ProviderConfig(
            name=name,
            base_url=base_url,
            api_key=table.api_key.strip() or None if table.api_key else None,
            cookies=table.cookies,
            headers=table.headers,
            proxy=table.proxy,
            dialect=table.dialect,
            timeouts=self._limits(f"{key}.timeouts", limits),
            trusted_hosts=table.trusted_hosts,
            models=table.models,
            options=table.options,
        )

    def _limits(self, key: str, base: Timeouts) -> Timeouts:
        """``base`` with what the table of that key says."""
        return msgspec.structs.replace(base, **self.timeouts(key))

    def timeouts(self, key: str) -> dict[str, float | None]:
        """The limits that the table of that key sets."""
        table = self.section(key, TimeoutTable)
        changes: dict[str, float | None] = {}
        for name in Timeouts.ALL:
            value = getattr(table, name)
            if value is not None:
                off = value is False
                changes[name] = None if off else self._seconds(f"{key}.{name}", value)
        return changes

    def _seconds(self, key: str, value: float) -> float:
        if value is True or not 0 < value < float("inf"):
            self.fail(key, "it must be a positive number of seconds")
        return float(value)

    def _session(self, table: ConnectionTable) -> SessionConfig:
        if table.connections < 1:
            self.fail("connection.connections", "it must be at least 1")
        proxy, no_proxy = table.proxy, table.no_proxy
        if table.trust_env:
            proxy = proxy or self._variable_of(
                "connection.proxy", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"
            )
            listed = no_proxy or self._variable_of("connection.no_proxy", "NO_PROXY") or ""
            if isinstance(listed, str):
                no_proxy = tuple(filter(None, (item.strip() for item in listed.split(","))))
        if proxy:
            self._checked("connection.proxy", proxy_scheme, proxy)
        return SessionConfig(
            proxy=proxy,
            no_proxy=no_proxy,
            ca_bundle=self.path("connection.ca_bundle", table.ca_bundle),
            connections=table.connections,
        )

    def _variable_of(self, key: str, *variables: str) -> str | None:
        for variable in (spelt for name in variables for spelt in (name, name.lower())):
            if value := self._env.get(variable):
                self._put(key, value, variable)
                return value
        return None

    def path(self, key: str, value: str | None) -> str | None:
        """A path; one that the file names without a root starts in the file's folder."""
        if not value:
            return None
        path = Path(value).expanduser()
        if self._file is not None and self._origins.get(key) == self._place(key):
            path = self._file.parent / path
        return str(path)

    def _value(self, key: str) -> Any:
        found: Any = self._data
        for part in parts_of(key):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    # -- checks --------------------------------------------------------------------------------

    def names(self, key: str) -> list[str]:
        """The names of the tables below that key; none where it is absent."""
        table = self._value(key) if key else self._data
        if table is not None and not isinstance(table, dict):
            self.fail(key, "it must hold tables")
        return list(table or ())

    def section(self, key: str, type_: type[T]) -> T:
        """The table of that key, its names and types checked."""
        table: Any = self._data
        for part in parts_of(key):
            table = table.get(part, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            self.fail(key, "it must be a table")
        names: tuple[str, ...] = getattr(type_, "__struct_fields__", ())
        self._check_keys(key, table, names)
        section: T = self._convert(key, type_, table)
        return section

    def _convert(self, key: str, type_: Any, value: Any = msgspec.UNSET) -> Any:
        value = self._data.get(key) if value is msgspec.UNSET else value
        try:
            return msgspec.convert(value, type_)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at ")
            inner = re.sub(r"\[[^]]*\]", "", place.strip("`").removeprefix("$")).lstrip(".")
            self.fail(f"{key}.{inner}".rstrip("."), _plain(reason))

    def _checked(self, key: str, check: Callable[[Any], T], value: Any) -> T:
        try:
            return check(value)
        except BadRequestError as error:
            self.fail(key, error.message)

    def _check_keys(self, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                close = get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self.fail(f"{key}.{name}".lstrip("."), f"there is no such setting; {hint}")

    # -- places --------------------------------------------------------------------------------

    def _place(self, key: str) -> str:
        return f"{self._file}:{line_of(self._text, key)}"

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise the error that says where ``key`` was set and what is wrong with it."""
        origin = self._origins.get(key)
        if origin is None:
            below = (o for k, o in self._origins.items() if k.startswith(f"{key}."))
            origin = next(below, None)
            if origin is not None and origin.startswith(f"{self._file}:"):
                origin = self._place(key)
        if origin is None and self._file is not None:
            origin = self._place(key)
        where = f"{origin}: " if origin else ""
        raise ConfigError(f"{where}{key}: {reason}", param=key)


def _not_toml(file: Path, text: str, message: str) -> str:
    """The parser's complaint without anything of the text, which may be a secret."""
    reason, _, place = message.partition(" (at ")
    found = re.search(r"line (\d+)", place)
    line = int(found.group(1)) if found else text.rstrip().count("\n") + 1
    plain = f": {reason.lower()}" if re.fullmatch(r"[A-Za-z /-]+", reason) else ""
    return f"{file}:{line}: this is not valid TOML{plain}"


def _plain(reason: str) -> str:
    """msgspec's complaint in words for people: types only, never a value."""
    found = re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", reason)
    if found is None:
        return reason.replace("`", "")
    wanted = [_TYPE_WORDS.get(word.strip(), word) for word in found.group(1).split("|")]
    wanted = [word for word in dict.fromkeys(wanted) if word != "nothing"]
    return f"it must be {' or '.join(wanted)}, not {_TYPE_WORDS.get(found.group(2), 'that')}"
