"""The client: joins registry, configuration, session and providers. Nothing else does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self, TypedDict, Unpack

import msgspec

from penstock.config import Settings, load
from penstock.configs import mapping_of, merged, with_site_session
from penstock.errors import BadRequestError, ConfigError, PenstockError
from penstock.keeper import leave_of
from penstock.observe import Observer, silent
from penstock.prompts import Media, parse_messages
from penstock.provider import EventStream, Provider, ProviderConfig
from penstock.registry import Registry
from penstock.routing.plan import Plan
from penstock.routing.router import Router
from penstock.stream import AnswerStream
from penstock.transport import Session, shielded
from penstock.types import (
    Capabilities,
    ChatRequest,
    Conversation,
    Messages,
    ModelInfo,
    Reply,
    Sampling,
    Timeouts,
    Tool,
    united,
)

_log = logging.getLogger("penstock.client")

_LIMITED = 100
"""How many providers with other time limits than the configured ones are remembered."""
_NAMES = 1000
"""How many names of models are remembered: callers may make up names."""


class ClientArguments(TypedDict, total=False):
    """The arguments of ``Client``; its docstring says what they mean."""

    config: Settings | str | PathLike[str] | None
    providers: Mapping[str, ProviderConfig | Mapping[str, Any]] | None
    timeout: float | Timeouts | None
    proxy: str | None
    session: Session | None
    cleanup: bool
    observer: Observer | None


class CallParameters(TypedDict, total=False):
    """The parameters of one call; ``Client.stream`` says what they mean."""

    system: str | None
    conversation: Conversation | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    sampling: Sampling | None
    tools: Sequence[Tool]
    media: Media
    extra: Mapping[str, Any] | None
    timeout: float | Timeouts | None
    request_id: str | None


class Client:
    """Every back end through one contract.

    A client holds connections and should be closed: ``async with Client() as client``. It may be
    used by many tasks of one event loop at once. Nothing is opened before the first call.

    Args:
        config: settings, or the path of a ``penstock.toml``; by default the file and environment
            are read as ``penstock.config.load`` says.
        providers: provider -> configuration (or a mapping of its fields), over what ``config``
            says. A new name needs ``base_url`` and is taken for an OpenAI-compatible server.
        timeout: seconds for the first piece and between pieces, or ``Timeouts``.
        proxy: URL of an HTTP or SOCKS proxy for all providers.
        session: connections to share; the client then leaves them open.
        cleanup: delete the remote conversations this client used when it is closed.
        observer: is told of requests, tries and breakers while they happen.

    Raises:
        ConfigError: the configuration is wrong; file, key and line are named.
    """

    def __init__(
        self,
        *,
        config: Settings | str | PathLike[str] | None = None,
        providers: Mapping[str, ProviderConfig | Mapping[str, Any]] | None = None,
        timeout: float | Timeouts | None = None,
        proxy: str | None = None,
        session: Session | None = None,
        cleanup: bool = False,
        observer: Observer | None = None,
    ) -> None:
        self.registry = Registry()
        self.settings = (
            config if isinstance(config, Settings) else load(config, known=self.registry.key_names)
        )
        connection = self.settings.session
        if proxy is not None:
            connection = msgspec.structs.replace(connection, proxy=proxy)
        self.session = session or Session(connection)
        self._own_session = session is None
        self._timeouts = None if timeout is None else Timeouts.of(timeout)
        self._configs = dict(self.settings.providers)
        for name, given in mapping_of("providers", providers or {}).items():
            self._configs[name] = merged(name, given, self._configs.get(name))
        self._providers: dict[str, Provider] = {}
        self._resolved: dict[str, tuple[str, str]] = {}
        self._limited: dict[tuple[str, frozenset[tuple[str, float | None]]], Provider] = {}
        routing = msgspec.structs.replace(self.settings.routing, aliases=self.settings.aliases)
        self.router = Router(
            self.provider, routing, observer=observer or silent, clean=self.session.clean
        )
        self._cleanup = cleanup
        self._used: dict[int, tuple[str, Conversation]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> list[str]:
        """Finish the cleanups and close all connections.

        Returns:
            What could not be undone on remote servers, as labels; empty if all is clean.
        """
        if self._own_session:
            await leave_of(self.session)  # an answer must have ended before its conversation does
        used, self._used = self._used, {}
        async with asyncio.TaskGroup() as group:
            for provider, conversation in used.values():
                if conversation.id is not None:
                    label = f"{provider}: delete conversation {conversation.id}"
                    group.create_task(self.session.outbox.settle(label, conversation.delete))
        left: list[str] = []
        if self._own_session:
            await shielded(lambda: self._close_session(left), wait=10.0)
        return left

    async def _close_session(self, left: list[str]) -> None:
        left.extend(await self.session.aclose())

    def stream(  # noqa: PLR0913 - the field's parameters under the field's names
        self,
        model: str | ChatRequest,
        messages: Messages = (),
        *,
        system: str | None = None,
        conversation: Conversation | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        sampling: Sampling | None = None,
        tools: Sequence[Tool] = (),
        media: Media = (),
        extra: Mapping[str, Any] | None = None,
        timeout: float | Timeouts | None = None,
        request_id: str | None = None,
    ) -> AnswerStream:
        """The answer as a stream of events. Nothing is sent before it is entered or iterated.

        Args:
            model: ``provider/model``, an alias, a pool, or a whole ``ChatRequest`` whose model is
                so named.
            messages: a question, or a list of messages.
            system: a system message to go in front.
            conversation: a native conversation to continue (``client.conversation(model)``).
            stop: up to the server: texts that end the answer.
            sampling: all sampling parameters at once; the single ones win over it.
            media: images for the last user message, as (bytes, file name).
            extra: raw parameters by the server's own names.
            timeout: seconds, or ``Timeouts``, for this call.
            request_id: what observers are told of it.

        Raises:
            BadRequestError, ModelNotFoundError: here, before anything is sent.
            PenstockError: from the stream; its docstring says how it ends.
        """
        if isinstance(model, ChatRequest):
            return self._start(model, timeout, request_id)
        given = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": (stop,) if isinstance(stop, str) else tuple(stop) if stop else None,
        }
        parsed = parse_messages(messages, media)
        if system is not None:
            parsed = (*parse_messages([{"role": "system", "content": system}]), *parsed)
        request = ChatRequest(
            model=model,
            messages=parsed,
            sampling=msgspec.structs.replace(
                sampling or Sampling(), **{k: v for k, v in given.items() if v is not None}
            ),
            conversation=conversation,
            tools=tuple(tools),
            extra=dict(extra or {}),
        )
        return self._start(request, timeout, request_id)

    async def complete(
        self,
        model: str | ChatRequest,
        messages: Messages = (),
        **parameters: Unpack[CallParameters],
    ) -> Reply:
        """The whole answer. Parameters and errors are those of ``stream``.

        The partial text of a failed answer is in the error's ``partial``.
        """
        stream = self.stream(model, messages, **parameters)
        stream.whole = True
        return await stream.reply()

    def conversation(self, model: str, saved: Mapping[str, Any] | None = None) -> Conversation:
        """A native conversation with ``provider/model``; nothing is sent.

        Args:
            saved: what ``to_dict`` gave, to go on with that conversation; None begins a new one.

        Raises:
            BadRequestError: the provider has none, or ``saved`` is none of its conversations.
            ModelNotFoundError: no such provider.
        """
        name, rest = self.resolve(model)
        conversation = self.provider(name).conversation(rest)
        return conversation if saved is None else type(conversation).from_dict(saved)

    async def delete(self, model: str, conversation: Conversation) -> None:
        """Delete the remote side of a conversation with ``provider/model``; gone is a success.

        Raises:
            PenstockError: the server refused.
        """
        provider = self.provider(self.resolve(model)[0])
        _check_owner(provider, conversation)
        with self.session.discreet():
            await provider.delete(conversation)

    async def models(self, provider: str | None = None) -> list[ModelInfo]:
        """The models of one provider, or of all configured ones, as ``provider/model``.

        Among all, a provider that cannot say is told to the log and left out.

        Raises:
            PenstockError: the one provider asked for could not say.
        """
        if provider is not None:
            return await self._models_of(provider)
        found: list[ModelInfo] = []
        for name in sorted(self._configs):
            try:
                found += await self._models_of(name)
            except PenstockError as error:
                _log.warning("the models of %s are not known: %s", name, error)
        return found

    async def _models_of(self, name: str) -> list[ModelInfo]:
        provider = self.resolve(name)[0]
        try:
            with self.session.discreet():
                listed = await self.provider(provider).models()
        except Exception as error:
            failure = self.registry.blame(provider, error)
            if failure is error:
                raise
            raise failure from error
        return [msgspec.structs.replace(info, id=f"{provider}/{info.id}") for info in listed]

    def documented_models(self, provider: str) -> list[ModelInfo]:
        """What the vendor's own server is documented to offer, as ``provider/model``; unasked.

        Nothing is known so of a server of one's own.
        """
        config = self._configs.get(provider)
        if config is not None and config.base_url is not None:
            return []
        known = self.registry.documented_models(provider)
        return [ModelInfo(id=f"{provider}/{id}") for id in known]

    def capabilities(self, model: str) -> Capabilities:
        """What can be asked of ``provider/model``; nothing is sent.

        Of a pool it is what any of its targets can honour: the others are passed by.

        Raises:
            ModelNotFoundError: no such provider. ConfigError: it is not configured as it needs.
        """
        plan = self.router.plan(model)
        if not plan.pooled:
            return self.provider(self.resolve(model)[0]).capabilities
        return united([self.provider(name).capabilities for name in self._providers_of(plan)])

    def usable_providers(self) -> list[str]:
        """The providers that can be used as things are: configured, or in need of nothing."""
        free = {
            name
            for name, entry in self.registry.entries.items()
            if not entry.needs_base_url and entry.needs in ("", "a local server")
        }
        return sorted(free | set(self._configs))

    def resolve(self, model: str) -> tuple[str, str]:
        """``provider/model`` or an alias -> (provider, model); of a pool its first target.

        Raises:
            ModelNotFoundError: there is no such provider.
        """
        known = self._resolved.get(model)
        if known is not None:
            return known
        plan = self.router.plan(model)
        name = plan.targets[0].name if plan.pooled else plan.name
        named = (*self.settings.aliases, *self.settings.routing.pools)
        if len(self._resolved) >= _NAMES:
            self._resolved.clear()
        found = self._resolved[model] = self.registry.split(name, self._configs, named)
        return found

    def provider(
        self, name: str, timeouts: Mapping[str, float | None] | None = None, /
    ) -> Provider:
        """The provider of that name, made at its first use.

        Args:
            timeouts: name of a limit -> seconds, over what is configured.

        Raises:
            ConfigError: it is not configured as it needs.
        """
        if timeouts:
            return self._with_limits(name, timeouts)
        provider = self._providers.get(name)
        if provider is None:
            provider = self._providers[name] = self.registry.make(self.session, self._config(name))
        return provider

    def _with_limits(self, name: str, timeouts: Mapping[str, float | None]) -> Provider:
        key = name, frozenset(timeouts.items())
        provider = self._limited.get(key)
        if provider is None:
            config = self._config(name)
            limits = msgspec.structs.replace(config.timeouts, **timeouts)
            provider = self.registry.make(self.session, config.with_(timeouts=limits))
            if len(self._limited) >= _LIMITED:
                self._limited.clear()
            self._limited[key] = provider
        return provider

    def _providers_of(self, plan: Plan) -> list[str]:
        return list(dict.fromkeys(target.provider for target in plan.targets))

    def _start(
        self, request: ChatRequest, timeout: float | Timeouts | None, request_id: str | None
    ) -> AnswerStream:
        plan = self.router.plan(request.model)
        name, model = self.resolve(request.model)
        limits = None if timeout is None else Timeouts.of(timeout)
        if not plan.pooled:  # refuse at once what could be told only later
            provider = self.provider(name)
            if request.conversation is not None:
                _check_owner(provider, request.conversation)
        if request.conversation is not None and self._cleanup:
            self._used[id(request.conversation)] = (name, request.conversation)

        def opener() -> EventStream:
            asked = request
            if stream.whole and request.stream:
                asked = msgspec.structs.replace(request, stream=False)
            return self.router.stream(
                request.model, asked, request_id=request_id or "", timeouts=limits
            )

        stream = AnswerStream(opener, provider=name, model=model, owner=self.session)
        return stream

    def _config(self, name: str) -> ProviderConfig:
        config = self._configs.get(name) or ProviderConfig(name=name)
        entry = self.registry.entries.get(name)
        if entry is not None and entry.needs_base_url and config.base_url is None:
            raise ConfigError(
                f"{entry.label} has no public server; set its address: "
                f"base_url in [providers.{name}] of penstock.toml, or PENSTOCK_{name.upper()}"
                "_BASE_URL",
                provider=name,
                param="base_url",
            )
        if entry is not None and entry.site_session:
            config = with_site_session(config, self.settings.cookies_file)
        return config if self._timeouts is None else config.with_(timeouts=self._timeouts)


def _check_owner(provider: Provider, conversation: Conversation) -> None:
    """Refuse a conversation of another provider: its ids would travel to the wrong server."""
    own = type(provider.conversation(conversation.model))
    if type(conversation) is not own:
        raise BadRequestError(
            f"the conversation is another provider's; make one with client.conversation("
            f"'{provider.name}/model')",
            provider=provider.name,
            param="conversation",
        )
