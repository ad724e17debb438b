"""Provider name -> lazy factory: a table of strings, and the plug-ins of other packages.

A plug-in is an entry point in the group ``penstock.providers`` whose name is the provider's and
whose object is a factory ``(Session, ProviderConfig) -> Provider``. It takes the same path as the
built-ins and cannot replace one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from penstock.errors import ConfigError, ModelNotFoundError
from penstock.provider import Provider, ProviderConfig
from penstock.transport import Session
from penstock.types import Value

Factory = Callable[[Session, ProviderConfig], Provider]

ENTRY_POINT_GROUP = "penstock.providers"


class ProviderEntry(Value, frozen=True):
    """What is known of a provider without loading it.

    Attributes:
        factory: ``module:function``.
        label: the vendor's own name.
        key_env: environment variable that vendors and their tools use for the credential.
        needs: what a user must have, in words; empty for nothing.
        needs_base_url: there is no public server, so the address must be configured.
        dialects: wire protocols it speaks.
        site_session: it is used with the session cookies of a site one is logged in to.
        plugin: it came with another package.
    """

    name: str
    factory: str
    label: str
    key_env: str | None = None
    needs: str = ""
    needs_base_url: bool = False
    dialects: tuple[str, ...] = ()
    site_session: bool = False
    plugin: bool = False


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


class Registry:
    """The providers of this process: the built-ins and the installed plug-ins."""

    def __init__(self) -> None:
        self._entries = {entry.name: entry for entry in _BUILT_IN}
        self._plugins: dict[str, EntryPoint] = {}
        for point in entry_points(group=ENTRY_POINT_GROUP):
            if point.name not in self._entries:
                self._plugins[point.name] = point
                self._entries[point.name] = ProviderEntry(
                    point.name, point.value, point.name, plugin=True
                )

    @property
    def entries(self) -> Mapping[str, ProviderEntry]:
        """Name -> entry, built-ins first."""
        return dict(self._entries)

    @property
    def key_names(self) -> dict[str, str | None]:
        """Provider -> environment variable of its credential, or None."""
        return {name: entry.key_env for name, entry in self._entries.items()}

    def split(self, model: str, extra: Mapping[str, object] | None = None) -> tuple[str, str]:
        """``provider/model`` -> (provider, model); the model may be empty for the default one.

        Args:
            extra: names of further providers, from the configuration.

        Raises:
            ModelNotFoundError: there is no such provider; the message names close ones.
        """
        provider, _, name = model.partition("/")
        known = {*self._entries, *(extra or ())}
        if provider in known:
            return provider, name
        close = get_close_matches(provider, sorted(known), n=3, cutoff=0.5) or sorted(known)
        raise ModelNotFoundError(
            f"{model[:80]!r} names no provider; write provider/model, as in {close[0]}/..., "
            f"with one of: {', '.join(close)}",
            model=model,
        )

    def factory(self, name: str) -> Factory:
        """The factory of a provider, loaded now.

        Raises:
            ConfigError: a plug-in does not load.
        """
        plugin = self._plugins.get(name)
        if plugin is None:
            module, _, attribute = self._entries[name].factory.partition(":")
            loaded = getattr(import_module(module), attribute)
        else:
            try:
                loaded = plugin.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"the plug-in {name} ({plugin.value}) fails: {error}") from None
        if not callable(loaded):
            raise ConfigError(f"the plug-in {name} ({plugin and plugin.value}) is no factory")
        made: Factory = loaded
        return made
