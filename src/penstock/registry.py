"""Provider name -> lazy factory: a table of strings, and the plug-ins of other packages.

A plug-in is an entry point in the group ``penstock.providers`` whose name is the provider's and
whose object is a factory ``(Session, ProviderConfig) -> Provider``. It takes the same path as the
built-ins and cannot replace one of them. What goes wrong in a plug-in is told as its failure and
touches no other provider.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from penstock.errors import ConfigError, ModelNotFoundError, PenstockError
from penstock.provider import Provider, ProviderConfig
from penstock.types import Value

if TYPE_CHECKING:
    from penstock.transport import Session

Factory: TypeAlias = "Callable[[Session, ProviderConfig], Provider]"

ENTRY_POINT_GROUP = "penstock.providers"

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_CONTRACT = ("name", "capabilities", "stream", "models", "conversation", "delete")


class ProviderEntry(Value, frozen=True):
    """What is known of a provider without loading it.

    Attributes:
        factory: ``module:function``.
        models: ``module:tuple`` of the ids that the vendor's own server is documented to have.
        label: the vendor's own name.
        key_env: environment variable that vendors and their tools use for the credential.
        needs: what a user must have, in words; empty for nothing.
        needs_base_url: there is no public server, so the address must be configured.
        dialects: wire protocols it speaks.
        site_session: it is used with the session cookies of a site one is logged in to.
        plugin: it came with another package.
        problem: why a plug-in cannot be used, as far as it was tried; None if nothing is known.
    """

    name: str
    factory: str
    label: str
    key_env: str | None = None
    needs: str = ""
    needs_base_url: bool = False
    dialects: tuple[str, ...] = ()
    site_session: bool = False
    models: str = ""
    plugin: bool = False
    problem: str | None = None


_OPENAI = "penstock.providers.openai_compatible.provider:create"
_CHAT = ("chat-completions",)


def _vendor(name: str, label: str, key_env: str) -> ProviderEntry:
    return ProviderEntry(name, _OPENAI, label, key_env, "a key", False, _CHAT)


def _local(name: str, label: str) -> ProviderEntry:
    return ProviderEntry(name, _OPENAI, label, None, "a local server", False, _CHAT)


_BUILT_IN = (
    ProviderEntry(
        "allenai",
        "penstock.providers.allenai.provider:create",
        "Ai2 Playground",
        dialects=("threads", "message-stream", "v5-chat"),
        models="penstock.providers.allenai.models:MODELS",
    ),
    ProviderEntry(
        "openassistant",
        "penstock.providers.openassistant.provider:create",
        "Open-Assistant",
        needs="a server of one's own and its session",
        needs_base_url=True,
        dialects=("website", "native"),
        site_session=True,
    ),
    ProviderEntry(
        "h2o",
        "penstock.providers.h2o.provider:create",
        "h2oGPT (chat-ui of 2023)",
        needs="a server of one's own",
        needs_base_url=True,
        dialects=("chat-ui-2023",),
    ),
    ProviderEntry(
        "tgi",
        "penstock.providers.h2o.provider:create_tgi",
        "text-generation-inference",
        needs="a server of one's own",
        needs_base_url=True,
        dialects=("tgi",),
    ),
    ProviderEntry(
        "chatui",
        "penstock.providers.chatui.provider:create",
        "chat-ui",
        needs="a server of one's own",
        needs_base_url=True,
        dialects=("chat-ui",),
    ),
    ProviderEntry(
        "replicate",
        "penstock.providers.replicate.provider:create",
        "Replicate",
        "REPLICATE_API_TOKEN",
        "a key",
        dialects=("replicate",),
        models="penstock.providers.replicate.models:MODELS",
    ),
    ProviderEntry(
        "cog",
        "penstock.providers.replicate.provider:create_cog",
        "Cog",
        needs="a server of one's own",
        needs_base_url=True,
        dialects=("cog",),
    ),
    _vendor("openai", "OpenAI", "OPENAI_API_KEY"),
    _vendor("openrouter", "OpenRouter", "OPENROUTER_API_KEY"),
    _vendor("groq", "Groq", "GROQ_API_KEY"),
    _vendor("together", "Together AI", "TOGETHER_API_KEY"),
    _vendor("mistral", "Mistral", "MISTRAL_API_KEY"),
    _vendor("deepseek", "DeepSeek", "DEEPSEEK_API_KEY"),
    _vendor("fireworks", "Fireworks AI", "FIREWORKS_API_KEY"),
    _local("ollama", "Ollama"),
    _local("llamacpp", "llama.cpp server"),
    _local("vllm", "vLLM"),
    _local("lmstudio", "LM Studio"),
    _local("tgi_openai", "text-generation-inference's own /v1"),
    ProviderEntry(
        "openai_compatible",
        _OPENAI,
        "any OpenAI-compatible server",
        needs="a server's address",
        needs_base_url=True,
        dialects=_CHAT,
    ),
)


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The plug-ins found on ``path``; looking reads a file of every installed package."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


class Registry:
    """The providers of this process: the built-ins and the installed plug-ins."""

    def __init__(self) -> None:
        self._entries = {entry.name: entry for entry in _BUILT_IN}
        self._plugins: dict[str, EntryPoint] = {}
        self._refused: list[ProviderEntry] = []
        for point in _installed(tuple(sys.path)):
            entry = ProviderEntry(point.name, point.value, point.name, plugin=True)
            reason = self._refusal(point.name)
            if reason is None:
                self._plugins[point.name] = point
                self._entries[point.name] = entry
            else:
                problem = f"the plug-in {point.name} ({point.value}) is not used: {reason}"
                self._refused.append(_with_problem(entry, problem))

    def _refusal(self, name: str) -> str | None:
        if name in self._plugins:
            return f"another plug-in has the name {name}, too"
        if name in self._entries:
            return f"the name {name} belongs to a provider that comes with Penstock"
        if not _NAME.fullmatch(name):
            return "its name may hold only letters, digits, - and _"
        return None

    @property
    def entries(self) -> Mapping[str, ProviderEntry]:
        """Name -> entry, built-ins first."""
        return dict(self._entries)

    def examined(self) -> list[ProviderEntry]:
        """All entries, after loading the plug-ins; what cannot be used says its ``problem``."""
        found = []
        for entry in self._entries.values():
            problem = self._problem(entry.name) if entry.plugin else None
            found.append(entry if problem is None else _with_problem(entry, problem))
        return found + self._refused

    @property
    def key_names(self) -> dict[str, str | None]:
        """Provider -> environment variable of its credential, or None."""
        return {name: entry.key_env for name, entry in self._entries.items()}

    def split(
        self,
        model: str,
        extra: Iterable[str] = (),
        aliases: Iterable[str] = (),
    ) -> tuple[str, str]:
        """``provider/model`` -> (provider, model); the model may be empty for the default one.

        Args:
            extra: names of further providers, from the configuration.
            aliases: names that the configuration gives to models; only to be named as near ones.

        Raises:
            ModelNotFoundError: there is no such provider; the message names the nearest.
        """
        provider, slash, name = model.partition("/")
        known = {*self._entries, *extra}
        if provider in known:
            return provider, name
        candidates = sorted(known) if slash else sorted({*known, *aliases})
        close = get_close_matches(provider, candidates, n=1, cutoff=0.65)
        hint = "a model is written provider/model, and `penstock providers` lists all providers"
        if close:
            meant = f"{close[0]}{slash}{name}"
            hint = f"did you mean {meant[:80]!r}? `penstock providers` lists all of them"
        raise ModelNotFoundError(f"{model[:80]!r} names no provider; {hint}", model=model)

    def factory(self, name: str) -> Factory:
        """The factory of a provider, loaded now.

        Raises:
            ConfigError: a plug-in does not load.
        """
        plugin = self._plugins.get(name)
        if plugin is None:
            built_in: Factory = _named(self._entries[name].factory)
            return built_in
        try:
            loaded: object = plugin.load()
        except (Exception, SystemExit) as error:  # whatever the import of foreign code raises
            raise self._failure(name, f"does not load: {_words(error)}") from error
        if not callable(loaded):
            raise self._failure(name, "is no factory: it cannot be called")
        made: Factory = loaded
        return made

    def documented_models(self, name: str) -> tuple[str, ...]:
        """The ids that the vendor's own server is documented to have; none where it lists them."""
        entry = self._entries.get(name)
        if entry is None or not entry.models:
            return ()
        ids: tuple[str, ...] = _named(entry.models)
        return ids

    def make(self, session: Session, config: ProviderConfig) -> Provider:
        """The provider that ``config`` names; a new name is an OpenAI-compatible server.

        Raises:
            ConfigError: a plug-in does not load or keeps no contract, or an address is missing.
            PenstockError: the provider refuses its configuration.
        """
        name = config.name
        if name not in self._entries and config.base_url is None:
            raise ConfigError(f"provider {name} needs a base_url", provider=name)
        factory = self.factory(name if name in self._entries else "openai_compatible")
        if name not in self._plugins:
            return factory(session, config)
        try:
            provider = factory(session, config)
        except PenstockError:
            raise
        except Exception as error:  # foreign code
            raise self._failure(name, f"cannot be made: {_words(error)}") from error
        if lacking := [part for part in _CONTRACT if not hasattr(provider, part)]:
            raise self._failure(name, f"makes no provider: it lacks {', '.join(lacking)}")
        return provider

    def blame(self, name: str, error: Exception) -> Exception:
        """``error`` as the failure of the plug-in ``name``; itself if that is none, or is ours."""
        if name not in self._plugins or isinstance(error, PenstockError):
            return error
        return self._failure(name, f"fails: {_words(error)}")

    def _problem(self, name: str) -> str | None:
        try:
            self.factory(name)
        except ConfigError as error:
            return error.message
        return None

    def _failure(self, name: str, what: str) -> ConfigError:
        value = self._plugins[name].value
        return ConfigError(f"the plug-in {name} ({value}) {what}", provider=name)


def _named(place: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _with_problem(entry: ProviderEntry, problem: str) -> ProviderEntry:
    return msgspec.structs.replace(entry, problem=problem)


def _words(error: BaseException) -> str:
    """A foreign exception in one line."""
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
