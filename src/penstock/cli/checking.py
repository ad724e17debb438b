"""What ``penstock config check`` finds beyond the form of the file: names that lead nowhere.

Each configured provider is made, which sends nothing; what it refuses is told with the place of the
setting. So a plug-in's own settings are checked by the plug-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from penstock.client import Client
from penstock.config import Settings
from penstock.config.places import key_of, line_of
from penstock.config.settings import ProviderTable
from penstock.errors import ModelNotFoundError, PenstockError


class Findings:
    """All that is wrong, and what may be.

    Attributes:
        mistakes: sentences, each with its place.
        warnings: what is right by the rules, but looks like a slip.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text = Path(settings.file).read_text("utf-8-sig") if settings.file else ""
        self._refused: set[str] = set()
        self.mistakes: list[str] = []
        self.warnings: list[str] = []
        try:
            client = Client(config=settings)
        except PenstockError as error:
            self._mistake("connection.proxy", error.message)
            return
        self._look(client)

    def _look(self, client: Client) -> None:
        bundle = self._settings.session.ca_bundle
        if bundle is not None and not Path(bundle).is_file():
            self._mistake("connection.ca_bundle", f"there is no file {bundle}")
        self._look_at_providers(client)
        for name, target in self._settings.aliases.items():
            if target in self._settings.aliases:
                what = f"{target[:80]!r} is an alias, too; name the model itself"
                self._mistake(key_of("aliases", name), what)
            else:
                self._look_at_target(client, key_of("aliases", name), target)
        if self._settings.default_model is not None:
            self._look_at_target(client, "default_model", self._settings.default_model)

    def _look_at_providers(self, client: Client) -> None:
        built_in = list(client.registry.entries)
        for name in self._settings.providers:
            if name not in built_in and (close := get_close_matches(name, built_in, 1, 0.8)):
                self.warnings.append(
                    f"{self._place(key_of('providers', name))}: {name} is no provider that comes "
                    f"with Penstock, so it is taken for an OpenAI-compatible server; did you mean "
                    f"{close[0]}?"
                )
            self._try(client, name)

    def _look_at_target(self, client: Client, key: str, target: str) -> None:
        try:
            if target in self._settings.routing.pools:
                return
            name, _ = client.resolve(target)
        except ModelNotFoundError as error:
            self._mistake(key, error.message)
            return
        if name not in self._settings.providers:
            self._try(client, name, key)

    def _try(self, client: Client, name: str, user: str | None = None) -> None:
        """Make a provider; ``user`` is the setting that names one which no table configures."""
        if name in self._refused:
            return
        try:
            client.provider(name)
        except PenstockError as error:
            self._refused.add(name)
            self._mistake(user or self._key(name, error.param), error.message)

    def _key(self, name: str, param: str | None) -> str:
        table = key_of("providers", name)
        config = self._settings.providers[name]
        if param in ProviderTable.__struct_fields__ and param is not None:
            return f"{table}.{param}"
        return f"{table}.options.{param}" if param in config.options else table

    def _mistake(self, key: str, what: str) -> None:
        place = self._place(key)
        self.mistakes.append(f"{place}: {key}: {what}" if place else f"{key}: {what}")

    def _place(self, key: str) -> str:
        """Where a setting, or the nearest table around it, was set."""
        file, origins = self._settings.file, self._settings.origins
        origin = next((origins[above] for above in _upwards(key) if above in origins), None)
        if file is not None and (origin is None or origin.startswith(f"{file}:")):
            return f"{file}:{line_of(self._text, key)}"
        return origin or ""


def _upwards(key: str) -> Iterator[str]:
    while key:
        yield key
        key = key.rpartition(".")[0]
